"""Workflows: YAML definitions become DAGs, one task for each step. The listener ends records of killed runs."""
