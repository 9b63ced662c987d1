"""Prepares the schemas of a document for datamodel-code-generator and says which Python type means which schema.

The generator sees only JSON Schema keywords, under class names chosen here; extensions that could reach into its
output (`x-*`, `customTypePath`) never arrive. Schemas it could not name (inline, or referred to by a pointer into
another one) become components of their own.
"""

import json
from collections.abc import Iterable
from typing import Any, Literal

from demo_agent import pointers
from demo_agent.document import Document, mapping, sequence
from demo_agent.naming import pascal, unique
from demo_agent.patterns import is_rust_pattern

Level = Literal["full", "plain"]

_KEYWORDS = frozenset(
    [
        "type",
        "format",
        "enum",
        "const",
        "nullable",
        "required",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "uniqueItems",
        "readOnly",
        "writeOnly",
        "deprecated",
    ]
)
_IN_FULL = frozenset(("description", "pattern", "default", "discriminator"))
_ONE = ("items", "additionalProperties", "not")
_SEVERAL = ("allOf", "anyOf", "oneOf", "prefixItems")
_SCALARS = {"string": "str", "integer": "int", "number": "float", "boolean": "bool"}
# Names that models.py imports or that would hide something it uses.
_TAKEN = frozenset(
    [
        "Any",
        "AnyUrl",
        "Annotated",
        "AwareDatetime",
        "Base64Str",
        "BaseModel",
        "ConfigDict",
        "Decimal",
        "EmailStr",
        "Enum",
        "Field",
        "IPv4Address",
        "IPv6Address",
        "IPv4Network",
        "IPv6Network",
        "Literal",
        "Mapping",
        "None",
        "Optional",
        "RootModel",
        "Sequence",
        "TypeAlias",
        "TypeAliasType",
        "True",
        "False",
        "UUID",
        "Union",
        "StrEnum",
        "IntEnum",
        "Model",
        "PastDate",
        "FutureDate",
        "NaiveDatetime",
        "Path",
        "SecretStr",
        "Json",
        "Discriminator",
        "Tag",
        "ByteSize",
        "Callable",
        "ClassVar",
        "Final",
        "Self",
        "Set",
        "List",
        "Dict",
        "Tuple",
        "Type",
        "Date",
        "Datetime",
        "Time",
        "Timedelta",
    ]
)
_DEEPEST = 40


