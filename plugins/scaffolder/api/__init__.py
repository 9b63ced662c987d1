"""The plugin's web app: our REST API inside Airflow's API server."""
