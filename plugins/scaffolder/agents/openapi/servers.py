"""Where a description says that its operations are: which of its servers is the connection's agent."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

from scaffolder.agents.connection import find_origin
from scaffolder.agents.http.failures import printable

_VARIABLE: Final = re.compile(r"\{([^{}]*)\}")
_MAX_VARIABLES: Final = 3
_SHOWN_CHARACTERS: Final = 200


def list_servers(holder: Mapping[str, Any]) -> list[str]:
    """Return the URLs of the servers of a description, path or operation, with their variables' defaults."""
    return [_fill(url, server) for url, server in _servers(holder)]


def find_prefix(holder: Mapping[str, Any], *, base_url: str, source: str) -> str | None:
    """Return what stands between `base_url` and an operation's path, by the first server that is the connection's.

    Servers without a host are relative to `source`, where the description was read, and below `base_url`. Returns the
    empty string where no servers are named, and None where all are somewhere else.
    """
    servers = list(_servers(holder))
    for url, server in servers:
        prefix = _fit(url, server, base_url=base_url, source=source)
        if prefix is not None:
            return prefix
    return None if servers else ""


def show_server(url: str) -> str:
    """Return scheme and host of a server fit for a message; the rest may be anything."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return "an address that is none"
    return printable(f"{parts.scheme}://{host}")[:_SHOWN_CHARACTERS]


def _servers(holder: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    servers = holder.get("servers")
    for server in servers if isinstance(servers, list) else ():
        if isinstance(server, Mapping) and isinstance(server.get("url"), str):
            yield server["url"].strip(), server


def _fit(url: str, server: Mapping[str, Any], *, base_url: str, source: str) -> str | None:
    filled = _fill(url, server)
    if url.startswith("//"):
        url = filled = f"{urlsplit(base_url).scheme}:{filled}"
    try:
        if "://" not in url and "://" not in filled:
            return _fit_relative(urlsplit(urljoin(source, filled)).path.rstrip("/"), base_url)
        origin = find_origin(base_url)
        if origin is None or (find_origin(filled) != origin and not _may_be(url, server, origin)):
            return None
        path = re.split("[?#]", filled.partition("://")[2].partition("/")[2])[0].strip("/")
        return _strip_base(f"/{path}" if path else "", base_url)
    except ValueError:
        return None


def _fit_relative(path: str, base_url: str) -> str:
    inside = _strip_base(path, base_url)
    # A gateway may have moved the whole agent below a path of its own.
    return path if inside is None else inside


def _strip_base(path: str, base_url: str) -> str | None:
    """Return what of `path` is below that of `base_url`, None where it isn't."""
    base = urlsplit(base_url).path
    return path[len(base) :] if path == base or path.startswith(f"{base}/") else None


def _may_be(url: str, server: Mapping[str, Any], origin: str) -> bool:
    """Say whether the variables of a server can be chosen so that it is at `origin`."""
    scheme, separator, rest = url.partition("://")
    host = f"{scheme}{separator}{rest.partition('/')[0]}".lower()
    names = _VARIABLE.findall(host)
    # Each variable may be tried at every place: more of them could take long.
    if not separator or not 0 < len(names) <= _MAX_VARIABLES:
        return False
    literals = _VARIABLE.split(host)[::2]
    pattern = re.escape(literals[0])
    for name, literal in zip(names, literals[1:], strict=True):
        pattern += _make_pattern(name, server) + re.escape(literal)
    return re.fullmatch(pattern, origin) is not None


def _make_pattern(name: str, server: Mapping[str, Any]) -> str:
    accepted = _variable(name, server).get("enum")
    if isinstance(accepted, list) and accepted:
        return f"(?:{'|'.join(re.escape(str(one).lower()) for one in accepted)})"
    return "[^/:]+"


def _fill(url: str, server: Mapping[str, Any]) -> str:
    return _VARIABLE.sub(lambda found: str(_variable(found[1], server).get("default", found[0])), url)


def _variable(name: str, server: Mapping[str, Any]) -> Mapping[str, Any]:
    variables = server.get("variables")
    found: Any = {}
    if isinstance(variables, Mapping):
        # Of a host only lower case is left.
        found = variables.get(name) or next((one for key, one in variables.items() if str(key).lower() == name), {})
    return found if isinstance(found, Mapping) else {}


def list_origins(urls: Sequence[str]) -> str:
    """Return the origins of servers for a message, each once."""
    return ", ".join(dict.fromkeys(show_server(url) for url in urls))
