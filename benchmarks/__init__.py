"""Benchmarks, each a module that prints a table and, as its last line, one JSON object. `make bench NAME=...`."""
