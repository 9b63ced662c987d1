"""Who is told of what happened: the setting, webhooks, Airflow's notifiers. `service` sends what is due, once."""
