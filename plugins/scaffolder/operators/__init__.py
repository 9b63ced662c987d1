"""Operators, one for each step type, usable in any DAG. Import them from here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scaffolder.operators.agent_api_call import AgentApiCallOperator
    from scaffolder.operators.cleanup import CleanUpGeneratedProjectsOperator
    from scaffolder.operators.file_generation import FileGenerationOperator
    from scaffolder.operators.generated_project import FinishGeneratedProjectOperator
    from scaffolder.operators.notifications import SendNotificationsOperator
    from scaffolder.operators.plan_exports import PlanExportsOperator
    from scaffolder.operators.repo_creation import RepoCreationOperator

__all__ = [
    "AgentApiCallOperator",
    "CleanUpGeneratedProjectsOperator",
    "FileGenerationOperator",
    "FinishGeneratedProjectOperator",
    "PlanExportsOperator",
    "RepoCreationOperator",
    "SendNotificationsOperator",
]

_MODULES = {
    "AgentApiCallOperator": "agent_api_call",
    "CleanUpGeneratedProjectsOperator": "cleanup",
    "FileGenerationOperator": "file_generation",
    "FinishGeneratedProjectOperator": "generated_project",
    "PlanExportsOperator": "plan_exports",
    "RepoCreationOperator": "repo_creation",
    "SendNotificationsOperator": "notifications",
}


def __getattr__(name: str) -> Any:
    # Imported when asked for: a task loads its own operator, not all of them.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
