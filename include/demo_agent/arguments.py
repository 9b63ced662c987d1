"""Decides how a parameter or a form field appears in a handler's signature, and which value a test sends for it."""

import json
import keyword
from dataclasses import dataclass
from typing import Any

from demo_agent.checking import SchemaChecker, UncheckableSchemaError
from demo_agent.document import mapping, sequence
from demo_agent.examples import example_candidates
from demo_agent.merging import CHOICES, ContradictionError, flatten
from demo_agent.naming import snake, unique
from demo_agent.operations import Parameter
from demo_agent.patterns import is_rust_pattern
from demo_agent.sources import literal

_BOUNDS = {
    "str": {"minLength": "min_length", "maxLength": "max_length"},
    "int": {"minimum": "ge", "maximum": "le", "multipleOf": "multiple_of"},
    "float": {"minimum": "ge", "maximum": "le", "multipleOf": "multiple_of"},
}
# Every HTTP client sends these of its own accord, whatever the document says about their values.
_CLIENT_HEADERS = ("accept-encoding", "accept-language", "connection", "content-length", "host", "user-agent")
_FORMATS = {"date": "date", "date-time": "datetime", "uuid": "UUID"}
_PYTHON: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float), "bool": (bool,)}
_SCALARS = {"integer": "int", "number": "float", "boolean": "bool"}


@dataclass(frozen=True)
class ArgumentType:
    """A type as Python source, the constraints that go into `Query(...)` and the like, and the names it uses."""

    annotation: str
    constraints: tuple[str, ...] = ()
    names: frozenset[str] = frozenset()
    default: str | None = None


@dataclass(frozen=True)
class Argument:
    """One argument of a handler, as Python source."""

    name: str
    annotation: str
    default: str | None
    names: frozenset[str]

    @property
    def source(self) -> str:
        """The argument as it stands in the signature."""
        return f"{self.name}: {self.annotation}" + ("" if self.default is None else f" = {self.default}")


def argument_type(schema: Any, *, checker: SchemaChecker, depth: int = 0) -> ArgumentType | None:
    """Return the type of a parameter, or None where it is an object or otherwise no plain value."""
    try:
        keywords, _ = flatten(schema, checker=checker)
    except ContradictionError:
        return None
    if groups := keywords.pop(CHOICES, None):
        branches = [branch for branch in groups[0]["branches"] if mapping(branch).get("type") != "null"]
        if not branches or depth > 3:
            return None
        found = [argument_type({"allOf": [keywords, b]}, checker=checker, depth=depth + 1) for b in branches]
        return found[0] if len(found) == 1 else ArgumentType("str") if all(found) else None
    kinds = keywords.get("type")
    if isinstance(kinds, list):
        kinds = [kind for kind in kinds if kind != "null"]
        kinds = kinds[0] if len(kinds) == 1 else "string"
    if kinds == "array" or (kinds is None and "items" in keywords):
        inner = argument_type(keywords.get("items", {}), checker=checker, depth=depth + 1) if depth < 2 else None
        if inner is None or inner.annotation.startswith("list["):
            return None
        return ArgumentType(f"list[{inner.annotation}]", names=inner.names)
    if kinds == "object" or "properties" in keywords:
        return None
    return _scalar(str(kinds), keywords)


