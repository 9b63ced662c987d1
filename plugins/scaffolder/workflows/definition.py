"""Workflow definitions: read from YAML and checked; every problem names file, line, step and what is accepted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from scaffolder.config import Settings
from scaffolder.errors import ScaffolderError, WorkflowDefinitionError
from scaffolder.json_schema import SchemaError, check_schema, find_violations
from scaffolder.operators.names import FINISHING_TASK, OPENING_TASK
from scaffolder.workflows.step_types import STEP_TYPES, StepDefinition
from scaffolder.yaml_document import Location, YamlDocument, YamlDocumentError, read_yaml

PROJECT_PARAM: Final[Mapping[str, Any]] = {
    "type": "string",
    "title": "Project",
    "description": "The project that the result belongs to; made where it is not there.",
    "pattern": "^[a-z0-9][a-z0-9-]{0,62}$",
    "default": "default",
}

_KEYS: Final = ("id", "title", "description", "params", "steps")
_ID = re.compile(r"[a-z][a-z0-9_]{0,62}")
# Of a file that is no YAML, and how much of it is looked at.
_ID_LINE = re.compile(rb"^id:[ \t]*[\"']?([a-z][a-z0-9_]{0,62})", re.MULTILINE)
_ID_BYTES = 65_536


@dataclass(frozen=True, kw_only=True)
class WorkflowDefinition:
    """A sound workflow. `params` are JSON Schemas by name, the system's own included."""

    id: str
    title: str
    description: str
    params: Mapping[str, Mapping[str, Any]]
    steps: Sequence[StepDefinition]

    def needs(self, index: int) -> list[str]:
        """Return the steps that the one at `index` waits for: those it names, otherwise the one before it."""
        step = self.steps[index]
        if step.needs is not None:
            return list(step.needs)
        return [self.steps[index - 1].id] if index else []

    @cached_property
    def ancestors(self) -> Mapping[str, frozenset[str]]:
        """All the steps that are over when a step starts, by its id."""
        found: dict[str, frozenset[str]] = {}
        for index, step in enumerate(self.steps):
            direct = self.needs(index)
            found[step.id] = frozenset(direct).union(*(found.get(name, frozenset()) for name in direct))
        return found


def load_definition(path: Path, *, settings: Settings) -> WorkflowDefinition:
    """Read one definition. Raises WorkflowDefinitionError with every problem found."""
    return _Reader(path, settings=settings).read()


def load_definitions(settings: Settings) -> tuple[list[WorkflowDefinition], list[str]]:
    """Return the sound definitions of all workflow directories (``*.yaml``), and the problems of all others.

    Where several directories have a workflow, that of the first counts, also where it is not sound.
    """
    definitions: dict[str, WorkflowDefinition] = {}
    problems: list[str] = []
    taken: set[str] = set()
    if not settings.workflow_directories:
        problems.append(
            "there is no directory of workflows: set SCAFFOLDER_WORKFLOWS_DIR to one that does not ship, or "
            "SCAFFOLDER_INCLUDE_SHIPPED to true"
        )
    for directory in settings.workflow_directories:
        if not directory.is_dir():
            problems.append(f"{directory}: is no directory (SCAFFOLDER_WORKFLOWS_DIR)")
        here: set[str] = set()
        for path in sorted(directory.glob("*.yaml")):
            reader = _Reader(path, settings=settings)
            try:
                definition = reader.read()
            except WorkflowDefinitionError as error:
                problems.extend(error.problems)
                here.add(reader.id)
                continue
            if definition.id in taken:
                continue
            if definition.id in definitions:
                problems.append(
                    f"{path}: id {definition.id!r} is taken by another workflow; accepted is one of its own"
                )
                continue
            definitions[definition.id] = definition
            here.add(definition.id)
        taken |= here
    return list(definitions.values()), problems


