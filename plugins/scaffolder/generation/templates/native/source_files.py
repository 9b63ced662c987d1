"""The files of templates on disk: found without following links, read only as what they were found to be."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from scaffolder.errors import LimitExceededError, TemplateError
from scaffolder.generation.templates.native.definition import DEFINITION_FILE

if TYPE_CHECKING:
    from scaffolder.config import Settings
    from scaffolder.generation.templates.native.definition import NativeTemplate

MAX_ENTRIES: Final = 200_000

# The definition, and what git keeps for itself.
_NO_FILES: Final = frozenset({DEFINITION_FILE, ".git"})
_EARLY_BYTES: Final = 67_108_864


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFile:
    """One file of a template, as it is there. `layer` is the template's place in the lineage, `path` is relative."""

    layer: int
    path: str
    location: str
    mode: int
    size_bytes: int

    @property
    def is_regular(self) -> bool:
        """Whether it is a file, and no link, pipe or device."""
        return stat.S_ISREG(self.mode)

    @property
    def executable(self) -> bool:
        """Whether its owner may execute it."""
        return bool(self.mode & stat.S_IXUSR)

    def read(self) -> bytes:
        """Return its content. Raises TemplateError where it is not what it was, or cannot be read."""
        try:
            descriptor = os.open(self.location, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                status = os.fstat(descriptor)
                content = _read_all(descriptor, self.size_bytes) if stat.S_ISREG(status.st_mode) else None
            finally:
                os.close(descriptor)
        except OSError as error:
            raise TemplateError(f"{self.location!r} cannot be read: {error.strerror}") from error
        if content is None or len(content) != self.size_bytes:
            raise TemplateError(f"{self.location!r} changed while it was read; try again")
        return content


class SourceFiles:
    """The files of a template and its bases by number: base by base, each in the order of their paths.

    Raises LimitExceededError for more than `MAX_ENTRIES`.
    """

    def __init__(self, template: NativeTemplate, *, settings: Settings) -> None:
        self._template = template
        self._lineage = template.lineage
        self._settings = settings
        self._files = _list_files(template)
        self._early: dict[int, bytes] = {}

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, number: int) -> SourceFile:
        return self._files[number]

    def describe(self, number: int) -> str:
        """Return what a message calls the file: its template and its path."""
        file = self._files[number]
        return f"template {self._lineage[file.layer].name!r}: {file.path!r}"

    def origin(self, number: int) -> str:
        """Return the origin of what the file becomes."""
        return self._lineage[self._files[number].layer].origin

    def read_early(self) -> None:
        """Read what will probably be wanted, while there is time."""
        size_bytes = 0
        for number, file in enumerate(self._files):
            size_bytes += file.size_bytes
            if size_bytes > _EARLY_BYTES:
                return
            if file.is_regular and file.size_bytes <= self._settings.max_file_size:
                # Where it is wanted it is read again, and says what is wrong.
                with suppress(TemplateError):
                    self._early[number] = file.read()

    def read(self, number: int) -> bytes:
        """Return a file's content. Raises as `check`, and TemplateError where it cannot be read."""
        content = self._early.pop(number, None)
        if content is not None:
            return content
        self.check([number])
        return self._files[number].read()

    def forget(self) -> None:
        """Let go of all that was read early."""
        self._early.clear()

    def check(self, numbers: Sequence[int]) -> None:
        """Raise TemplateError or LimitExceededError with every one of the files that must not be read."""
        files, name, limit = (
            [self._files[number] for number in numbers],
            self._template.name,
            self._settings.max_file_size,
        )
        odd = [repr(file.path) for file in files if not file.is_regular]
        if odd:
            verb = "is" if len(odd) == 1 else "are"
            raise TemplateError(
                f"template {name!r}: {', '.join(odd)} {verb} neither a file nor a directory; links and devices are "
                "not accepted"
            )
        large = [f"{file.path!r} has {file.size_bytes} bytes" for file in files if file.size_bytes > limit]
        if large:
            raise LimitExceededError(
                f"template {name!r}: {', '.join(large)}, accepted are {limit} (SCAFFOLDER_MAX_FILE_SIZE)"
            )


def _list_files(template: NativeTemplate) -> list[SourceFile]:
    files: list[SourceFile] = []
    for layer, one in enumerate(template.lineage):
        for file in _walk(str(one.directory), layer=layer):
            files.append(file)
            if len(files) > MAX_ENTRIES:
                raise LimitExceededError(
                    f"template {template.name!r} has more than {MAX_ENTRIES} files, those that are left out counted"
                )
    return files


def _read_all(descriptor: int, size_bytes: int) -> bytes:
    """Read a file of `size_bytes`, and one byte more where it has grown."""
    content = os.read(descriptor, size_bytes + 1)
    while len(content) < size_bytes:
        more = os.read(descriptor, size_bytes + 1 - len(content))
        if not more:
            break
        content += more
    return content


def _walk(root: str, *, layer: int, prefix: str = "") -> Iterator[SourceFile]:
    directory = os.path.join(root, prefix)  # noqa: PTH118 - a Path for each of 10,000 files takes long
    try:
        with os.scandir(directory) as found:
            entries = sorted(found, key=lambda entry: entry.name)
    except OSError as error:
        raise TemplateError(f"{directory!r} cannot be read: {error.strerror}") from error
    for entry in entries:
        path = prefix + entry.name
        if path in _NO_FILES:
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(root, layer=layer, prefix=f"{path}/")
            continue
        status = entry.stat(follow_symlinks=False)
        yield SourceFile(layer=layer, path=path, location=entry.path, mode=status.st_mode, size_bytes=status.st_size)
