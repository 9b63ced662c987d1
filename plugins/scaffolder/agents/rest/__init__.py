"""Agents with a REST API."""
