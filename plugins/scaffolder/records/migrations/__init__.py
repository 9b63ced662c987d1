"""Alembic migrations of the records' schema; `scaffolder.records.schema` runs them."""
