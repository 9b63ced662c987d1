"""How an agent is shown who we are: one class for each kind of authentication, with nothing sent yet.

`scaffolder.agents.connection` reads them from a connection; `scaffolder.agents.http.transport` puts them on requests.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import quote, quote_plus

AUTH_KINDS: Final = ("none", "bearer", "basic", "header", "query", "oauth2")


@dataclass(frozen=True, kw_only=True)
class NoAuthentication:
    """Nothing is added; what a library puts on its requests by itself goes through."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """None."""
        return ()


@dataclass(frozen=True, kw_only=True)
class BearerToken:
    """A token that does not change (RFC 6750, section 2.1)."""

    token: str = field(repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The token."""
        return (self.token,)

    @property
    def header(self) -> tuple[str, str]:
        """The header that carries it."""
        return "Authorization", f"Bearer {self.token}"


@dataclass(frozen=True, kw_only=True)
class BasicCredentials:
    """A user and a password (RFC 7617), in UTF-8."""

    username: str
    password: str = field(repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The password, and the form in which the header carries it."""
        return self.password, self._encoded

    @property
    def header(self) -> tuple[str, str]:
        """The header that carries them."""
        return "Authorization", f"Basic {self._encoded}"

    @property
    def _encoded(self) -> str:
        return base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


@dataclass(frozen=True, kw_only=True)
class HeaderKey:
    """A key in a header of the agent's choice, such as ``X-API-Key``."""

    name: str
    key: str = field(repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The key."""
        return (self.key,)

    @property
    def header(self) -> tuple[str, str]:
        """The header that carries it."""
        return self.name, self.key


@dataclass(frozen=True, kw_only=True)
class QueryKey:
    """A key in a query parameter of the agent's choice."""

    name: str
    key: str = field(repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The key, and the forms it has in a URL."""
        return tuple(dict.fromkeys((self.key, quote(self.key, safe=""), quote_plus(self.key))))


@dataclass(frozen=True, kw_only=True)
class ClientCredentials:
    """An OAuth 2.0 client that fetches its tokens itself (RFC 6749, section 4.4).

    `client_auth` says how the client shows its secret at `url`, the token endpoint: in the header (``basic``, section
    2.3.1) or in the form (``body``). The secret goes there and nowhere else.
    """

    url: str
    client_id: str
    client_secret: str = field(repr=False)
    scope: str | None = None
    audience: str | None = None
    client_auth: Literal["basic", "body"] = "basic"

    @property
    def secrets(self) -> tuple[str, ...]:
        """The client's secret, also as a form has it."""
        return tuple(dict.fromkeys((self.client_secret, quote_plus(self.client_secret))))


Authentication = NoAuthentication | BearerToken | BasicCredentials | HeaderKey | QueryKey | ClientCredentials
