"""Agents through Airflow connections: `AgentApiHook` (``agent_api``), `A2aHook` (``a2a``), and `open_agent` for all.

Every secret of a connection, in each form in which it is sent, is masked in Airflow's logs before it is used.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowSecretsBackendAccessDenied
from airflow.sdk.log import amask_secret, mask_secret

from scaffolder.agents.connection import AgentConnection, ConnectionType, parse_connection
from scaffolder.config import Settings, get_settings
from scaffolder.errors import AgentConfigurationError, ScaffolderError

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from scaffolder.agents.contract import Agent
    from scaffolder.agents.discovery.registry import EndpointRegistry
    from scaffolder.agents.llm import LlmConnection
    from scaffolder.records.store import ProjectRecords

LANGUAGE_MODEL: Final = "pydanticai"
CONNECTION_TYPES: Final = ("agent_api", "a2a", LANGUAGE_MODEL)


class AgentApiHook(BaseHook):
    """Read the connection of an agent with a REST API: host is its base URL, password its token, key or secret.

    Extra: ``auth`` (``bearer`` by default, ``none``, ``basic``, ``header``, ``query`` or ``oauth2``) with what that
    needs, certificates, and where the agent describes itself; `scaffolder.provider` has them all.

    :param agent_conn_id: a connection of type ``agent_api``.
    """

    conn_name_attr = "agent_conn_id"
    default_conn_name = "agent_default"
    conn_type: ClassVar[ConnectionType] = "agent_api"
    hook_name = "Agent API"

    def __init__(self, agent_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.agent_conn_id = agent_conn_id

    def get_conn(self) -> AgentConnection:
        """Return the agent's origin and credentials. Raises AgentConfigurationError."""
        connection = _parse_agent(_get_fields(self.agent_conn_id, accepted=(self.conn_type,)))
        _mask(connection.secrets)
        return connection

    def test_connection(self) -> tuple[bool, str]:
        """Fetch what the agent says of itself, with the connection's credentials."""
        from scaffolder.agents.discovery.probe import probe

        try:
            return True, asyncio.run(probe(self.get_conn(), settings=get_settings(), on_secret=mask_secret))
        except ScaffolderError as error:
            return False, str(error)


class A2aHook(AgentApiHook):
    """Read the connection of an agent that speaks A2A: the fields are those of `AgentApiHook`.

    ``description_path`` is where its card is, by default ``/.well-known/agent-card.json``.

    :param agent_conn_id: a connection of type ``a2a``.
    """

    default_conn_name = "a2a_default"
    conn_type: ClassVar[ConnectionType] = "a2a"
    hook_name = "A2A agent"

    def __init__(self, agent_conn_id: str = default_conn_name) -> None:
        super().__init__(agent_conn_id)


def open_agent(conn_id: str, *, settings: Settings, records: ProjectRecords | None) -> Agent:
    """Return the agent behind a connection of any of `CONNECTION_TYPES`, not yet entered.

    `records` hold what agents offer; without them operations of OpenAPI descriptions cannot be found. Raises
    AgentConfigurationError.
    """
    fields = _get_fields(conn_id)
    parsed = _parse(fields)
    _mask(parsed.secrets)
    return _make_agent(parsed, settings=settings, endpoints=_open_registry(records, settings) if records else None)


async def aopen_agent(conn_id: str, *, settings: Settings) -> Agent:
    """Return the agent as `open_agent` does, without records, and without ever blocking the event loop.

    Airflow says that there is no such connection also where its API server could not be asked for a moment.
    """
    parsed = _parse(await _aget_fields(conn_id))
    for secret in parsed.secrets:
        await amask_secret(secret)
    return _make_agent(parsed, settings=settings, endpoints=None)


@dataclass(frozen=True, kw_only=True)
class _Fields:
    """What Airflow has of one connection."""

    conn_id: str
    conn_type: str
    host: str | None
    port: int | None
    schema: str | None
    login: str | None
    password: str | None = field(repr=False)
    extra: dict[str, Any] = field(repr=False)


