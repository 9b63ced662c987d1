"""An accepted OpenAPI document: its version is known, every reference in it is local and leads somewhere.

Normalising keeps the document's meaning: patterns Python cannot compile are set aside, and discriminators name their
schemas by pointer. What the document's operations are is left to `operations`.
"""

import re
import warnings
from dataclasses import dataclass, field
from typing import Any, Literal

from demo_agent import pointers
from demo_agent.errors import DocumentRefusedError
from demo_agent.parsing import ACCEPTED, parse

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")

# Below these keys the keys are names chosen by the author, not keywords.
_NAMES = frozenset(
    [
        "properties",
        "patternProperties",
        "$defs",
        "definitions",
        "dependentSchemas",
        "schemas",
        "responses",
        "headers",
        "links",
        "callbacks",
        "requestBodies",
        "securitySchemes",
        "pathItems",
        "paths",
        "content",
        "encoding",
        "variables",
        "webhooks",
    ]
)
# Below these keys is data, in which `$ref` and `pattern` mean nothing.
_DATA = frozenset(("example", "default", "enum", "const", "value"))

_PATH_ITEM = re.compile("#/paths/[^/]*")
# What a parameter, header or request body has; there `required` is a boolean, in a schema it is a list.
_MARKED_REQUIRED = frozenset(("in", "content", "schema"))

# What the values of keywords must be for anything to be done with them.
_SHAPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("format", "pattern", "$ref"), (str,)),
    **dict.fromkeys(("enum", "allOf", "anyOf", "oneOf", "prefixItems"), (list,)),
    **dict.fromkeys(("properties", "patternProperties", "discriminator"), (dict,)),
    **dict.fromkeys(("items", "additionalProperties", "not", "propertyNames"), (dict, bool)),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), (int, float)),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), (int, float)),
    **dict.fromkeys(("nullable", "uniqueItems", "readOnly", "writeOnly", "deprecated"), (bool,)),
    "type": (str, list),
    "required": (list, bool),
}
_SCHEMA_LISTS = ("allOf", "anyOf", "oneOf", "prefixItems")


@dataclass
class Document:
    """A normalised document; `data` is plain JSON data in which every `$ref` is a local pointer that resolves."""

    data: dict[str, Any]
    version: Literal["3.0", "3.1"]
    warnings: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """The API's title, or a stand-in where it has none."""
        return str(mapping(self.data.get("info")).get("title") or "API")

    @property
    def api_version(self) -> str:
        """The version of the API, which is not OpenAPI's."""
        return str(mapping(self.data.get("info")).get("version") or "0.1.0")

    def follow(self, pointer: str) -> tuple[str, Any]:
        """Return where the chain of references that starts at `pointer` ends, and the value there."""
        value = pointers.resolve(self.data, pointer=pointer)
        while isinstance(value, dict) and isinstance(value.get("$ref"), str):
            pointer = value["$ref"]
            value = pointers.resolve(self.data, pointer=pointer)
        return pointer, value


def mapping(value: Any) -> dict[str, Any]:
    """Return `value` where it is an object, else an empty one: documents from the wild have the wrong kind anywhere."""
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> list[Any]:
    """Return `value` where it is an array, else an empty one."""
    return value if isinstance(value, list) else []


def read_document(text: str) -> Document:
    """Parse, check and normalise an OpenAPI document.

    Raises:
        DocumentRefusedError: the document is none this service accepts; the message says why, where and what is.
    """
    data = parse(text)
    version = _version_of(data)
    normaliser = _Normaliser(data, version)
    document = Document(normaliser.normalised(), version, normaliser.warnings)
    information = mapping(document.data.get("info"))
    document.data["info"] = information | {"title": document.title, "version": document.api_version}
    _refuse_without_operations(document)
    return document


def _version_of(data: Any) -> Literal["3.0", "3.1"]:
    if not isinstance(data, dict):
        raise DocumentRefusedError(f"the document is no object but {_kind(data)}; {ACCEPTED}")
    if "swagger" in data and "openapi" not in data:
        raise DocumentRefusedError(
            f"the document is Swagger {str(data['swagger'])[:20]!r}, not OpenAPI 3: convert it first; {ACCEPTED}"
        )
    if "openapi" not in data:
        raise DocumentRefusedError(f"the document has no key 'openapi' at its top; {ACCEPTED}")
    match = re.fullmatch(r"(3\.[01])(\.[0-9]+)?([-.][0-9A-Za-z.-]+)?", str(data["openapi"]).strip())
    if match is None:
        raise DocumentRefusedError(f"the document's 'openapi' is {str(data['openapi'])[:40]!r}; {ACCEPTED}")
    return "3.0" if match[1] == "3.0" else "3.1"


def _kind(value: Any) -> str:
    return {list: "an array", str: "text", type(None): "null"}.get(type(value), "a number or boolean")


def _refuse_without_operations(document: Document) -> None:
    paths = document.data.get("paths")
    if paths is not None and not isinstance(paths, dict):
        raise DocumentRefusedError(f"'paths' is no object but {_kind(paths)}; {ACCEPTED}")
    for path in mapping(paths):
        item = mapping(document.follow(pointers.append("#/paths", path))[1])
        if path.startswith("/") and any(isinstance(item.get(method), dict) for method in METHODS):
            return
    raise DocumentRefusedError(
        "the document has no operations: accepted is one with at least one method below a path that starts with '/'"
    )


