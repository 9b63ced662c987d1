"""Reads OpenAPI documents (3.0, 3.1, 3.2): what they say of themselves, and their operations as definitions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from scaffolder.agents.http.failures import printable
from scaffolder.agents.openapi.operation import METHODS
from scaffolder.agents.openapi.references import resolve
from scaffolder.agents.openapi.servers import find_prefix, list_origins, list_servers
from scaffolder.agents.openapi.slices import Operation, Slicer
from scaffolder.errors import AgentAnswerError, AgentConfigurationError, LimitExceededError
from scaffolder.records.endpoints import Offer, OfferedEndpoint

MAX_OPERATIONS: Final = 20_000
_MAX_WARNINGS: Final = 100
_LINE_CHARACTERS: Final = 300
_DESCRIPTION_CHARACTERS: Final = 20_000
_ID_CHARACTERS: Final = 250
_DIGEST_CHARACTERS: Final = 16


def is_openapi(document: Any) -> bool:
    """Say whether parsed data is an OpenAPI document, of whichever version."""
    return isinstance(document, Mapping) and ("openapi" in document or "swagger" in document)


def read_offer(document: Any, *, content: bytes, source: str, base_url: str | None, etag: str | None = None) -> Offer:
    """Return what the OpenAPI document `document`, parsed from `content`, offers.

    `base_url` is the connection's: its servers have to be of that origin. Without, nobody calls what is found.
    Raises AgentConfigurationError for other versions and for servers elsewhere, AgentAnswerError for a document that
    is nested too deep or takes all memory, LimitExceededError.
    """
    try:
        return _Reader(document, source=source, base_url=base_url).read(content, etag)
    except (RecursionError, MemoryError) as error:
        raise AgentAnswerError(
            f"the description {printable(source)!r} is nested too deep or too large to be read"
        ) from error


class _Reader:
    """One document while it is read."""

    def __init__(self, document: Any, *, source: str, base_url: str | None) -> None:
        self._source = source
        self._base_url = base_url
        self._warnings: list[str] = []
        self._document = self._check(document)

    def read(self, content: bytes, etag: str | None) -> Offer:
        info = self._document.get("info")
        info = info if isinstance(info, Mapping) else {}
        operations = list(self._list_operations())
        slicer = Slicer(self._document)
        definitions = slicer.cut(operations)
        warnings = [*self._warnings, *slicer.warnings]
        return Offer(
            kind="openapi",
            source=self._source,
            title=_line(info.get("title")),
            version=_line(info.get("version")),
            description=_text(info.get("description"))[:_DESCRIPTION_CHARACTERS],
            etag=etag,
            digest=hashlib.sha256(content).hexdigest(),
            warnings=_cut(warnings),
            servers=tuple(_line(url) for url in list_servers(self._document)),
            endpoints=tuple(
                OfferedEndpoint(
                    operation_id=operation.id,
                    method=operation.method.upper(),
                    path=operation.path,
                    summary=_summarize(operation.data),
                    definition=definitions[operation.id].data,
                    digest=definitions[operation.id].digest,
                )
                for operation in operations
                if operation.id in definitions
            ),
        )

    def _check(self, document: Any) -> Mapping[str, Any]:
        if isinstance(document, Mapping) and "swagger" in document:
            raise self._error(
                f"is Swagger {_line(document['swagger'])}; accepted is OpenAPI 3, to which converters bring it"
            )
        version = str(document.get("openapi", "")) if isinstance(document, Mapping) else ""
        if not isinstance(document, Mapping) or not version.startswith("3."):
            found = f"OpenAPI {_line(version)}" if version else "no OpenAPI document"
            raise self._error(f"is {found}; accepted is OpenAPI 3")
        return document

    def _list_operations(self) -> Iterator[Operation]:
        seen: set[str] = set()
        prefix = self._find_prefix(self._document, default="")
        if prefix is None:
            raise self._error(
                f"names a server at {list_origins(list_servers(self._document))}; accepted is the connection's own "
                f"{self._base_url}"
            )
        paths = self._document.get("paths")
        for path, value in paths.items() if isinstance(paths, Mapping) else ():
            item = self._resolve_item(str(path), value)
            for method in METHODS:
                if not isinstance(data := item.get(method), Mapping):
                    continue
                if len(seen) == MAX_OPERATIONS:
                    raise LimitExceededError(f"{self._source!r} has more than {MAX_OPERATIONS} operations")
                operation_id = self._name(data, f"{method.upper()} {path}", seen)
                yield Operation(
                    id=operation_id,
                    method=method,
                    path=str(path),
                    prefix=self._place(operation_id, data, item, default=prefix),
                    item=item,
                    data=data,
                )

    def _resolve_item(self, path: str, value: Any) -> Mapping[str, Any]:
        try:
            item = resolve(self._document, value)
        except AgentConfigurationError as error:
            self._warnings.append(f"path {_line(path)!r} is left out: {error}")
            return {}
        beside = {key: one for key, one in value.items() if key != "$ref"} if item is not value else {}
        return {**item, **beside}

    def _name(self, data: Mapping[str, Any], otherwise: str, seen: set[str]) -> str:
        """Return the operation's id, or method and path where that cannot be used."""
        given = data.get("operationId")
        usable = isinstance(given, str) and given.strip() and given.isprintable() and len(given) <= _ID_CHARACTERS
        if given is not None and (not usable or given in seen):
            reason = "there twice" if usable else f"not printable text of up to {_ID_CHARACTERS} characters"
            self._warnings.append(f"operationId {_line(given)!r} is {reason}; {_line(otherwise)!r} takes its place")
        name = str(given) if usable and given not in seen else self._make_name(otherwise, seen)
        seen.add(name)
        return name

    def _make_name(self, place: str, seen: set[str]) -> str:
        """Return method and path as a name, with a digest where it is too long or not the only one."""
        name, digest = printable(place), place
        while len(name) > _ID_CHARACTERS or name in seen:
            digest = hashlib.sha256(digest.encode(errors="surrogatepass")).hexdigest()[:_DIGEST_CHARACTERS]
            name = f"{printable(place)[: _ID_CHARACTERS - _DIGEST_CHARACTERS - 1]} {digest}"
        if name != printable(place):
            self._warnings.append(f"operation {_line(place)!r} is named {name!r}: its own name is too long or taken")
        return name

    def _place(self, operation_id: str, data: Mapping[str, Any], item: Mapping[str, Any], *, default: str) -> str:
        """Return the path of the operation's own servers, or the URL of the first where all are elsewhere."""
        holder = next((one for one in (data, item) if list_servers(one)), None)
        if holder is None:
            return default
        prefix = self._find_prefix(holder, default=default)
        if prefix is not None:
            return prefix
        elsewhere = list_origins(list_servers(holder))
        self._warnings.append(f"operation {operation_id!r} cannot be called: its server is {elsewhere}")
        return list_servers(holder)[0]

    def _find_prefix(self, holder: Mapping[str, Any], *, default: str) -> str | None:
        if self._base_url is None:
            return default
        return find_prefix(holder, base_url=self._base_url, source=self._source)

    def _error(self, problem: str) -> AgentConfigurationError:
        return AgentConfigurationError(f"the description {printable(self._source)!r} {problem}")


def _summarize(data: Mapping[str, Any]) -> str:
    return _line(data.get("summary") or _text(data.get("description")).strip().partition("\n")[0])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _line(value: Any) -> str:
    return printable("" if value is None else str(value)[: 2 * _LINE_CHARACTERS])[:_LINE_CHARACTERS]


def _cut(warnings: list[str]) -> tuple[str, ...]:
    more = len(warnings) - _MAX_WARNINGS
    return (*warnings[:_MAX_WARNINGS], f"and {more} more") if more > 0 else tuple(warnings)
