"""What a connection of type ``pydanticai`` says of a language model, checked before anything is sent.

Key and base URL come from the connection or, for the base URL, from here; the variables that the providers' own
libraries read from the environment (``OPENAI_API_KEY``, ``ANTHROPIC_BASE_URL`` and so on) are never used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from scaffolder.agents.connection import AgentConnection, find_origin, parse_connection
from scaffolder.errors import AgentConfigurationError, AgentRejectedError

Family = Literal["openai", "anthropic", "test"]

#: The prefixes of models, as in pydantic-ai, and whose API each of them speaks.
FAMILIES: Final[Mapping[str, Family]] = {
    "openai": "openai",
    "openai-responses": "openai",
    "openai-chat": "openai",
    "anthropic": "anthropic",
}
DEFAULT_BASE_URLS: Final[Mapping[Family, str]] = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com",
}
_TEST_MODEL: Final = "test"
_ACCEPTED_MODELS: Final = (
    "accepted are 'openai:…' (Responses), 'openai-chat:…' (Chat Completions, which most other servers speak), "
    "'anthropic:…' and 'test'"
)
_TLS_EXTRAS: Final = frozenset(
    {"ca_certificate", "client_certificate", "client_private_key", "client_private_key_passphrase"}
)
_EXTRAS: Final = _TLS_EXTRAS | {"model", "auth", "fallback_conn_ids"}


@dataclass(frozen=True, kw_only=True)
class ModelName:
    """A model as ``prefix:name``; the prefix says which API is spoken. ``test`` is pydantic-ai's, without a server."""

    prefix: str
    name: str

    @property
    def family(self) -> Family:
        """Whose API it is: a key of one family is never sent to another."""
        return FAMILIES.get(self.prefix, "test")

    def __str__(self) -> str:
        return self.name if self.prefix == _TEST_MODEL else f"{self.prefix}:{self.name}"


@dataclass(frozen=True, kw_only=True)
class LlmConnection:
    """A language model: the one that is asked by default, and the server that has it (None for ``test``)."""

    conn_id: str
    model: ModelName
    server: AgentConnection | None

    @property
    def base_url(self) -> str | None:
        """Where requests go, and nowhere else."""
        return self.server.base_url if self.server else None

    @property
    def is_hosted_by_provider(self) -> bool:
        """Whether the server is the provider's own, with all that only it has."""
        return self.server is not None and self.server.origin == find_origin(DEFAULT_BASE_URLS[self.model.family])

    @property
    def secrets(self) -> tuple[str, ...]:
        """Everything that must not be seen."""
        return self.server.secrets if self.server else ()

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.server.name if self.server else f"agent {self.conn_id!r} (test)"

    def choose_model(self, name: str | None) -> ModelName:
        """Return the model that a request names, by default the connection's. Raises AgentRejectedError."""
        if name is None:
            return self.model
        model = parse_model(name)
        if model is None:
            raise AgentRejectedError(f"the step asks for model {name!r}; {_ACCEPTED_MODELS}")
        if model.family != self.model.family:
            raise AgentRejectedError(
                f"the step asks for model {name!r}, but connection {self.conn_id!r} is for {str(self.model)!r}; "
                f"accepted are models of {self.model.family!r}"
            )
        return model


def parse_model(text: str) -> ModelName | None:
    """Return the model that `text` names, or None where it names none of those that are accepted."""
    if text == _TEST_MODEL:
        return ModelName(prefix=_TEST_MODEL, name=_TEST_MODEL)
    prefix, _, name = text.partition(":")
    if prefix not in FAMILIES or not name.strip() or not name.isprintable():
        return None
    return ModelName(prefix=prefix, name=name)


def parse_llm_connection(
    conn_id: str, *, host: str | None, password: str | None, extra: Mapping[str, Any] | None
) -> LlmConnection:
    """Read the fields of a connection of type ``pydanticai``.

    `password` is the API key and `host` the base URL, by default the provider's. `extra` has ``model`` and may have
    ``auth`` (``none`` for a server that wants no key) and the certificates of an ``agent_api`` connection. Fails
    closed: AgentConfigurationError says which field lacks what.
    """
    given = {name: value for name, value in (extra or {}).items() if value not in (None, "", [], [""])}
    if "fallback_conn_ids" in given:
        raise AgentConfigurationError(
            f"connection {conn_id!r} has fallback_conn_ids, which are not followed: an answer is recorded and paid for "
            "as that of one model. Accepted is to leave them empty, or a connection without them"
        )
    if unknown := sorted(set(given) - _EXTRAS):
        raise AgentConfigurationError(
            f"connection {conn_id!r} has unknown extras {unknown}; accepted are {sorted(_EXTRAS)}"
        )
    model = _read_model(conn_id, given.get("model"))
    if model.family == "test":
        return LlmConnection(conn_id=conn_id, model=model, server=None)
    server = parse_connection(
        conn_id,
        host=host or DEFAULT_BASE_URLS[model.family],
        password=password,
        extra=_authentication(conn_id, model, given.get("auth"), password)
        | {name: given[name] for name in sorted(_TLS_EXTRAS & given.keys())},
    )
    return LlmConnection(conn_id=conn_id, model=model, server=server)


def _read_model(conn_id: str, name: Any) -> ModelName:
    if name is None:
        raise AgentConfigurationError(f"connection {conn_id!r} has no model in its extra; {_ACCEPTED_MODELS}")
    model = parse_model(name) if isinstance(name, str) else None
    if model is None:
        raise AgentConfigurationError(f"connection {conn_id!r} has model {name!r} in its extra; {_ACCEPTED_MODELS}")
    return model


def _authentication(conn_id: str, model: ModelName, auth: Any, password: str | None) -> dict[str, str]:
    """Return how the family's API takes its key, as extras of an ``agent_api`` connection."""
    if auth == "none":
        return {"auth": "none"}
    if auth is not None:
        raise AgentConfigurationError(f"connection {conn_id!r} has an auth in its extra that is not 'none'")
    if not password:
        raise AgentConfigurationError(
            f"connection {conn_id!r} has no API key: set its password, or auth to 'none' in its extra for a server "
            "that wants none. Keys in the environment are not used"
        )
    if model.family == "anthropic":
        return {"auth": "header", "key_name": "x-api-key"}
    return {"auth": "bearer"}
