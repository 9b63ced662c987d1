"""Compares records, disk and remotes, explains what differs, and repairs what is safe to repair."""
