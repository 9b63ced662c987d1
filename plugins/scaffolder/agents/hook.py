"""`AgentApiHook`: an agent through an Airflow connection of type ``agent_api``."""

from __future__ import annotations

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from scaffolder.agents.caller import AgentCaller
from scaffolder.agents.connection import AgentConnection, parse_connection
from scaffolder.config import get_settings
from scaffolder.errors import AgentConfigurationError, ScaffolderError


class AgentApiHook(BaseHook):
    """Read an agent's connection: host is its base URL, password its bearer token.

    Extra: ``auth`` (``bearer`` by default, or ``none``) and ``description_path`` (``/openapi.json``).

    :param agent_conn_id: a connection of type ``agent_api``.
    """

    conn_name_attr = "agent_conn_id"
    default_conn_name = "agent_default"
    conn_type = "agent_api"
    hook_name = "Agent API"

    def __init__(self, agent_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.agent_conn_id = agent_conn_id

    def get_conn(self) -> AgentConnection:
        """Return the agent's origin and credentials. Raises AgentConfigurationError."""
        try:
            connection = self.get_connection(self.agent_conn_id)
        except AirflowNotFoundException as error:
            raise AgentConfigurationError(
                f"there is no connection {self.agent_conn_id!r}; accepted is one of type {self.conn_type!r}"
            ) from error
        if connection.conn_type != self.conn_type:
            raise AgentConfigurationError(
                f"connection {self.agent_conn_id!r} is of type {connection.conn_type!r}; accepted is {self.conn_type!r}"
            )
        return parse_connection(
            self.agent_conn_id,
            host=connection.host,
            port=connection.port,
            schema=connection.schema,
            password=connection.password,
            extra=connection.extra_dejson,
        )

    def test_connection(self) -> tuple[bool, str]:
        """Fetch the agent's description with the connection's credentials."""
        try:
            with AgentCaller(self.get_conn(), settings=get_settings()) as caller:
                description = caller.fetch_description()
        except ScaffolderError as error:
            return False, str(error)
        title = description.get("info", {}).get("title") if isinstance(description, dict) else None
        return True, f"The agent describes itself as {title!r}"