class _Normaliser:
    """Copies a document, checking references on the way."""

    def __init__(self, data: dict[str, Any], version: str) -> None:
        self.source = data
        self.version = version
        self.warnings: list[str] = []

    def normalised(self) -> dict[str, Any]:
        result: dict[str, Any] = self._object(self.source, "#")
        return result

    def _copy(self, value: Any, pointer: str, key: str) -> Any:
        if key in _DATA or key.startswith("x-"):
            return value
        if isinstance(value, list):
            if key == "examples":
                return value
            return [self._copy(item, f"{pointer}/{index}", "") for index, item in enumerate(value)]
        if not isinstance(value, dict):
            return value
        named = key in _NAMES or (key in ("examples", "parameters"))
        return self._names(value, pointer) if named else self._object(value, pointer)

    def _names(self, value: dict[str, Any], pointer: str) -> dict[str, Any]:
        if isinstance(value.get("$ref"), str):
            return self._object(value, pointer)
        return {name: self._copy(item, pointers.append(pointer, name), "") for name, item in value.items()}

    def _object(self, value: dict[str, Any], pointer: str) -> dict[str, Any]:
        if self.version == "3.0" and isinstance(value.get("$ref"), str) and not _PATH_ITEM.fullmatch(pointer):
            return {"$ref": self._reference(value["$ref"], pointer)}  # 3.0 ignores what stands beside a $ref
        result = {}
        for key, item in value.items():
            if key == "$ref" and isinstance(item, str):
                result[key] = self._reference(item, pointer)
            elif key == "pattern" and isinstance(item, str) and not _compiles(item):
                self._warn_pattern(item, pointer)
                result["x-pattern"] = item
            elif key == "patternProperties" and not all(map(_compiles, mapping(item))):
                self._warn_pattern("patternProperties", pointer)
                result["x-patternProperties"] = item
            elif key == "required" and isinstance(item, bool) and not _MARKED_REQUIRED & value.keys():
                self.warnings.append(f"'required' at {pointer} is {item}, not a list of names: it is left out")
            elif key in _SHAPES and not _has_shape(item, key):
                self.warnings.append(
                    f"{key!r} at {pointer} is {_kind(item)}, which means nothing there: it is left out"
                )
            else:
                result[key] = self._copy(item, pointers.append(pointer, key), key)
        if isinstance(value.get("discriminator"), dict):
            self._discriminator(result)
        return result

    def _warn_pattern(self, pattern: str, pointer: str) -> None:
        self.warnings.append(f"{pattern[:80]!r} at {pointer} is no pattern Python understands: it is not checked")

    def _reference(self, reference: str, pointer: str) -> str:
        if not reference.startswith("#"):
            raise DocumentRefusedError(
                f"the $ref {reference[:200]!r} at {pointer} points outside the document and is not fetched: "
                "accepted are references that start with '#/'; bundle the document first"
            )
        seen = {reference}
        target: Any = {"$ref": reference}
        while isinstance(target, dict) and isinstance(following := target.get("$ref"), str):
            try:
                target = pointers.resolve(self.source, pointer=following)
            except pointers.PointerError as exc:
                raise DocumentRefusedError(
                    f"the $ref {following[:200]!r} at {pointer} leads nowhere: "
                    "accepted are references '#/...' to something in the document"
                ) from exc
            following = target.get("$ref") if isinstance(target, dict) else None
            if isinstance(following, str) and following in seen:
                raise DocumentRefusedError(f"the $ref {reference[:200]!r} at {pointer} leads back to itself")
            seen.add(str(following))
        return pointers.canonical(reference)

    def _discriminator(self, schema: dict[str, Any]) -> None:
        discriminator = schema["discriminator"] = dict(schema["discriminator"])
        named = mapping(mapping(self.source.get("components")).get("schemas"))
        targets = {
            str(value): self._mapped(str(target), named)
            for value, target in mapping(discriminator.get("mapping")).items()
        }
        targets = {value: target for value, target in targets.items() if target}
        for branch in sequence(schema.get("oneOf")) + sequence(schema.get("anyOf")):
            reference = mapping(branch).get("$ref")
            if isinstance(reference, str) and reference not in targets.values():
                targets.setdefault(pointers.parts_of(reference)[-1], reference)
        if targets:
            discriminator["mapping"] = targets
        else:
            discriminator.pop("mapping", None)

    def _mapped(self, target: str, named: dict[str, Any]) -> str:
        if target in named:
            return pointers.append("#/components/schemas", target)
        try:
            pointers.resolve(self.source, pointer=target)
        except pointers.PointerError:
            self.warnings.append(f"a discriminator maps to {target[:200]!r}, which is nowhere: it is left out")
            return ""
        return pointers.canonical(target)


def _has_shape(value: Any, key: str) -> bool:
    if not isinstance(value, _SHAPES[key]):
        return False
    if isinstance(value, bool):
        return bool in _SHAPES[key] or key in ("exclusiveMinimum", "exclusiveMaximum")
    if not isinstance(value, list) or key == "enum":
        return True
    if key in _SCHEMA_LISTS:
        return bool(value) and all(isinstance(branch, (dict, bool)) for branch in value)
    return all(isinstance(item, str) for item in value)


def _compiles(pattern: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(pattern)
    except (re.error, RecursionError, OverflowError):
        return False
    return True
