"""What Airflow asks an installed provider: connection types with their form fields, and extra links."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata (entry point ``apache_airflow_provider``)."""
    return {
        "package-name": "airflow-scaffolder",
        "name": "Scaffolder",
        "description": "AI agents and templates produce software projects as git repositories.",
        "connection-types": [
            {
                "connection-type": "agent_api",
                "hook-class-name": "scaffolder.agents.hook.AgentApiHook",
                "hook-name": "Agent API",
                "ui-field-behaviour": {
                    "hidden-fields": ["login", "schema"],
                    "relabeling": {"host": "Base URL", "password": "Bearer token"},
                    "placeholders": {"host": "https://agent.example.com"},
                },
                "conn-fields": {
                    "auth": {
                        "label": "Authentication",
                        "description": "How requests are authenticated.",
                        "schema": {"type": "string", "enum": ["bearer", "none"], "default": "bearer"},
                    },
                    "description_path": {
                        "label": "Description path",
                        "description": "Where the agent serves its OpenAPI description.",
                        "schema": {"type": "string", "default": "/openapi.json"},
                    },
                },
            },
            {
                "connection-type": "git_remote",
                "hook-class-name": "scaffolder.exports.hook.GitRemoteHook",
                "hook-name": "Git host",
                "ui-field-behaviour": {
                    "hidden-fields": ["port", "schema", "extra"],
                    "relabeling": {"host": "Repository URL", "password": "Password or token"},
                    "placeholders": {"host": "https://git.example.com/team/{name}.git"},
                },
            },
        ],
        "extra-links": ["scaffolder.operators.links.RepositoryLink"],
    }
