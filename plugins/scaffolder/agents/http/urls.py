"""URLs with a credential in their query: put in, taken out, and shown without."""

from __future__ import annotations

from urllib.parse import quote, unquote, urlencode, urlsplit, urlunsplit

from scaffolder.agents.http.failures import clean


def set_parameter(url: str, name: str, value: str) -> str:
    """Return `url` with the query parameter `name` once, as `value`; the others stay letter for letter."""
    parts = urlsplit(url)
    own = urlencode([(name, value)], quote_via=quote)
    return urlunsplit(parts._replace(query="&".join(filter(None, (_without(parts.query, name), own)))))


def drop_parameter(url: str, name: str | None) -> str:
    """Return `url` without its fragment and, where one is named, without the query parameter `name`."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query=_without(parts.query, name), fragment=""))


def show_origin(url: str) -> str:
    """Return no more of `url` than scheme and host, fit for a message: the rest may hold secrets."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return "an address that is none"
    return clean(f"{parts.scheme}://{host}", limit=200)


def _without(query: str, name: str | None) -> str:
    pairs = query.split("&")
    return "&".join(pair for pair in pairs if unquote(pair.partition("=")[0].replace("+", " ")) != name)
