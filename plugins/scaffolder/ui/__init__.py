"""Pages inside Airflow's UI, made on the server: agents, generated projects."""
