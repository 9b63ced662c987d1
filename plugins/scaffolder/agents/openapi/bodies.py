"""Bodies of requests: which media type is sent, whether a value fits it, and its bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

from scaffolder.agents.openapi.parameters import Pairs, UnfitError, write_json, write_pairs
from scaffolder.agents.openapi.references import resolve
from scaffolder.agents.openapi.schemas import Anything, Purpose, find_flaws

FORM: Final = "application/x-www-form-urlencoded"
ACCEPTED: Final = "application/json, others that end in +json, application/x-www-form-urlencoded, text"


@dataclass(frozen=True, kw_only=True)
class RequestBody:
    """What an operation takes as its body; `media_type` is None where there is none that we can send."""

    required: bool
    media_type: str | None
    declared: tuple[str, ...]
    schema: Any
    encoding: Mapping[str, Any]

    def find_problems(self, document: Mapping[str, Any], body: Any, *, purpose: Purpose) -> list[str]:
        """Return what is wrong with `body`. Raises AgentConfigurationError where the schema cannot be used."""
        if body is None:
            return ["it needs a body"] if self.required else []
        if self.media_type is None:
            return [f"its body is one of {sorted(self.declared)}; accepted are {ACCEPTED}"]
        flaws = find_flaws(document, self.schema, body, purpose=purpose)
        problems = [flaw.describe("body") for flaw in flaws]
        if not problems and not isinstance(body, Anything) and purpose == "request":
            try:
                self.write(body)
            except UnfitError as error:
                problems.append(f"body {error}")
        return problems

    def write(self, body: Any) -> bytes:
        """Return the bytes that are sent. Raises UnfitError."""
        if is_json(self.media_type or ""):
            return write_json(body).encode()
        if self.media_type == FORM:
            return urlencode(self._write_form(body), quote_via=quote).encode()
        if not isinstance(body, str):
            raise UnfitError(f"is no text, which is what {self.media_type} takes")
        return body.encode()

    def _write_form(self, body: Any) -> Pairs:
        if not isinstance(body, Mapping):
            raise UnfitError("is no object, which is what forms are made of")
        pairs: Pairs = []
        for name, value in body.items():
            encoding = self.encoding.get(name, {})
            style = encoding.get("style")
            if style is None and _is_complex(value):
                # OpenAPI 3.0, section 4.7.15.1: the default content type of what is complex.
                pairs.append((str(name), write_json(value)))
            else:
                explode = encoding.get("explode", style in {None, "form"})
                pairs += write_pairs(str(name), value, style=style or "form", explode=explode is True)
        return pairs


def read_body(document: Mapping[str, Any], operation: Mapping[str, Any]) -> RequestBody | None:
    """Return what an operation takes as its body, None where it takes none.

    Raises AgentConfigurationError for a reference that cannot be followed.
    """
    if operation.get("requestBody") is None:
        return None
    declared = resolve(document, operation["requestBody"])
    contents = as_mapping(declared.get("content"))
    name = _choose(list(contents))
    content = resolve(document, contents[name]) if name else {}
    return RequestBody(
        required=declared.get("required") is True,
        media_type=_make_concrete(name) if name else None,
        declared=tuple(map(str, contents)),
        schema=content.get("schema", {}),
        encoding=as_mapping(content.get("encoding")),
    )


def find_json_schema(document: Mapping[str, Any], holder: Mapping[str, Any]) -> Any:
    """Return the schema of the JSON content of a response; None where it has no such content, or all fits."""
    for name, content in as_mapping(holder.get("content")).items():
        if is_json(_plain(str(name))) or _plain(str(name)) in {"*/*", "application/*"}:
            return resolve(document, content).get("schema")
    return None


def as_mapping(value: Any) -> Mapping[str, Any]:
    """Return `value` if it is a mapping, otherwise an empty one."""
    return value if isinstance(value, Mapping) else {}


def is_json(media_type: str) -> bool:
    """Say whether `media_type`, with parameters or without, is JSON."""
    plain = _plain(media_type)
    return plain == "application/json" or plain.endswith("+json")


def _choose(names: list[str]) -> str | None:
    """Return the media type to send: what says most of plain data comes first."""
    for accepts in (
        lambda plain: plain == "application/json",
        lambda plain: plain.endswith("+json"),
        lambda plain: plain in {"*/*", "application/*"},
        lambda plain: plain == FORM,
        lambda plain: plain == "text/plain",
        lambda plain: plain.startswith("text/"),
    ):
        for name in names:
            if accepts(_plain(name)):
                return name
    return None


def _make_concrete(name: str) -> str:
    plain = _plain(name)
    if plain in {"*/*", "application/*"}:
        return "application/json"
    return "text/plain" if plain == "text/*" else plain


def _plain(media_type: str) -> str:
    return media_type.partition(";")[0].strip().lower()


def _is_complex(value: Any) -> bool:
    items = value if isinstance(value, list) else [value]
    return any(isinstance(item, list | Mapping) for item in items)
