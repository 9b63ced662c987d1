"""What a connection says of an agent, checked before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from scaffolder.errors import AgentConfigurationError

DEFAULT_DESCRIPTION_PATH: Final = "/openapi.json"
AUTH_KINDS: Final = ("bearer", "none")
_EXTRA: Final = frozenset({"auth", "description_path"})


@dataclass(frozen=True, kw_only=True)
class AgentConnection:
    """An agent's origin and how to show who we are there. Requests go to `base_url` and nowhere else."""

    conn_id: str
    base_url: str
    auth: Literal["bearer", "none"] = "bearer"
    token: str | None = field(default=None, repr=False)
    description_path: str = DEFAULT_DESCRIPTION_PATH

    @property
    def headers(self) -> dict[str, str]:
        """The headers that carry the credentials."""
        return {"Authorization": f"Bearer {self.token}"} if self.auth == "bearer" else {}


def parse_connection(
    conn_id: str,
    *,
    host: str | None,
    port: int | None,
    schema: str | None,
    password: str | None,
    extra: Mapping[str, Any],
) -> AgentConnection:
    """Read a connection's fields. Fails closed: AgentConfigurationError says which field lacks what.

    Extras that the form left empty count as not given.
    """
    extra = {name: value for name, value in extra.items() if value not in (None, "")}
    if unknown := sorted(set(extra) - _EXTRA):
        raise AgentConfigurationError(
            f"connection {conn_id!r} has unknown extras {unknown}; accepted are {sorted(_EXTRA)}"
        )
    auth = extra.get("auth", "bearer")
    if auth not in AUTH_KINDS:
        raise AgentConfigurationError(f"connection {conn_id!r} has auth {auth!r}; accepted are {list(AUTH_KINDS)}")
    if auth == "bearer" and not password:
        raise AgentConfigurationError(
            f"connection {conn_id!r} has no token: set its password, or auth to 'none' in its extra"
        )
    if password and not (password.isascii() and password.isprintable()):
        raise AgentConfigurationError(f"connection {conn_id!r} has a token with characters that no header takes")
    path = extra.get("description_path", DEFAULT_DESCRIPTION_PATH)
    if not isinstance(path, str) or not path.startswith("/") or path.startswith("//"):
        raise AgentConfigurationError(
            f"connection {conn_id!r} has description_path {path!r}; accepted is a path such as '/openapi.json'"
        )
    return AgentConnection(
        conn_id=conn_id,
        base_url=_base_url(conn_id, host=host, port=port, schema=schema),
        auth=auth,
        token=password or None,
        description_path=path,
    )


def _base_url(conn_id: str, *, host: str | None, port: int | None, schema: str | None) -> str:
    text = (host or "").strip().rstrip("/")
    url = text if "://" in text else f"{schema or 'https'}://{text}"
    try:
        parts = urlsplit(url)
        declared = parts.port
    except ValueError:
        parts, declared = urlsplit(""), None
    if (
        parts.scheme not in {"http", "https"}
        or not parts.hostname
        or "@" in parts.netloc
        or parts.query
        or parts.fragment
    ):
        raise AgentConfigurationError(
            f"connection {conn_id!r} names no agent: accepted as host is a URL such as 'https://agent.example.com' "
            "without user, query or fragment"
        )
    return url if declared or not port else f"{parts.scheme}://{parts.netloc}:{port}{parts.path}"
