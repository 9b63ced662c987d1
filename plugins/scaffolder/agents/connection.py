"""What a connection says of an agent, checked before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from scaffolder.agents.http.authentication import (
    AUTH_KINDS,
    Authentication,
    BasicCredentials,
    BearerToken,
    ClientCredentials,
    HeaderKey,
    NoAuthentication,
    QueryKey,
)
from scaffolder.errors import AgentConfigurationError

ConnectionType = Literal["agent_api", "a2a"]
DescriptionKind = Literal["openapi", "mcp"]
DESCRIPTION_KINDS: Final = ("openapi", "mcp")
DEFAULT_DESCRIPTION_PATHS: Final = {"openapi": "/openapi.json", "mcp": "/mcp", "a2a": "/.well-known/agent-card.json"}

#: The extras that belong to one kind of authentication.
_AUTH_EXTRAS: Final[Mapping[str, tuple[str, ...]]] = {
    "header": ("key_name",),
    "query": ("key_name",),
    "oauth2": ("oauth2_url", "oauth2_scope", "oauth2_audience", "oauth2_client_auth"),
}
_TLS_EXTRAS: Final = ("ca_certificate", "client_certificate", "client_private_key", "client_private_key_passphrase")
_OWN_EXTRAS: Final = frozenset(name for names in _AUTH_EXTRAS.values() for name in names)
_EXTRAS: Final = frozenset({"auth", "description_path", "description_kind", *_TLS_EXTRAS}) | _OWN_EXTRAS
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, section 5.6.2
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
#: Headers that belong to the message itself: a key in one of them would break it.
_MESSAGE_HEADERS: Final = frozenset(
    {"host", "connection", "content-length", "content-type", "transfer-encoding", "accept", "accept-encoding"}
)


@dataclass(frozen=True, kw_only=True)
class TlsSettings:
    """Certificates of a connection. Each is PEM text or the absolute path of a PEM file on the worker.

    With `ca_certificate` the agent's certificate must be signed by it (a bundle may hold several); without, by an
    authority that the worker's system knows.
    """

    ca_certificate: str | None = None
    client_certificate: str | None = None
    client_private_key: str | None = field(default=None, repr=False)
    client_private_key_passphrase: str | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True)
class AgentConnection:
    """An agent's origin and how to show who we are there. Requests go to `base_url` and nowhere else.

    `description_path` is a path below `base_url`, or a URL of the same origin.
    """

    conn_id: str
    base_url: str
    conn_type: ConnectionType = "agent_api"
    authentication: Authentication = NoAuthentication()
    tls: TlsSettings = TlsSettings()
    description_path: str = DEFAULT_DESCRIPTION_PATHS["openapi"]
    description_kind: DescriptionKind = "openapi"

    @property
    def origin(self) -> str:
        """Scheme, host and port of `base_url` (RFC 6454), the port only where it is not the scheme's own."""
        origin = find_origin(self.base_url)
        if origin is None:
            raise AgentConfigurationError(f"connection {self.conn_id!r} names no agent: {self.base_url!r} is no URL")
        return origin

    @property
    def name(self) -> str:
        """What messages call the agent."""
        return f"agent {self.conn_id!r} ({self.base_url})"

    @property
    def secrets(self) -> tuple[str, ...]:
        """Everything that must not be seen, in each form in which it is sent."""
        key = self.tls.client_private_key or ""
        private = ("" if key.startswith("/") else key, self.tls.client_private_key_passphrase or "")
        return (*self.authentication.secrets, *filter(None, private))


