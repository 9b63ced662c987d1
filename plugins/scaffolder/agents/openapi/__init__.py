"""OpenAPI descriptions: read, cut into definitions of single operations, and held against requests and answers."""

from __future__ import annotations

from scaffolder.agents.openapi.operation import OperationDefinition

__all__ = ["OperationDefinition"]
