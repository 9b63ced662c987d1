"""What a template of any kind is to those who use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from scaffolder.config import Settings
    from scaffolder.generation.tree import GeneratedFile


class Template(Protocol):
    """A template that was found and whose definition is sound."""

    @property
    def name(self) -> str:
        """What it is called, in messages too."""

    @property
    def version(self) -> str:
        """Which one of that name it is."""

    @property
    def description(self) -> str:
        """What it is for, in its author's words; may be empty."""

    @property
    def origin(self) -> str:
        """Where its files say they come from: ``template:<name>@<version>``."""

    def render(
        self, values: Mapping[str, Any], *, run: Mapping[str, Any], trust: bool, settings: Settings
    ) -> list[GeneratedFile]:
        """Return the template's files for `values`, by path. Nothing is written into the project.

        `values` and `run` are plain JSON data. `run` has ``id``, ``dag_id``, ``at`` (ISO 8601), ``year`` (a number),
        ``user`` and ``generated_project_id``. `trust` lets code of the template's author run where a kind of template
        has such; the settings have the last word. Raises TemplateError (values that the template refuses, a file that
        cannot be rendered), TemplateNotAllowedError and LimitExceededError.
        """