def find_origin(url: str) -> str | None:
    """Return the origin of an absolute http(s) URL without a user, lower-case, or None where it is none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or "@" in parts.netloc:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port not in {None, _DEFAULT_PORTS[parts.scheme]} else "")


def is_plain(url: str) -> bool:
    """Say whether `url` has only characters that all readers of URLs agree on: no space, backslash, or non-ASCII."""
    return url.isascii() and url.isprintable() and " " not in url and "\\" not in url


def parse_connection(
    conn_id: str,
    *,
    host: str | None,
    conn_type: ConnectionType = "agent_api",
    port: int | None = None,
    schema: str | None = None,
    login: str | None = None,
    password: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> AgentConnection:
    """Read a connection's fields. Fails closed: AgentConfigurationError says which field lacks what.

    Extras that the form left empty count as not given; those that nothing uses are refused.
    """
    return _Reader(
        conn_id, conn_type=conn_type, login=login or None, password=password or None, extra=extra or {}
    ).read(host=host, port=port, schema=schema)


class _Reader:
    """One connection while it is read."""

    def __init__(
        self,
        conn_id: str,
        *,
        conn_type: ConnectionType,
        login: str | None,
        password: str | None,
        extra: Mapping[str, Any],
    ) -> None:
        self._conn_id = conn_id
        self._conn_type = conn_type
        self._login = login
        self._password = password
        given = {name: value for name, value in extra.items() if value not in (None, "")}
        accepted = _EXTRAS if conn_type == "agent_api" else _EXTRAS - {"description_kind"}
        if unknown := sorted(set(given) - accepted):
            raise self._error(f"has unknown extras {unknown}; accepted are {sorted(accepted)}")
        # Of a wrong value only its name is said: it may be a secret in the wrong place.
        if wrong := sorted(name for name, value in given.items() if not isinstance(value, str)):
            raise self._error(f"has extras that are no text: {wrong}; accepted is text")
        self._extra: dict[str, str] = given

    def read(self, *, host: str | None, port: int | None, schema: str | None) -> AgentConnection:
        base_url = self._read_base_url(host, port=port, schema=schema)
        kind = self._choose("description_kind", DESCRIPTION_KINDS, default="openapi")
        return AgentConnection(
            conn_id=self._conn_id,
            conn_type=self._conn_type,
            base_url=base_url,
            authentication=self._read_authentication(),
            tls=self._read_tls(base_url),
            description_path=self._read_description_path(base_url, kind),
            description_kind="mcp" if kind == "mcp" else "openapi",
        )

    def _read_base_url(self, host: str | None, *, port: int | None, schema: str | None) -> str:
        text = (host or "").strip().rstrip("/")
        url = text if "://" in text else f"{schema or 'https'}://{text}"
        origin = find_origin(url)
        parts = urlsplit(url if origin else "")
        if origin is None or parts.query or parts.fragment or not is_plain(url):
            raise self._error(
                "names no agent: accepted as host is a URL such as 'https://agent.example.com' without user, query "
                "or fragment"
            )
        return f"{origin}{'' if parts.port or not port else f':{port}'}{parts.path}"

    def _read_authentication(self) -> Authentication:
        kind = self._choose("auth", AUTH_KINDS, default="bearer")
        own = _AUTH_EXTRAS.get(kind, ())
        if foreign := sorted((set(self._extra) & _OWN_EXTRAS) - set(own)):
            raise self._error(f"has extras {foreign}, which auth {kind!r} does not use; accepted there are {list(own)}")
        match kind:
            case "none":
                return NoAuthentication()
            case "bearer":
                return BearerToken(token=self._secret("token"))
            case "basic":
                return self._read_basic()
            case "header":
                return self._read_header_key()
            case "query":
                return QueryKey(
                    name=self._need_extra("key_name", "the name of a parameter"), key=self._need_password("key")
                )
            case _:
                return self._read_client()

    def _read_basic(self) -> BasicCredentials:
        username = self._need_login("user")
        if ":" in username:
            raise self._error("has a user with a colon in it, which basic authentication does not take")
        return BasicCredentials(username=username, password=self._need_password("password"))

    def _read_header_key(self) -> HeaderKey:
        name = self._need_extra("key_name", "the name of a header such as 'X-API-Key'")
        if not _TOKEN.fullmatch(name) or name.lower() in _MESSAGE_HEADERS:
            raise self._error(f"has key_name {name!r}; accepted is the name of a header such as 'X-API-Key'")
        return HeaderKey(name=name, key=self._secret("key"))

    def _read_client(self) -> ClientCredentials:
        url = self._need_extra("oauth2_url", "the URL of the token endpoint")
        if not find_origin(url) or "#" in url or not is_plain(url):
            raise self._error(
                "has an oauth2_url that cannot be used; accepted is a URL such as 'https://login.example.com/token' "
                "without user or fragment"
            )
        style = self._choose("oauth2_client_auth", ("basic", "body"), default="basic")
        return ClientCredentials(
            url=url,
            client_id=self._need_login("client id"),
            client_secret=self._need_password("client secret"),
            scope=self._extra.get("oauth2_scope"),
            audience=self._extra.get("oauth2_audience"),
            client_auth="body" if style == "body" else "basic",
        )

    def _read_tls(self, base_url: str) -> TlsSettings:
        given = {name: self._extra[name] for name in _TLS_EXTRAS if name in self._extra}
        for name in sorted(set(given) - {"client_private_key_passphrase"}):
            if "-----BEGIN " not in given[name] and not given[name].startswith("/"):
                raise self._error(f"has a {name} that is neither PEM text nor the absolute path of a file")
        if ("client_certificate" in given) != ("client_private_key" in given):
            raise self._error("has only one of client_certificate and client_private_key; accepted are both or none")
        if "client_private_key_passphrase" in given and "client_private_key" not in given:
            raise self._error("has a client_private_key_passphrase without a client_private_key")
        if given and base_url.startswith("http://"):
            raise self._error(f"has certificates ({sorted(given)}), but its URL is without TLS; accepted is https")
        return TlsSettings(**given)

    def _read_description_path(self, base_url: str, kind: str) -> str:
        default = DEFAULT_DESCRIPTION_PATHS["a2a" if self._conn_type == "a2a" else kind]
        path = self._extra.get("description_path", default)
        own = path.startswith("/") and not path.startswith("//")
        if not own and (find_origin(path) is None or find_origin(path) != find_origin(base_url)):
            raise self._error(
                f"has description_path {path!r}; accepted is a path such as {default!r}, or a URL of the same origin"
            )
        return path

    def _choose(self, name: str, accepted: tuple[str, ...], *, default: str) -> str:
        value = self._extra.get(name, default)
        if value not in accepted:
            raise self._error(f"has {name} {value!r}; accepted are {list(accepted)}")
        return value

    def _need_extra(self, name: str, what: str) -> str:
        if name not in self._extra:
            raise self._error(f"has no {name} in its extra; accepted is {what}")
        return self._extra[name]

    def _need_login(self, what: str) -> str:
        if not self._login:
            raise self._error(f"has no {what}: set its login")
        return self._login

    def _need_password(self, what: str) -> str:
        if not self._password:
            hint = ", or auth to 'none' in its extra" if what == "token" else ""
            raise self._error(f"has no {what}: set its password{hint}")
        return self._password

    def _secret(self, what: str) -> str:
        """Return the password where a header can carry it as it is."""
        text = self._need_password(what)
        if not (text.isascii() and text.isprintable()) or text != text.strip():
            raise self._error(f"has a {what} with characters that no header takes")
        return text

    def _error(self, problem: str) -> AgentConfigurationError:
        return AgentConfigurationError(f"connection {self._conn_id!r} {problem}")
