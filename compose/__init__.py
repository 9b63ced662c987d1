"""What the one-off services of docker-compose.yaml do: secrets, databases, the first user."""
