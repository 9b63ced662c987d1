"""Templates of our own kind: a directory with a ``template.yaml``, which is read and checked here.

Files whose name ends in ``.jinja`` are rendered, all others are copied as they are. Parts of paths may be templated;
a part that renders to nothing leaves the file out. Values are data and never rendered.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from scaffolder.errors import TemplateError
from scaffolder.yaml_document import Location, YamlDocument, YamlDocumentError, read_yaml

if TYPE_CHECKING:
    from scaffolder.config import Settings
    from scaffolder.generation.tree import GeneratedFile

DEFINITION_FILE: Final = "template.yaml"
RESERVED_VALUE: Final = "run"

_KEYS: Final = (
    "name",
    "version",
    "description",
    "values",
    "exclude",
    "copy_without_render",
    "conditions",
    "extends",
)
_SHOWN_CHARACTERS: Final = 200
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
# Keywords of a schema that hold schemas by name: those of a base template stay, beside the template's own.
_MERGED_KEYWORDS: Final = ("properties", "$defs", "definitions", "dependentRequired", "dependentSchemas")


@dataclass(frozen=True, kw_only=True)
class NativeTemplate:
    """A template whose definition is sound. `values_schema` is complete, those of its `bases` included.

    Patterns are those of .gitignore and match paths as they are in the template. `conditions` are pairs of pattern and
    Jinja expression: a file stays where all that match its path are true. `bases` are the templates that it extends,
    in the order it names them. `lines` are the lines of its definition's keys.
    """

    directory: Path
    name: str
    version: str
    description: str = ""
    values_schema: Mapping[str, Any] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()
    copy_without_render: tuple[str, ...] = ()
    conditions: tuple[tuple[str, str], ...] = ()
    bases: tuple[NativeTemplate, ...] = ()
    lines: Mapping[Location, int] = field(default_factory=dict, repr=False)

    @property
    def origin(self) -> str:
        """The origin of files that come from this template; those of its bases have their own."""
        return f"template:{self.name}@{self.version}"

    @property
    def lineage(self) -> tuple[NativeTemplate, ...]:
        """All templates whose files it has, each once: the bases first, itself last."""
        found: dict[Path, NativeTemplate] = {}
        for base in self.bases:
            found |= {ancestor.directory: ancestor for ancestor in base.lineage if ancestor.directory not in found}
        found[self.directory] = self
        return tuple(found.values())

    def render(
        self, values: Mapping[str, Any], *, run: Mapping[str, Any], trust: bool, settings: Settings
    ) -> list[GeneratedFile]:
        """Return the files for `values`, by path. `trust` changes nothing: these templates have no code to run.

        Raises TemplateError (values that the schema refuses; a file that cannot be rendered, named with its line) and
        LimitExceededError.
        """
        from scaffolder.generation.templates.native.rendering import render_template

        return render_template(self, values, run=run, settings=settings)


def load_template(directory: Path, *, directories: Sequence[Path]) -> NativeTemplate:
    """Read the template in `directory`, and those it extends: of the templates `directories` the first that has it.

    A template elsewhere extends its siblings before those. One of the same name is that of a later directory. In
    `directories` a template has the name of its directory. Raises TemplateError with every problem found.
    """
    return _Loader(directories).load(directory, chain=())


def find_line(template: NativeTemplate, location: Location) -> tuple[Path, int]:
    """Return the definition and the line where `location` stands: of a value, in the last template that has it.

    Where it stands nowhere, these are the nearest place above it in the template's own definition.
    """
    owners = [template, *reversed(template.lineage[:-1])] if location[:1] == ("values",) else [template]
    owner = next((one for one in owners if location in one.lines), template)
    while location and location not in owner.lines:
        location = location[:-1]
    return owner.directory / DEFINITION_FILE, owner.lines.get(location, 1)


class _Loader:
    """Loads a template and those it extends, each of them once."""

    def __init__(self, directories: Sequence[Path]) -> None:
        self._directories = directories
        self._loaded: dict[Path, NativeTemplate] = {}

    def load(self, directory: Path, *, chain: tuple[tuple[str, Path], ...]) -> NativeTemplate:
        """Load `directory`; `chain` are the names and directories of the templates that extend it, outermost first."""
        if directory not in self._loaded:
            named = directory.parent in self._directories
            reader = _Reader(directory, expected_name=directory.name if named else None)
            template, names = reader.read()
            chain = (*chain, (template.name, directory))
            bases = [self._load_base(name, reader=reader, directory=directory, chain=chain) for name in names]
            self._loaded[directory] = _extend(template, bases)
        return self._loaded[directory]

    def _load_base(
        self, name: str, *, reader: _Reader, directory: Path, chain: tuple[tuple[str, Path], ...]
    ) -> NativeTemplate:
        places = [one / name for one in self._directories]
        if directory.parent not in self._directories:
            places.insert(0, directory.parent / name)
        if directory in places[:-1]:
            places = places[places.index(directory) + 1 :]
        found = next((place for place in places if (place / DEFINITION_FILE).is_file()), None)
        if found is None:
            known = sorted({path.parent.name for place in places for path in place.parent.glob(f"*/{DEFINITION_FILE}")})
            known = [other for other in known if other != directory.name]
            raise reader.refuse(("extends",), f"extends {name!r}, which is not there; there are {known}")
        if found in (place for _, place in chain):
            names = " -> ".join(repr(known) for known in (*(known for known, _ in chain), name))
            raise reader.refuse(("extends",), f"templates extend each other in a circle: {names}")
        return self.load(found, chain=chain)


def _extend(template: NativeTemplate, bases: Sequence[NativeTemplate]) -> NativeTemplate:
    from dataclasses import replace

    schema: dict[str, Any] = {}
    for own in [*(base.values_schema for base in bases), template.values_schema]:
        merged = {keyword: schema.get(keyword, {}) | own[keyword] for keyword in _MERGED_KEYWORDS if keyword in own}
        required = dict.fromkeys([*schema.get("required", ()), *own.get("required", ())])
        # A base that accepts nothing else would refuse what its extension adds.
        schema.pop("additionalProperties", None)
        schema |= {**own, **merged} | ({"required": list(required)} if required else {})
    return replace(template, values_schema=schema, bases=tuple(bases))


class _Reader:
    """Reads one definition and collects its problems."""

    def __init__(self, directory: Path, *, expected_name: str | None) -> None:
        self._directory = directory
        self._path = directory / DEFINITION_FILE
        self._expected_name = expected_name
        self._document = YamlDocument(data=None, lines={}, duplicates=())
        self._problems: list[tuple[int, str]] = []

    def read(self) -> tuple[NativeTemplate, list[str]]:
        """Return the template without its bases, and the names of those."""
        try:
            self._document = read_yaml(self._path)
        except YamlDocumentError as error:
            raise TemplateError(f"{self._path}:{error.line}: {error}") from error
        data = self._document.data
        if not isinstance(data, Mapping):
            raise self.refuse((), f"holds {type(data).__name__}; accepted is a mapping with the keys {list(_KEYS)}")
        for location in self._document.duplicates:
            self._add(location, f"key {location[-1]!r} is there twice")
        if unknown := [str(key) for key in data if key not in _KEYS]:
            self._add((unknown[0],), f"unknown keys {unknown}; accepted are {list(_KEYS)}")
        template = NativeTemplate(
            directory=self._directory,
            name=self._read_name(data.get("name")),
            version=self._read_version(data.get("version")),
            description=self._read_description(data.get("description")),
            values_schema=self._read_schema(data.get("values")),
            exclude=tuple(self._read_patterns("exclude", data.get("exclude"))),
            copy_without_render=tuple(self._read_patterns("copy_without_render", data.get("copy_without_render"))),
            conditions=tuple(self._read_conditions(data.get("conditions"))),
            lines=self._document.lines,
        )
        names = self._read_extends(data.get("extends"))
        if self._problems:
            raise TemplateError(
                "\n".join(f"{self._path}:{line}: {sentence}" for line, sentence in sorted(self._problems))
            )
        return template, names

    def refuse(self, location: Location, sentence: str) -> TemplateError:
        """Return the error that `sentence` is about the place `location`."""
        return TemplateError(f"{self._path}:{self._document.line(location)}: {sentence}")

    def _add(self, location: Location, sentence: str) -> None:
        self._problems.append((self._document.line(location), sentence))

    def _read_name(self, name: Any) -> str:
        if self._expected_name is not None and name != self._expected_name:
            self._add(("name",), f"name is {_show(name)}; accepted is the directory's, {self._expected_name!r}")
        elif not isinstance(name, str) or not _NAME.fullmatch(name):
            self._add(("name",), f"name is {_show(name)}; accepted is {_NAME.pattern}")
        return str(name)

    def _read_version(self, version: Any) -> str:
        if not isinstance(version, str) or not version.strip() or not version.isprintable():
            self._add(("version",), f"version is {_show(version)}; accepted is a string such as '1.0.0'")
        return str(version)

    def _read_description(self, description: Any) -> str:
        if not isinstance(description, str | None):
            self._add(("description",), f"description is {_show(description)}; accepted is a string")
        return description or "" if isinstance(description, str) else ""

    def _read_schema(self, schema: Any) -> Mapping[str, Any]:
        from scaffolder.json_schema import SchemaError, check_bounded, check_schema

        if schema is None:
            return {"type": "object"}
        if not isinstance(schema, Mapping) or schema.get("type", "object") != "object":
            self._add(("values",), f"values is {_show(schema)}; accepted is a JSON Schema of an object")
            return {}
        if odd := list(_find_odd(schema, ("values",))):
            for location, sentence in odd:
                self._add(location, f"values is no JSON Schema: {sentence}")
            return {}
        try:
            check_schema(schema)
            check_bounded(schema)
        except SchemaError as error:
            self._add(("values", *error.path), f"values is no JSON Schema: {error}")
            return {}
        if RESERVED_VALUE in schema.get("properties", {}):
            self._add(
                ("values", "properties", RESERVED_VALUE),
                f"a value is called {RESERVED_VALUE!r}; accepted is another name: that is what the run says of itself",
            )
        return schema

    def _read_patterns(self, key: str, patterns: Any) -> Iterator[str]:
        if patterns is None:
            return
        if not isinstance(patterns, list):
            self._add((key,), f"{key} is {_show(patterns)}; accepted is a list of patterns as in .gitignore")
            return
        for index, pattern in enumerate(patterns):
            if isinstance(pattern, str) and pattern.strip():
                yield pattern
            else:
                self._add((key, index), f"{key} has {_show(pattern)}; accepted is a pattern as in .gitignore")

    def _read_conditions(self, conditions: Any) -> Iterator[tuple[str, str]]:
        if conditions is None:
            return
        if not isinstance(conditions, Mapping):
            self._add(
                ("conditions",),
                f"conditions is {_show(conditions)}; accepted is a mapping of pattern to Jinja expression",
            )
            return
        for pattern, expression in conditions.items():
            if not isinstance(pattern, str) or not pattern.strip():
                self._add(("conditions", str(pattern)), f"conditions has {pattern!r}; accepted is a pattern")
            elif not isinstance(expression, str) or not expression.strip():
                self._add(
                    ("conditions", pattern),
                    f"the condition of {pattern!r} is {_show(expression)}; accepted is a Jinja expression",
                )
            else:
                yield pattern, expression

    def _read_extends(self, extends: Any) -> list[str]:
        names = extends if isinstance(extends, list) else [extends] if extends is not None else []
        for index, name in enumerate(names):
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                self._add(("extends", index), f"extends {_show(name)}; accepted is the name of another template")
            elif name in names[:index]:
                self._add(("extends", index), f"extends {name!r} twice; accepted is once")
        return names


def _find_odd(value: Any, location: Location) -> Iterator[tuple[Location, str]]:
    """Yield what YAML reads as something that JSON does not have, such as a date, or ``on`` as a key."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                yield location, f"the key {key!r} is {type(key).__name__}; accepted is text: put it in quotes"
            yield from _find_odd(item, (*location, str(key)))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _find_odd(item, (*location, index))
    elif not isinstance(value, str | bool | int | float | None):
        yield location, f"{value!r} is {type(value).__name__}; accepted is plain JSON data: put it in quotes"


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."
