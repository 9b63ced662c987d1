"""Lists the operations of a document: what each takes and what it answers when all goes well."""

import re
from dataclasses import dataclass
from typing import Any, Literal

from demo_agent import pointers
from demo_agent.document import METHODS, Document, mapping, sequence
from demo_agent.naming import unique, words_of

ContentKind = Literal["json", "form", "multipart", "text", "binary"]
Location = Literal["path", "query", "header", "cookie"]

_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]*/[a-z0-9][a-z0-9!#$&^_.+-]*")
_TEXT = re.compile(r"text/.*|.*[/+](xml|yaml|x-yaml|javascript|x-javascript|graphql|jwt|sql|x-pem-file)")
_STATUS = re.compile(r"[1-5]([0-9]{2}|XX)")
_IGNORED_HEADERS = ("accept", "content-type", "authorization")  # OpenAPI says that these are not parameters


@dataclass(frozen=True)
class Content:
    """One media type of a body: `schema` is a pointer, `examples` are the values the document gives."""

    media_type: str
    kind: ContentKind
    schema: str | None
    examples: tuple[Any, ...]


@dataclass(frozen=True)
class Parameter:
    """One parameter; `schema` is a pointer."""

    name: str
    location: Location
    required: bool
    schema: str | None
    description: str
    examples: tuple[Any, ...]


@dataclass(frozen=True)
class Operation:
    """One method of one path. `id` is unique in the document."""

    id: str
    method: str
    path: str
    tag: str
    summary: str
    deprecated: bool
    parameters: tuple[Parameter, ...]
    body: Content | None
    body_required: bool
    status: int
    response: Content | None


def list_operations(document: Document) -> list[Operation]:
    """List the operations in the document's order; what has to be left out is added to `document.warnings`."""
    found: list[Operation] = []
    identifiers: set[str] = set()
    for path in mapping(document.data.get("paths")):
        if path.startswith("x-"):
            continue
        if not path.startswith("/"):
            document.warnings.append(f"the path {path[:200]!r} does not start with '/': it is left out")
            continue
        pointer, item = document.follow(pointers.append("#/paths", path))
        for method in METHODS:
            if isinstance(mapping(item).get(method), dict):
                reader = _OperationReader(document, path, method, pointer)
                found.append(reader.read(identifiers))
    return found


class _OperationReader:
    def __init__(self, document: Document, path: str, method: str, item_pointer: str) -> None:
        self.document = document
        self.path = path
        self.method = method
        self.item_pointer = item_pointer
        self.pointer = pointers.append(item_pointer, method)
        self.data: dict[str, Any] = pointers.resolve(document.data, pointer=self.pointer)

    def read(self, identifiers: set[str]) -> Operation:
        status, response = self._response()
        body, body_required = self._body()
        return Operation(
            id=self._identifier(identifiers),
            method=self.method,
            path=self.path,
            tag=next((tag for tag in sequence(self.data.get("tags")) if isinstance(tag, str)), "default"),
            summary=str(self.data.get("summary") or self.data.get("description") or ""),
            deprecated=self.data.get("deprecated") is True,
            parameters=tuple(self._parameters()),
            body=body,
            body_required=body_required,
            status=status,
            response=response,
        )

    def _identifier(self, identifiers: set[str]) -> str:
        given = self.data.get("operationId")
        if not isinstance(given, str) or not given.strip() or len(given) > 200:
            words = words_of(self.path.replace("{", " by "))
            given = "_".join([self.method, *words])[:200]
        elif given in identifiers:
            self.document.warnings.append(f"the operationId {given!r} is used twice: the second one got a number")
        return unique(given, taken=identifiers)

    def _parameters(self) -> list[Parameter]:
        found: dict[tuple[str, str], Parameter] = {}
        for owner, data in ((self.item_pointer, None), (self.pointer, self.data)):
            values = data if data is not None else pointers.resolve(self.document.data, pointer=owner)
            for index, _ in enumerate(sequence(mapping(values).get("parameters"))):
                pointer, value = self.document.follow(pointers.append(owner, "parameters", str(index)))
                if (parameter := self._parameter(mapping(value), pointer)) is not None:
                    found[parameter.name, parameter.location] = parameter
        return list(found.values())

    def _parameter(self, value: dict[str, Any], pointer: str) -> Parameter | None:
        name, location = value.get("name"), value.get("in")
        if not isinstance(name, str) or not name or location not in ("path", "query", "header", "cookie"):
            return None
        if location == "header" and name.lower() in _IGNORED_HEADERS:
            return None
        schema = pointers.append(pointer, "schema") if "schema" in value else None
        return Parameter(
            name=name,
            location=location,
            required=location == "path" or value.get("required") is True,
            schema=schema,
            description=str(value.get("description") or ""),
            examples=self._examples(value, pointer),
        )

    def _body(self) -> tuple[Content | None, bool]:
        if "requestBody" not in self.data or self.method in ("head", "trace"):
            return None, False
        pointer, value = self.document.follow(pointers.append(self.pointer, "requestBody"))
        return self._content(mapping(value), pointer), mapping(value).get("required") is True

    def _response(self) -> tuple[int, Content | None]:
        responses = mapping(self.data.get("responses"))
        codes = [code.upper() for code in responses if _STATUS.fullmatch(code.upper())]
        chosen = next((code for code in codes if code[0] == "2"), None)
        if chosen is None and "default" in responses:
            chosen = "default"
        if chosen is None:
            chosen = next((code for code in codes if code[0] == "3"), None)
        if chosen is None:
            return 204, None
        status = 200 if chosen == "default" else int(chosen.replace("X", "0"))
        if status in (204, 205, 304) or self.method == "head":
            return status, None
        key = next(code for code in responses if code.upper() == chosen.upper())
        pointer, value = self.document.follow(pointers.append(self.pointer, "responses", key))
        return status, self._content(mapping(value), pointer)

    def _content(self, owner: dict[str, Any], pointer: str) -> Content | None:
        content = mapping(owner.get("content"))
        if not content:
            return None
        key = min(content, key=_preference)
        pointer, value = self.document.follow(pointers.append(pointer, "content", key))
        value = mapping(value)
        schema = pointers.append(pointer, "schema") if "schema" in value else None
        media_type = _concrete(key, is_text=self._is_string(schema))
        return Content(media_type, _kind_of(media_type), schema, self._examples(value, pointer))

    def _is_string(self, schema: str | None) -> bool:
        return schema is not None and mapping(self.document.follow(schema)[1]).get("type") == "string"

    def _examples(self, owner: dict[str, Any], pointer: str) -> tuple[Any, ...]:
        values = [owner["example"]] if "example" in owner else []
        for name in mapping(owner.get("examples")):
            example = mapping(self.document.follow(pointers.append(pointer, "examples", name))[1])
            if "value" in example:
                values.append(example["value"])
        return tuple(values)


def _essence(media_type: str) -> str:
    return media_type.partition(";")[0].strip().lower()


def _preference(media_type: str) -> int:
    """Order the media types of one body: JSON first, then what can be typed, then the rest as listed."""
    essence = _essence(media_type)
    ranks = {"application/json": 0, "application/x-www-form-urlencoded": 3, "multipart/form-data": 4}
    if essence in ranks:
        return ranks[essence]
    if essence.endswith("+json"):
        return 1
    return 2 if "*" in essence else 5


def _concrete(media_type: str, *, is_text: bool) -> str:
    essence = _essence(media_type)
    if essence in ("*/*", "application/*", "*"):
        return "application/octet-stream" if is_text else "application/json"
    concrete = {
        "text/*": "text/plain",
        "image/*": "image/png",
        "audio/*": "audio/mpeg",
        "video/*": "video/mp4",
    }
    essence = concrete.get(essence, essence)
    return essence if _MEDIA_TYPE.fullmatch(essence) else "application/octet-stream"


def _kind_of(media_type: str) -> ContentKind:
    if media_type == "application/json" or media_type.endswith("+json"):
        return "json"
    if media_type == "application/x-www-form-urlencoded":
        return "form"
    if media_type == "multipart/form-data":
        return "multipart"
    return "text" if _TEXT.fullmatch(media_type) else "binary"
