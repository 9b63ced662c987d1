"""Exports to GitHub (github.com and Enterprise): repositories with their settings, and pull requests."""
