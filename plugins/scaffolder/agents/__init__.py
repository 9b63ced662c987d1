"""Calling agents: APIs that do work for a step, named by an Airflow connection."""