def _get_fields(conn_id: str, *, accepted: tuple[str, ...] = CONNECTION_TYPES) -> _Fields:
    try:
        connection = BaseHook.get_connection(conn_id)
    except (AirflowNotFoundException, AirflowSecretsBackendAccessDenied) as error:
        raise _unavailable(conn_id, accepted, error) from error
    return _read_fields(conn_id, connection, accepted)


async def _aget_fields(conn_id: str) -> _Fields:
    try:
        connection = await BaseHook.aget_connection(conn_id)
    except (AirflowNotFoundException, AirflowSecretsBackendAccessDenied) as error:
        raise _unavailable(conn_id, CONNECTION_TYPES, error) from error
    return _read_fields(conn_id, connection, CONNECTION_TYPES)


def _unavailable(conn_id: str, accepted: tuple[str, ...], error: Exception) -> AgentConfigurationError:
    if isinstance(error, AirflowSecretsBackendAccessDenied):
        return AgentConfigurationError(f"Airflow does not let this task read connection {conn_id!r}")
    return AgentConfigurationError(f"there is no connection {conn_id!r}; accepted is one of type {_either(accepted)}")


def _read_fields(conn_id: str, connection: Connection, accepted: tuple[str, ...]) -> _Fields:
    if connection.conn_type not in accepted:
        raise AgentConfigurationError(
            f"connection {conn_id!r} is of type {connection.conn_type!r}; accepted is {_either(accepted)}"
        )
    return _Fields(
        conn_id=conn_id,
        conn_type=connection.conn_type,
        host=connection.host,
        port=connection.port,
        schema=connection.schema,
        login=connection.login,
        password=connection.password,
        extra=_read_extra(conn_id, connection.extra),
    )


def _read_extra(conn_id: str, text: str | None) -> dict[str, Any]:
    # Airflow's own reader takes broken JSON for an empty extra, which would fall back to another authentication.
    try:
        extra = json.loads(text) if text else {}
    except ValueError as error:
        raise AgentConfigurationError(f"connection {conn_id!r} has an extra that is no JSON") from error
    if not isinstance(extra, dict):
        raise AgentConfigurationError(f"connection {conn_id!r} has an extra that is no JSON object")
    return extra


def _either(types: tuple[str, ...]) -> str:
    return " or ".join(repr(one) for one in types)


def _parse(fields: _Fields) -> AgentConnection | LlmConnection:
    if fields.conn_type != LANGUAGE_MODEL:
        return _parse_agent(fields)
    from scaffolder.agents.llm import parse_llm_connection

    return parse_llm_connection(fields.conn_id, host=fields.host, password=fields.password, extra=fields.extra)


def _parse_agent(fields: _Fields) -> AgentConnection:
    return parse_connection(
        fields.conn_id,
        conn_type=cast("ConnectionType", fields.conn_type),
        host=fields.host,
        port=fields.port,
        schema=fields.schema,
        login=fields.login,
        password=fields.password,
        extra=fields.extra,
    )


def _mask(secrets: Iterable[str]) -> None:
    for secret in secrets:
        mask_secret(secret)


def _make_agent(
    parsed: AgentConnection | LlmConnection, *, settings: Settings, endpoints: EndpointRegistry | None
) -> Agent:
    if not isinstance(parsed, AgentConnection):
        _require("pydantic_ai", parsed.conn_id, extra="llm")
        from scaffolder.agents.llm import LlmAgent

        return LlmAgent(parsed, settings=settings, on_secret=mask_secret)
    if parsed.conn_type == "a2a":
        _require("a2a", parsed.conn_id, extra="a2a")
        from scaffolder.agents.a2a import A2aAgent

        return A2aAgent(parsed, settings=settings, on_secret=mask_secret)
    from scaffolder.agents.rest.agent import RestAgent

    return RestAgent(parsed, settings=settings, endpoints=endpoints, on_secret=mask_secret)


def _require(module: str, conn_id: str, *, extra: str) -> None:
    from importlib.util import find_spec

    if find_spec(module) is None:
        raise AgentConfigurationError(
            f"connection {conn_id!r} needs what is not installed: pip install 'airflow-scaffolder[{extra}]'"
        )


def _open_registry(records: ProjectRecords, settings: Settings) -> EndpointRegistry:
    from scaffolder.agents.discovery.registry import EndpointRegistry

    return EndpointRegistry(records.endpoints, settings)