def _scalar(kind: str, keywords: dict[str, Any]) -> ArgumentType:
    members = keywords.get("enum")
    default = keywords.get("default")
    if isinstance(members, list) and members and all(isinstance(member, str) for member in members):
        members = list(dict.fromkeys(members))
        source = literal(default) if default in members else None
        return ArgumentType(f"Literal[{literal(members)[1:-1]}]", names=frozenset({"Literal"}), default=source)
    annotation = _SCALARS.get(kind, "str")
    if kind == "string" and keywords.get("format") in _FORMATS:
        name = _FORMATS[keywords["format"]]
        return ArgumentType(name, names=frozenset({name}))
    constraints = []
    for key, name in _BOUNDS.get(annotation, {}).items():
        bound = keywords.get(key)
        if isinstance(bound, (int, float)) and not isinstance(bound, bool) and bound >= (0 if "Len" in key else bound):
            exclusive = {"ge": "exclusiveMinimum", "le": "exclusiveMaximum"}.get(name)
            strict = exclusive is not None and keywords.get(exclusive) is True
            constraints.append(f"{name.replace('e', 't') if strict else name}={bound!r}")
    pattern = keywords.get("pattern")
    if annotation == "str" and isinstance(pattern, str) and is_rust_pattern(pattern):
        constraints.append(f"pattern={literal(pattern)}")
    fits = isinstance(default, _PYTHON[annotation])
    fits = fits and isinstance(default, bool) is (annotation == "bool")
    return ArgumentType(annotation, tuple(constraints), default=literal(default) if fits else None)


def parameter_argument(parameter: Parameter, *, name: str, checker: SchemaChecker, plain: bool) -> Argument | None:
    """Return the argument for a parameter, or None where FastAPI cannot take it as one.

    `plain` gives up types and constraints: the parameter is text.
    """
    schema = checker.schema_at(parameter.schema) if parameter.schema else {}
    found = argument_type(schema, checker=checker)
    plain = plain or (parameter.location == "header" and parameter.name.lower() in _CLIENT_HEADERS)
    if parameter.location == "path":
        found = ArgumentType("str") if plain or found is None or "list[" in found.annotation else found
    elif found is None:
        return None
    elif plain:
        found = ArgumentType("list[str]" if found.annotation.startswith("list[") else "str")
    if parameter.location == "cookie" and found.annotation.startswith("list["):
        return None
    alias = [] if parameter.location == "path" or not _needs_alias(parameter, name) else [parameter.name]
    return field_argument(
        found, marker=parameter.location.capitalize(), name=name, alias=alias, required=parameter.required
    )


def _needs_alias(parameter: Parameter, name: str) -> bool:
    spelled = name.replace("_", "-") if parameter.location == "header" else name
    given = parameter.name.lower() if parameter.location == "header" else parameter.name
    return spelled != given


def field_argument(kind: ArgumentType, *, marker: str, name: str, alias: list[str], required: bool) -> Argument:
    """Return an argument declared with FastAPI's `marker` (`Query`, `Form`, ...)."""
    default = None if required else (kind.default or "None")
    annotation = kind.annotation + (" | None" if default == "None" else "")
    settings = ", ".join([*(f"alias={literal(text)}" for text in alias), *kind.constraints])
    names = kind.names | {"Annotated", marker}
    return Argument(name, f"Annotated[{annotation}, {marker}({settings})]", default, names)


def argument_name(text: str, *, taken: set[str]) -> str:
    """Return a parameter name for `text`, unique among `taken`."""
    name = snake(text, fallback="value")
    return unique(f"{name}_" if keyword.iskeyword(name) else name, taken=taken)


def text_value(value: Any) -> str:
    """Return a value as it stands in a URL or a form."""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def parameter_values(parameter: Parameter, *, checker: SchemaChecker) -> list[str]:
    """Return what a test sends for a parameter: one text for each value of an array, else one text."""
    schema = checker.schema_at(parameter.schema) if parameter.schema else {"type": "string"}
    try:
        candidates, _ = example_candidates(schema, checker=checker, direction="request", documented=parameter.examples)
    except UncheckableSchemaError:
        candidates = []
    if parameter.location == "path":
        usable = [text for text in map(text_value, candidates) if text.strip("./") and "/" not in text]
        return usable[:1] or ["example"]
    if parameter.location in ("header", "cookie"):
        usable = [text for text in map(text_value, candidates) if text.isascii() and text.isprintable()]
        usable = [text for text in usable if text == text.strip() and not (set(text) & set(';,"\\ '))]
        return usable[:1] or ["example"]
    value = candidates[0] if candidates else "example"
    return [text_value(item) for item in sequence(value)] if isinstance(value, list) else [text_value(value)]
