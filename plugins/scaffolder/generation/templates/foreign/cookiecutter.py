"""Cookiecutter templates: a directory with a ``cookiecutter.json``, rendered by Cookiecutter in a child process."""

from __future__ import annotations

from typing import Any, ClassVar

from scaffolder.generation.templates.foreign.template import ForeignTemplate


class CookiecutterTemplate(ForeignTemplate):
    """See `ForeignTemplate`. The project is what the one directory holds that the template makes."""

    kind: ClassVar[str] = "cookiecutter"
    tool: ClassVar[str] = "Cookiecutter"

    def describe_request(self) -> dict[str, Any]:
        """See `ForeignTemplate`."""
        reference = self.source.reference
        if reference is None:
            return {"source": str(self.source.directory), "ref": None}
        # What Cookiecutter's own command takes for a repository; all else needs its prefix.
        is_known = "git" in reference.url
        return {"source": reference.url if is_known else f"git+{reference.url}", "ref": reference.ref}