class _Reader:
    """Reads one file and collects its problems."""

    def __init__(self, path: Path, *, settings: Settings) -> None:
        self._path = path
        self._settings = settings
        self._problems: list[tuple[int, str]] = []
        self._document = YamlDocument(data=None, lines={}, duplicates=())

    @property
    def id(self) -> str:
        """The id in the file, sound or not: of what could be read, else of a line that looks like it, else its name."""
        data = self._document.data
        if isinstance(data, Mapping) and "id" in data:
            return str(data["id"])
        try:
            found = _ID_LINE.search(self._path.read_bytes()[:_ID_BYTES])
        except OSError:
            found = None
        return found[1].decode() if found else self._path.stem

    def read(self) -> WorkflowDefinition:
        try:
            self._document = read_yaml(self._path)
        except YamlDocumentError as error:
            raise WorkflowDefinitionError([f"{self._path}:{error.line}: {error}"]) from error
        for location in self._document.duplicates:
            self._add(location, f"key {location[-1]!r} is there twice")
        definition = self._build(self._document.data)
        if definition is not None and not self._problems:
            self._check_references(definition)
        if self._problems or definition is None:
            raise WorkflowDefinitionError(
                f"{self._path}:{line}: {sentence}" for line, sentence in sorted(self._problems, key=lambda p: p[0])
            )
        return definition

    def _add(self, location: Location, sentence: str) -> None:
        """Note a problem at the line of `location`, or of the nearest that is there."""
        self._problems.append((self._document.line(location), sentence))

    def _build(self, data: Any) -> WorkflowDefinition | None:
        if not isinstance(data, Mapping):
            self._add((), f"the file holds {type(data).__name__}; accepted is a mapping with the keys {list(_KEYS)}")
            return None
        for key in data:
            if key not in _KEYS:
                self._add((key,), f"unknown key {key!r}; accepted are {list(_KEYS)}")
        workflow_id = data.get("id")
        if not isinstance(workflow_id, str) or not _ID.fullmatch(workflow_id):
            self._add(("id",), f"id is {workflow_id!r}; accepted is {_ID.pattern}")
        for key in ("title", "description"):
            if not isinstance(data.get(key, ""), str):
                self._add((key,), f"{key} is {data[key]!r}; accepted is a string")
        params = self._build_params(data.get("params") or {})
        steps = self._build_steps(data.get("steps"))
        if self._problems:
            return None
        return WorkflowDefinition(
            id=str(workflow_id),
            title=data.get("title") or str(workflow_id),
            description=data.get("description") or "",
            params=params,
            steps=steps,
        )

    def _build_params(self, data: Any) -> Mapping[str, Mapping[str, Any]]:
        params: dict[str, Mapping[str, Any]] = {}
        if not isinstance(data, Mapping):
            self._add(("params",), f"params is {type(data).__name__}; accepted is a mapping of name to JSON Schema")
            return params
        for name, schema in data.items():
            here = ("params", name)
            if not isinstance(name, str) or not _ID.fullmatch(name) or name == "project":
                self._add(here, f"parameter {name!r}; accepted is {_ID.pattern}, but not 'project', which all have")
            elif not isinstance(schema, Mapping):
                self._add(here, f"parameter {name!r} is {schema!r}; accepted is a JSON Schema")
            else:
                self._check_param(here, name, schema)
                params[name] = schema
        return {**params, "project": PROJECT_PARAM}

    def _check_param(self, here: Location, name: str, schema: Mapping[str, Any]) -> None:
        try:
            check_schema(schema)
            for _, flaw in find_violations(schema, schema["default"]) if "default" in schema else ():
                self._add((*here, "default"), f"parameter {name!r} refuses its own default: {flaw}")
        except SchemaError as error:
            self._add((*here, *error.path), f"parameter {name!r} is no JSON Schema: {error}")

    def _build_steps(self, data: Any) -> list[StepDefinition]:
        if not isinstance(data, list) or not data:
            self._add(("steps",), "steps are missing; accepted is a list of at least one step")
            return []
        steps: list[StepDefinition] = []
        for index, item in enumerate(data):
            step = self._build_step(("steps", index), item)
            if step is not None:
                self._check_step(("steps", index), step, earlier=[one.id for one in steps])
                steps.append(step)
        return steps

    def _build_step(self, here: Location, data: Any) -> StepDefinition | None:
        if not isinstance(data, Mapping):
            self._add(here, f"step is {data!r}; accepted is a mapping with id and type")
            return None
        name = f"step {data.get('id', here[-1])!r}"
        if not isinstance(data.get("type"), str) or data["type"] not in STEP_TYPES:
            self._add((*here, "type"), f"{name}: type is {data.get('type')!r}; accepted are {sorted(STEP_TYPES)}")
            return None
        model = STEP_TYPES[data["type"]][0]
        try:
            return model.model_validate(data)
        except ValidationError as error:
            for problem in error.errors():
                key = ".".join(str(part) for part in problem["loc"])
                if problem["type"] == "extra_forbidden":
                    accepted = model.accepted_keys(problem["loc"])
                    sentence = f"{name}: unknown key {key!r}; accepted are {accepted}"
                else:
                    sentence = f"{name}: {key}: {problem['msg']}"
                self._add((*here, *problem["loc"]), sentence)
            return None

    def _check_step(self, here: Location, step: StepDefinition, *, earlier: list[str]) -> None:
        name = f"step {step.id!r}"
        if step.id in {*earlier, OPENING_TASK, FINISHING_TASK}:
            self._add((*here, "id"), f"{name}: the id is taken; accepted is one of its own")
        for need in step.needs or []:
            if need not in earlier:
                self._add((*here, "needs"), f"{name}: needs {need!r}; accepted are the earlier steps {earlier}")
        try:
            step.expressions()
            step.check(self._settings)
        except ScaffolderError as error:
            self._add(here, f"{name}: {error}")

    def _check_references(self, definition: WorkflowDefinition) -> None:
        """Expressions may speak of parameters that are declared and of steps that are over by then."""
        accepted = {"params": frozenset(definition.params)}
        for index, step in enumerate(definition.steps):
            accepted["steps"] = definition.ancestors[step.id]
            for variable, name, source in _references(step):
                if variable in accepted and name not in accepted[variable]:
                    self._add(
                        ("steps", index),
                        f"step {step.id!r}: {source!r} uses {variable}.{name}; "
                        f"accepted are {sorted(accepted[variable])}",
                    )


def _references(step: StepDefinition) -> Iterator[tuple[str, str, str]]:
    for expression in step.expressions():
        for variable, names in sorted(expression.references.items()):
            for name in sorted(names):
                yield variable, name, expression.source
