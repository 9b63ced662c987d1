"""The record of every generated project, file, agent call and export, in a Postgres database of its own.

`store.ProjectRecords` reads and writes; `hook.ProjectRecordsHook` connects it to Airflow; `schema` migrates.
"""
