"""Exports to GitLab: gitlab.com and self-managed."""
