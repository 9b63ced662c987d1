"""The Jinja sandbox that templates and workflow expressions share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment


class DataEnvironment(ImmutableSandboxedEnvironment):
    """Renders plain data: no loader, nothing undefined, nothing to mutate, and ``a.items`` is the key, not a method."""

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return the mapping's own key before anything that Python adds."""
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)
