"""What Copier and Cookiecutter templates have in common: they are rendered by their own libraries, in a child process.

The child gets a bare environment and a private directory for all that it writes. What it made is read back here, and
judged as anybody's files are. What runs code of the template's author is refused without trust.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

from scaffolder.errors import TemplateError, TemplateNotAllowedError
from scaffolder.generation.isolation import IsolatedProcess, Limits
from scaffolder.generation.repository import last_line
from scaffolder.generation.templates.foreign.output import OutputWatch, check_links, make_workspace, read_back

if TYPE_CHECKING:
    from scaffolder.config import Settings
    from scaffolder.generation.templates.reference import GitReference
    from scaffolder.generation.tree import GeneratedFile

_CHILD: Final = "scaffolder.generation.templates.foreign.child"
_ANSWER_BYTES: Final = 1_048_576
_OPEN_FILES: Final = 256
_PROBLEM_CHARACTERS: Final = 1_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ForeignSource:
    """Where a template's files are: in `directory`, and where they come from if that is a git repository.

    `mirror` is the bare repository on this machine and `commit` the one that `directory` was made from.
    """

    directory: Path
    name: str
    reference: GitReference | None = None
    mirror: Path | None = None
    commit: str | None = None


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What a template says of itself: what in it `demands` trust, and the `names` of its values."""

    demands: tuple[str, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class ForeignTemplate(ABC):
    """A template of another tool: its files are made by that tool's library, byte for byte as by its command.

    Raises TemplateError where the tool is not installed, and for links that lead out of the template.
    """

    source: ForeignSource

    kind: ClassVar[str]
    tool: ClassVar[str]

    def __post_init__(self) -> None:
        if find_spec(self.kind) is None:
            raise TemplateError(
                f"{self._what} is one of {self.tool}, which is not installed; install airflow-scaffolder[{self.kind}]"
            )
        check_links(self.source.directory, what=self._what)

    @property
    def name(self) -> str:
        """See `Template`; one from git is called by its URL, where it has a subdirectory with ``#`` and that."""
        return self.source.name

    @cached_property
    def version(self) -> str:
        """The full commit of a template from git, otherwise `digest_tree` of its files."""
        return self.source.commit or digest_tree(self.source.directory)

    @property
    def description(self) -> str:
        """See `Template`; these kinds have none."""
        return ""

    @property
    def origin(self) -> str:
        """See `Template`; from git ``template:<url>[#<subdirectory>]@<commit>``."""
        return f"template:{self.name}@{self.version}"

    @property
    def _what(self) -> str:
        return f"template {self.name!r}"

    def render(
        self, values: Mapping[str, Any], *, run: Mapping[str, Any], trust: bool, settings: Settings
    ) -> list[GeneratedFile]:
        """See `Template`. `run` is not used: these templates know nothing of runs.

        Given values are never rendered themselves, also where the tool's own command would do that.
        """
        trusted = trust and settings.allow_trusted_templates
        with self._ask(values, trusted=trusted, inspect=False, settings=settings) as (answer, output):
            if demands := _read_strings(answer, "demands"):
                raise TemplateNotAllowedError(
                    f"{self._what} runs code of its author: {'; '.join(demands)}; accepted is that where the step says "
                    "trust: true and SCAFFOLDER_ALLOW_TRUSTED_TEMPLATES is true, or with --trust on the command line "
                    f"(now trust is {trust} and the setting {settings.allow_trusted_templates})"
                )
            made = _find_made(answer, output=output, what=self._what)
            return read_back(made, what=self._what, origin=self.origin, settings=settings)

    def inspect(self, *, settings: Settings) -> Inspection:
        """Read what the template says of itself; nothing of it runs. Raises TemplateError and LimitExceededError."""
        with self._ask({}, trusted=False, inspect=True, settings=settings) as (answer, _):
            demands, names = (tuple(_read_strings(answer, key)) for key in ("demands", "names"))
        return Inspection(demands=demands, names=names)

    @abstractmethod
    def describe_request(self) -> dict[str, Any]:
        """Return what the child must know of the source: ``source``, as the tool's user names it, and ``ref``."""

    def describe_environment(self, *, workspace: Path, trusted: bool) -> dict[str, str]:
        """Return the environment that the tool needs beside what all get."""
        return {}

    def get_file_size(self, settings: Settings) -> int:
        """Return the size in bytes of the largest file that the child may write."""
        return settings.max_file_size

    @contextmanager
    def _ask(
        self, values: Mapping[str, Any], *, trusted: bool, inspect: bool, settings: Settings
    ) -> Iterator[tuple[dict[str, Any], Path]]:
        """Yield the child's answer and where its output is. Raises TemplateError for what the child found wrong."""
        request = {
            "kind": self.kind,
            "directory": str(self.source.directory),
            "values": dict(values),
            "trusted": trusted,
            "inspect": inspect,
            **self.describe_request(),
        }
        try:
            text = json.dumps(request, allow_nan=False, sort_keys=True)
        except (TypeError, ValueError) as error:
            raise TemplateError(f"{self._what} takes plain data as values: {error}") from error
        with make_workspace(text, settings=settings) as workspace:
            output = workspace / "output"
            sent = json.dumps({**request, "workspace": str(workspace), "output": str(output)}).encode()
            process = self._prepare(workspace, trusted=trusted, settings=settings)
            watch = OutputWatch(output, what=self._what, settings=settings)
            answer = _parse(self._exchange(process, sent, watch=watch), what=self._what)
            if problem := answer.get("problem"):
                for place in (self.source.directory, workspace):
                    problem = str(problem).replace(f"{place}/", "")
                said = f" (it said: {last_line(process.error_output)})" if trusted and process.error_output else ""
                raise TemplateError(f"{self._what} cannot be rendered by {self.tool}: {_sentence(problem)}{said}")
            yield answer, output

    def _exchange(self, process: IsolatedProcess, sent: bytes, *, watch: OutputWatch) -> bytes:
        received = bytearray()
        with process:
            for chunk in process.exchange([sent], watch=watch):
                received += chunk
                if len(received) > _ANSWER_BYTES:
                    raise TemplateError(f"{self._what}: its process answered with more than {_ANSWER_BYTES} bytes")
        _log.debug("%s of %s said: %s", self.tool, self._what, process.error_output)
        return bytes(received)

    def _prepare(self, workspace: Path, *, trusted: bool, settings: Settings) -> IsolatedProcess:
        environment = {
            "HOME": str(workspace / "home"),
            "TMPDIR": str(workspace / "tmp"),
            "PATH": os.environ.get("PATH", os.defpath),
        }
        return IsolatedProcess(
            _CHILD,
            limits=Limits.from_settings(settings, file_size=self.get_file_size(settings), open_files=_OPEN_FILES),
            describe=lambda: self._what,
            environment=environment | self.describe_environment(workspace=workspace, trusted=trusted),
            directory=workspace,
        )


def digest_tree(directory: Path) -> str:
    """Return 12 hex digits that stand for the files of a template that has no version of its own.

    SHA-256 over path, kind, executable bit and content of all that is there, in order; ``.git`` does not count.
    """
    digest = hashlib.sha256()
    for parent, directories, names in os.walk(directory):
        directories[:] = sorted(set(directories) - {".git"})
        links = [name for name in directories if Path(parent, name).is_symlink()]
        for name in sorted([*names, *links]):
            path = Path(parent, name)
            mode = path.lstat().st_mode
            content = str(path.readlink()).encode("utf-8", "surrogateescape") if stat.S_ISLNK(mode) else b""
            if stat.S_ISREG(mode):
                with path.open("rb") as file:
                    content = hashlib.file_digest(file, "sha256").digest()
            relative = path.relative_to(directory).as_posix().encode("utf-8", "surrogateescape")
            header = b"%d %d %d %d " % (stat.S_IFMT(mode), bool(mode & stat.S_IXUSR), len(relative), len(content))
            digest.update(header + relative + content)
    return digest.hexdigest()[:12]


def _parse(answer: bytes, *, what: str) -> dict[str, Any]:
    try:
        data = json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise TemplateError(f"{what}: its process gave an answer that cannot be read") from error
    if not isinstance(data, dict):
        raise TemplateError(f"{what}: its process gave an answer that cannot be read")
    return data


def _read_strings(answer: Mapping[str, Any], key: str) -> list[str]:
    found = answer.get(key, [])
    return [_sentence(text) for text in found] if isinstance(found, list) else []


def _find_made(answer: Mapping[str, Any], *, output: Path, what: str) -> Path:
    directory = str(answer.get("directory"))
    made = Path(os.path.realpath(output / directory))
    if not made.is_relative_to(output) or made == output or not made.is_dir():
        raise TemplateError(f"{what} makes {directory!r}; accepted is one directory below the one that it gets")
    return made


def _sentence(text: Any) -> str:
    printable = "".join(character if character.isprintable() else " " for character in str(text))
    return " ".join(printable.split())[:_PROBLEM_CHARACTERS]
