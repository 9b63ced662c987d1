"""One operation of an OpenAPI document as its readers see it; what is malformed reads as not being there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from scaffolder.agents.documentation.references import as_list, as_text, follow
from scaffolder.agents.openapi.bodies import as_mapping
from scaffolder.agents.openapi.operation import METHODS

# The first that an operation takes is the one to show.
_BODIES: Final = ("application/json", "application/x-www-form-urlencoded", "text/plain")


@dataclass(frozen=True, kw_only=True)
class Content:
    """A body: its media type, and the object that OpenAPI has for it (``schema``, ``example``)."""

    media_type: str
    data: Mapping[str, Any]

    @property
    def schema(self) -> Any:
        """The schema; ``{}`` takes anything."""
        return self.data.get("schema", {})


@dataclass(frozen=True, kw_only=True)
class DescribedOperation:
    """The only operation of `document`, which is an `Endpoint.definition`."""

    document: Mapping[str, Any]

    @cached_property
    def data(self) -> Mapping[str, Any]:
        """The operation's own object."""
        return self._found[1]

    @cached_property
    def _found(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        for item in as_mapping(self.document.get("paths")).values():
            for method in METHODS:
                if operation := as_mapping(as_mapping(item).get(method)):
                    return as_mapping(item), operation
        return {}, {}

    @cached_property
    def parameters(self) -> list[Mapping[str, Any]]:
        """The parameters, references followed; the operation's own replace those of its path (by place and name)."""
        found: dict[tuple[str, str], Mapping[str, Any]] = {}
        for source in self._found:
            for value in as_list(source.get("parameters")):
                parameter = follow(self.document, value).value
                if isinstance(parameter.get("name"), str):
                    found[str(parameter.get("in")), parameter["name"]] = parameter
        return list(found.values())

    @cached_property
    def request_body(self) -> Mapping[str, Any]:
        """The request's body object, empty where it takes none."""
        return follow(self.document, self.data.get("requestBody")).value

    @cached_property
    def responses(self) -> Mapping[str, Mapping[str, Any]]:
        """The response objects by status (``200``, ``4XX``, ``default``)."""
        declared = as_mapping(self.data.get("responses"))
        return {str(status): follow(self.document, value).value for status, value in declared.items()}


def list_contents(body: Mapping[str, Any]) -> list[Content]:
    """Return the media types of a request body or response, the one to show first."""
    contents = as_mapping(body.get("content"))
    found = [Content(media_type=str(key), data=as_mapping(value)) for key, value in contents.items()]
    return sorted(found, key=lambda content: _rank(content.media_type))


def list_examples(holder: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the examples of a parameter or media type (OpenAPI's ``example`` and ``examples``)."""
    if "example" in holder:
        yield holder["example"]
    for one in as_mapping(holder.get("examples")).values():
        example = follow(document, one).value
        if "value" in example:
            yield example["value"]


def get_parameter_schema(parameter: Mapping[str, Any]) -> Any:
    """Return a parameter's schema, wherever OpenAPI lets it stand."""
    if "schema" in parameter:
        return parameter["schema"]
    return next((content.schema for content in list_contents(parameter)), {})


def is_required(parameter: Mapping[str, Any]) -> bool:
    """Say whether a request has to have `parameter`; those of the path always are (OpenAPI 3.1, section 4.8.12)."""
    return parameter.get("required") is True or parameter.get("in") == "path"


def is_idempotency_key(parameter: Mapping[str, Any]) -> bool:
    """Say whether `parameter` is the one that every call sends by itself."""
    return parameter.get("in") == "header" and as_text(parameter.get("name")).lower() == "idempotency-key"


def _rank(media_type: str) -> int:
    plain = media_type.partition(";")[0].strip().lower()
    if plain in _BODIES:
        return _BODIES.index(plain)
    return len(_BODIES) - 2 if plain.endswith("+json") else len(_BODIES)