class ModelInput:
    """Collects schemas under class names; `spec` is what the generator gets."""

    def __init__(self, document: Document, *, level: Level) -> None:
        self.document = document
        self.level = level
        self.names: dict[str, str] = {}
        self.schemas: dict[str, Any] = {}
        self._taken = set(_TAKEN)
        self._waiting: list[str] = []
        for name in mapping(mapping(document.data.get("components")).get("schemas")):
            self._class_name(pointers.append("#/components/schemas", name), hint=name)
        self._work()

    def annotation(self, pointer: str, *, hint: str) -> str:
        """Return the type for the schema at `pointer`; classes appear in it as `models.Name`."""
        result = self._annotation(pointer, hint=hint, depth=0)
        self._work()
        return result

    def spec(self) -> dict[str, Any]:
        """Return an OpenAPI document that has nothing but the collected schemas."""
        version = "3.0.3" if self.document.version == "3.0" else "3.1.0"
        return {
            "openapi": version,
            "info": {"title": "Models", "version": "1"},
            "paths": {},
            "components": {"schemas": self.schemas},
        }

    def set_aside(self, names: Iterable[str]) -> None:
        """Let these classes stand for anything: the generator gets no more of their schemas than their names."""
        for name in names:
            self.schemas[name] = {}

    def _annotation(self, pointer: str, *, hint: str, depth: int) -> str:
        schema = pointers.resolve(self.document.data, pointer=pointer)
        if not isinstance(schema, dict) or not schema:
            return "Any"
        if isinstance(schema.get("$ref"), str):
            return f"models.{self._class_name(schema['$ref'], hint=hint)}"
        keys = schema.keys() & (_KEYWORDS | {*_ONE, *_SEVERAL, "pattern", "properties", "$defs"})
        null = " | None" if schema.get("nullable") is True else ""
        keys -= {"nullable", "readOnly", "writeOnly", "deprecated"}
        kind = schema.get("type")
        if keys == {"type"} and kind in _SCALARS:
            return _SCALARS[str(kind)] + null
        if keys == {"type", "items"} and kind == "array" and depth < 3:
            below = pointers.append(pointer, "items")
            return f"list[{self._annotation(below, hint=hint + 'Item', depth=depth + 1)}]{null}"
        return f"models.{self._class_name(pointer, hint=hint)}"

    def _class_name(self, pointer: str, *, hint: str) -> str:
        if pointer not in self.names:
            self.names[pointer] = unique(pascal(hint, fallback="Schema"), taken=self._taken)
            self._waiting.append(pointer)
        return self.names[pointer]

    def _work(self) -> None:
        while self._waiting:
            pointer = self._waiting.pop()
            schema = pointers.resolve(self.document.data, pointer=pointer)
            self.schemas[self.names[pointer]] = self._clean(schema, depth=0)

    def _clean(self, schema: Any, *, depth: int, branch: bool = False) -> Any:
        if isinstance(schema, bool):
            return schema
        if not isinstance(schema, dict) or depth > _DEEPEST:
            return {}
        if isinstance(reference := schema.get("$ref"), str):
            name = self._class_name(reference, hint=pointers.parts_of(reference)[-1])
            return {"$ref": f"#/components/schemas/{name}"}
        result = {key: schema[key] for key in schema if key in _KEYWORDS}
        if isinstance(schema.get("enum"), list):
            result["enum"] = list({json.dumps(member): member for member in schema["enum"]}.values())
        if self.level == "full":
            result |= self._full(schema)
        for key in _ONE:
            if key in schema and (key != "not" or self.level == "full"):
                result[key] = self._clean(schema[key], depth=depth + 1)
        for key in _SEVERAL:
            if branches := sequence(schema.get(key)):
                result[key] = [self._clean(below, depth=depth + 1, branch=True) for below in branches]
                branch = True
        self._properties(schema, result, depth, branch=branch)
        return result

    def _properties(self, schema: dict[str, Any], result: dict[str, Any], depth: int, *, branch: bool) -> None:
        properties = mapping(schema.get("properties"))
        if properties and not branch:
            # A name that is required and declared nowhere can have any value; a branch's may be declared elsewhere.
            undeclared = (name for name in sequence(schema.get("required")) if isinstance(name, str))
            properties = properties | {name: {} for name in undeclared if name not in properties}
        if properties:
            result["properties"] = {name: self._clean(below, depth=depth + 1) for name, below in properties.items()}
        if "required" in result:
            # One class serves requests and responses, so what only one of them has is optional.
            result["required"] = [
                name
                for name in dict.fromkeys(sequence(schema["required"]))
                if isinstance(name, str) and not _one_way(self.document, properties.get(name))
            ]

    def _full(self, schema: dict[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        if isinstance(schema.get("description"), str):
            result["description"] = "".join(c if c.isprintable() or c == "\n" else " " for c in schema["description"])
        if isinstance(schema.get("pattern"), str) and is_rust_pattern(schema["pattern"]):
            result["pattern"] = schema["pattern"]
        if "default" in schema and _plain_default(schema):
            result["default"] = schema["default"]
        discriminator = schema.get("discriminator")
        if isinstance(discriminator, dict) and isinstance(discriminator.get("propertyName"), str):
            targets = {
                value: f"#/components/schemas/{self._class_name(target, hint=pointers.parts_of(target)[-1])}"
                for value, target in mapping(discriminator.get("mapping")).items()
            }
            result["discriminator"] = {"propertyName": discriminator["propertyName"], "mapping": targets}
        return result


def _one_way(document: Document, schema: Any) -> bool:
    if not isinstance(schema, dict):
        return False
    if isinstance(schema.get("$ref"), str):
        schema = mapping(document.follow(schema["$ref"])[1])
    return schema.get("readOnly") is True or schema.get("writeOnly") is True


def _plain_default(schema: dict[str, Any]) -> bool:
    """Say whether the default is a scalar of the schema's own type: others need not be defaults at all."""
    default, kind = schema["default"], schema.get("type")
    if isinstance(kind, list):
        kind = next((name for name in kind if name != "null"), None) if len(kind) < 3 else None
    if isinstance(schema.get("enum"), list) and default not in schema["enum"]:
        return False
    kinds: dict[Any, tuple[type, ...]] = {
        "string": (str,),
        "integer": (int,),
        "number": (int, float),
        "boolean": (bool,),
    }
    if kind not in kinds or schema.get("format") not in (None, "int32", "int64", "float", "double"):
        return False
    return isinstance(default, kinds[kind]) and isinstance(default, bool) is (kind == "boolean")
