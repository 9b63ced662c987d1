"""The Jinja sandbox that templates and workflow expressions share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from jinja2 import StrictUndefined, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

MARKS: Final = ("{{", "{%", "{#")

_WHOLE = re.compile(r"\s*\{\{(?P<expression>(?:(?!\{\{|\}\}).)*)\}\}\s*", re.DOTALL)


class DataEnvironment(ImmutableSandboxedEnvironment):
    """Renders plain data: no loader, nothing undefined, nothing to mutate, and ``a.items`` is the key, not a method."""

    def __init__(self) -> None:
        super().__init__(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return the mapping's own key before anything that Python adds."""
        # Nearly all are dicts, and asking for an abstract class takes longer.
        if isinstance(obj, dict | Mapping) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def evaluate(self, source: str, variables: Mapping[str, Any]) -> Any:
        """Return what `source` is worth: where it is one expression, that one's value unchanged; otherwise text.

        Raises what Jinja and the expression raise.
        """
        whole = _WHOLE.fullmatch(source)
        if whole is None:
            return self.from_string(source).render(variables)
        return self.compute(whole["expression"], variables)

    def compute(self, expression: str, variables: Mapping[str, Any]) -> Any:
        """Return the value of an expression without its braces. Raises what Jinja and the expression raise."""
        value = self.compile_expression(expression, undefined_to_none=False)(**variables)
        if isinstance(value, Undefined):
            str(value)  # StrictUndefined says here what is missing
        return value
