"""Copier templates: a directory with a ``copier.yml``, rendered by Copier in a child process.

A template at the root of a git repository is rendered from its URL and ref, so that the answers file says where the
project comes from and ``copier update`` finds it later; git takes the repository from its mirror on this machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Final

from scaffolder.config import Settings
from scaffolder.errors import TemplateError
from scaffolder.generation.repository import git_environment
from scaffolder.generation.templates.foreign.template import ForeignTemplate

# What Copier's own command takes for a repository; all else needs its prefix.
_KNOWN_URLS: Final = ("https://github.com/", "https://gitlab.com/")
# The name of the project's directory, which templates may ask for.
_FOLDER: Final = "project"


class CopierTemplate(ForeignTemplate):
    """See `ForeignTemplate`."""

    kind: ClassVar[str] = "copier"
    tool: ClassVar[str] = "Copier"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self._is_cloned and (self.source.directory / ".gitmodules").exists():
            raise TemplateError(
                f"{self._what} has submodules (.gitmodules), which are not fetched; accepted is one without"
            )

    @property
    def _is_cloned(self) -> bool:
        return self.source.reference is not None and not self.source.reference.subdirectory

    def describe_request(self) -> dict[str, Any]:
        """See `ForeignTemplate`."""
        source, reference = self.source, self.source.reference
        request: dict[str, Any] = {"folder": _FOLDER, "ref": None, "commit": source.commit}
        if reference is None:
            return request | {"source": str(source.directory)}
        if not self._is_cloned:
            return request | {"source": str(reference)}
        url = reference.url
        is_known = url.endswith(".git") or url.startswith(_KNOWN_URLS)
        return request | {"source": url if is_known else f"git+{url}", "ref": reference.ref}

    def describe_environment(self, *, workspace: Path, trusted: bool) -> dict[str, str]:
        """See `ForeignTemplate`."""
        environment = git_environment() | {
            "HOME": str(workspace / "home"),
            "GIT_CEILING_DIRECTORIES": str(workspace),
            "COPIER_CACHE_DIR": str(workspace / "tmp" / "mirrors"),
        }
        configuration = [("user.name", "Scaffolder"), ("user.email", "scaffolder@localhost")]
        if self.source.reference is not None and self.source.mirror is not None:
            url = self.source.reference.url.removesuffix(".git")
            place = f"url.{self.source.mirror}.insteadOf"
            configuration += [(place, url), (place, f"{url}.git"), ("safe.directory", "*")]
        if not trusted:
            configuration += [("protocol.allow", "never"), ("protocol.file.allow", "always")]
        count = int(environment["GIT_CONFIG_COUNT"])
        for index, (key, value) in enumerate(configuration, start=count):
            environment |= {f"GIT_CONFIG_KEY_{index}": key, f"GIT_CONFIG_VALUE_{index}": value}
        return environment | {"GIT_CONFIG_COUNT": str(count + len(configuration))}

    def get_file_size(self, settings: Settings) -> int:
        """See `ForeignTemplate`; a clone's pack is one file."""
        packs = self.source.mirror.glob("objects/pack/*") if self._is_cloned and self.source.mirror else ()
        return max(settings.max_file_size, 2 * sum(path.stat().st_size for path in packs))
