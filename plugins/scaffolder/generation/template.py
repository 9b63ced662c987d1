"""Templates: a directory with a ``template.yaml``, rendered into files in memory.

Files whose name ends in ``.jinja`` are rendered, all others are copied as they are; path parts may be templated, and a
part that renders to nothing leaves the file out. What users and agents supplied is always a value, never a template.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from scaffolder.errors import LimitExceededError, TemplateError
from scaffolder.generation.tree import GeneratedFile
from scaffolder.json_schema import SchemaError, check_schema, find_violations

if TYPE_CHECKING:
    from jinja2 import Environment

    from scaffolder.config import Settings

DEFINITION_FILE: Final = "template.yaml"
SUFFIX: Final = ".jinja"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_KEYS: Final = frozenset({"name", "version", "description", "values", "exclude"})


@dataclass(frozen=True, kw_only=True)
class Template:
    """A template that was found and whose definition is sound."""

    directory: Path
    name: str
    version: str
    description: str
    values_schema: dict[str, Any]
    exclude: tuple[str, ...]

    @property
    def origin(self) -> str:
        """The origin of files that come from this template."""
        return f"template:{self.name}@{self.version}"

    def render(self, values: Mapping[str, Any], *, settings: Settings) -> list[GeneratedFile]:
        """Return the template's files for `values`, by path. Nothing is written.

        Raises TemplateError (values that the schema refuses; a file that cannot be rendered, named with its line)
        and LimitExceededError.
        """
        complete = self._complete(values)
        environment = make_environment()
        files: list[GeneratedFile] = []
        for source in self._walk():
            relative = source.relative_to(self.directory).as_posix()
            path = self._render_path(environment, relative, complete)
            if path is None:
                continue
            files.append(self._render_file(environment, source, path, complete, settings))
        return sorted(files, key=lambda file: file.path)

    def _complete(self, values: Mapping[str, Any]) -> dict[str, Any]:
        properties = self.values_schema.get("properties", {})
        defaults = {name: schema["default"] for name, schema in properties.items() if "default" in schema}
        try:
            # Plain data only: an object's methods would be callable from inside the sandbox.
            complete: dict[str, Any] = json.loads(json.dumps({**defaults, **values}))
            problems = sorted(
                f"{'.'.join(str(part) for part in path) or 'values'}: {message}"
                for path, message in find_violations(self.values_schema, complete)
            )
        except SchemaError as error:
            raise TemplateError(f"template {self.name!r} has values whose schema cannot be used: {error}") from error
        except (TypeError, ValueError) as error:
            raise TemplateError(f"template {self.name!r} takes plain data as values: {error}") from error
        if problems:
            raise TemplateError(f"template {self.name!r} refuses its values: " + "; ".join(problems))
        return complete

    def _walk(self) -> Iterator[Path]:
        for directory, subdirectories, names in os.walk(self.directory):
            subdirectories.sort()
            for name in sorted(subdirectories + names):
                source = Path(directory, name)
                relative = source.relative_to(self.directory).as_posix()
                mode = source.lstat().st_mode
                if stat.S_ISDIR(mode) or relative == DEFINITION_FILE or self._is_excluded(relative):
                    continue
                if not stat.S_ISREG(mode):
                    raise TemplateError(
                        f"template {self.name!r}: {relative!r} is neither a file nor a directory; links and "
                        "devices are not accepted"
                    )
                yield source

    def _is_excluded(self, relative: str) -> bool:
        parts = relative.split("/")
        prefixes = ["/".join(parts[: index + 1]) for index in range(len(parts))]
        return any(
            fnmatch(prefix, pattern) or fnmatch(part, pattern)
            for pattern in self.exclude
            for prefix, part in zip(prefixes, parts, strict=True)
        )

    def _render_path(self, environment: Environment, relative: str, values: Mapping[str, Any]) -> str | None:
        rendered = []
        for part in relative.removesuffix(SUFFIX).split("/"):
            text = self._render_text(environment, part, values, relative) if "{" in part else part
            if not text:
                return None
            if "/" in text and text != part:
                raise TemplateError(
                    f"template {self.name!r}: the part {part!r} of {relative!r} became {text!r}; accepted is one "
                    "part without a slash"
                )
            rendered.append(text)
        return "/".join(rendered)

    def _render_file(
        self,
        environment: Environment,
        source: Path,
        path: str,
        values: Mapping[str, Any],
        settings: Settings,
    ) -> GeneratedFile:
        relative = source.relative_to(self.directory).as_posix()
        status = source.stat()
        if status.st_size > settings.max_file_size:
            raise LimitExceededError(
                f"template {self.name!r}: {relative!r} has {status.st_size} bytes, accepted are "
                f"{settings.max_file_size} (SCAFFOLDER_MAX_FILE_SIZE)"
            )
        content = source.read_bytes()
        if relative.endswith(SUFFIX):
            try:
                text = content.decode("utf-8")
            except UnicodeDecodeError as error:
                raise TemplateError(f"template {self.name!r}: {relative!r} is not UTF-8: {error}") from error
            content = self._render_text(environment, text, values, relative).encode("utf-8")
            if len(content) > settings.max_file_size:
                raise LimitExceededError(
                    f"template {self.name!r}: {relative!r} became {len(content)} bytes, accepted are "
                    f"{settings.max_file_size} (SCAFFOLDER_MAX_FILE_SIZE)"
                )
        executable = bool(status.st_mode & stat.S_IXUSR)
        return GeneratedFile(path=path, content=content, origin=self.origin, executable=executable)

    def _render_text(self, environment: Environment, text: str, values: Mapping[str, Any], relative: str) -> str:
        from jinja2 import TemplateSyntaxError

        # Jinja reads every line ending as one kind; taking the file's own keeps it byte for byte.
        environment.newline_sequence = "\r\n" if "\r\n" in text else "\n"
        try:
            return environment.from_string(text).render(values)
        except TemplateSyntaxError as error:
            raise TemplateError(
                f"template {self.name!r}: {relative!r}, line {error.lineno}: {error.message}"
            ) from error
        except Exception as error:  # a template is somebody's code: whatever it raises is the template's error
            raise TemplateError(
                f"template {self.name!r}: {relative!r} cannot be rendered: {type(error).__name__}: {error}"
            ) from error


def find_template(name: str, *, templates_dir: Path) -> Template:
    """Return the template `name` of `templates_dir`. Raises TemplateError."""
    if not _NAME.fullmatch(name):
        raise TemplateError(f"template {name!r}: accepted is the name of a directory in {templates_dir}")
    definition = templates_dir / name / DEFINITION_FILE
    if not definition.is_file():
        known = sorted(path.parent.name for path in templates_dir.glob(f"*/{DEFINITION_FILE}"))
        raise TemplateError(f"there is no template {name!r} in {templates_dir}; there are {known}")
    return _load(definition)


def _load(definition: Path) -> Template:
    import yaml

    try:
        data = yaml.safe_load(definition.read_bytes())
    except yaml.YAMLError as error:
        raise TemplateError(f"{definition}: {error}") from error
    if not isinstance(data, dict):
        raise TemplateError(f"{definition}: accepted is a mapping with the keys {sorted(_KEYS)}")
    if unknown := sorted(str(key) for key in data.keys() - _KEYS):
        raise TemplateError(f"{definition}: unknown keys {unknown}; accepted are {sorted(_KEYS)}")
    name, version, schema = data.get("name"), data.get("version"), data.get("values", {"type": "object"})
    if name != definition.parent.name:
        raise TemplateError(f"{definition}: name is {name!r}; accepted is the directory's, {definition.parent.name!r}")
    if not isinstance(version, str) or not version:
        raise TemplateError(f"{definition}: version is {version!r}; accepted is a string such as '1.0.0'")
    exclude = data.get("exclude", [])
    if not isinstance(exclude, list) or not all(isinstance(pattern, str) for pattern in exclude):
        raise TemplateError(f"{definition}: exclude is {exclude!r}; accepted is a list of patterns")
    try:
        check_schema(schema)
    except SchemaError as error:
        raise TemplateError(f"{definition}: values is no JSON Schema: {error}") from error
    return Template(
        directory=definition.parent,
        name=name,
        version=version,
        description=str(data.get("description", "")),
        values_schema=schema,
        exclude=tuple(exclude),
    )


def make_environment() -> Environment:
    """Return the sandbox templates are rendered in: no loader, no undefined values, nothing to mutate."""
    from scaffolder.sandbox import DataEnvironment

    environment = DataEnvironment()
    environment.filters.update(to_json=_to_json, to_toml=_to_toml, snake=to_snake, kebab=to_kebab, pascal=to_pascal)
    return environment


def _words(text: str) -> list[str]:
    spaced = re.sub(r"([a-z0-9])([A-Z])|([A-Z]+)([A-Z][a-z])", r"\1\3 \2\4", text)
    return re.findall(r"[^\W_]+", spaced)


def to_snake(text: str) -> str:
    """``My service`` -> ``my_service``."""
    return "_".join(word.lower() for word in _words(text))


def to_kebab(text: str) -> str:
    """``My service`` -> ``my-service``."""
    return "-".join(word.lower() for word in _words(text))


def to_pascal(text: str) -> str:
    """``My service`` -> ``MyService``."""
    return "".join(word[:1].upper() + word[1:] for word in _words(text))


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _to_toml(value: Any) -> str:
    # JSON strings, numbers and booleans are TOML, but for DEL and the escapes of characters beyond the BMP.
    if not isinstance(value, str | bool | int | float):
        raise TypeError(f"to_toml takes a string, number or boolean, not {type(value).__name__}")
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
