"""Exports of a commit: to an archive or to a git host, behind one contract. `service` keeps their records."""
