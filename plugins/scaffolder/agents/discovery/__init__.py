"""What agents offer: read from their descriptions, kept in the registry, held against workflows."""
