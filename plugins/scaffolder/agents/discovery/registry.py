"""The registry of what agents offer, as those who call them see it."""

from __future__ import annotations

import difflib
import logging
from typing import TYPE_CHECKING, Final, Protocol

from scaffolder.errors import (
    AgentAnswerError,
    AgentConfigurationError,
    AgentRejectedError,
    LimitExceededError,
    TransientError,
)

if TYPE_CHECKING:
    from scaffolder.agents.http.authentication import Authentication
    from scaffolder.agents.http.transport import AgentClient
    from scaffolder.agents.openapi import OperationDefinition
    from scaffolder.config import Settings
    from scaffolder.records.endpoints import EndpointChanges, EndpointRecords
    from scaffolder.records.models import AgentDescription, Endpoint

log = logging.getLogger(__name__)

#: Where the registry knows an agent already, a call doesn't wait long for news.
_TIMEOUT_SECONDS: Final = 30
_NEAREST: Final = 3
_SHOWN: Final = 10


class EndpointFinder(Protocol):
    """Whoever can tell what an operation takes."""

    async def find(self, client: AgentClient, operation_id: str) -> OperationDefinition:
        """Return the operation of the agent that `client` talks to. Raises AgentConfigurationError."""
        ...


class EndpointRegistry:
    """Finds operations in the records, and loads an agent's description where they have none or an old one."""

    def __init__(self, records: EndpointRecords, settings: Settings) -> None:
        self._records = records
        self._settings = settings

    async def find(self, client: AgentClient, operation_id: str) -> OperationDefinition:
        """Return the operation of the agent that `client` talks to.

        The description is loaded first where the records have none, one from before the connection led elsewhere, one
        older than the setting ``agent_description_max_age_seconds``, or one without the operation. An old one is used,
        with a warning in the log, where the agent is away or does not describe itself any more.
        Raises AgentConfigurationError, with the nearest operations where there is no such one, and what `refresh` does.
        """
        from scaffolder.agents.openapi import OperationDefinition

        refreshed = self._find_known(client) is None or not self._is_fresh(client)
        if refreshed:
            await self._renew(client)
        endpoint = self._find(client, operation_id)
        if endpoint is None and not refreshed:
            await self._renew(client)
            endpoint = self._find(client, operation_id)
        if endpoint is None:
            raise self._unknown(client, operation_id)
        return OperationDefinition.of(endpoint, supplied=find_supplied(client.connection.authentication))

    async def refresh(self, client: AgentClient, *, timeout_seconds: float | None = None) -> EndpointChanges | None:
        """Load what the agent offers and record it; return what has changed, None where it is the same text as before.

        Raises the errors of `scaffolder.agents.discovery.offers.fetch_offer`.
        """
        from scaffolder.agents.discovery.offers import fetch_offer

        name = client.connection.conn_id
        known = self._find_known(client)
        offer = await fetch_offer(client, known=known, timeout_seconds=timeout_seconds)
        if offer is None:
            self._records.confirm(name)
            return None
        for warning in offer.warnings:
            log.warning("%s: %s", client.connection.name, warning)
        return self._records.write(name, offer, base_url=client.connection.base_url)

    def _find_known(self, client: AgentClient) -> AgentDescription | None:
        """Return the description of what the connection leads to now, None where it led elsewhere when it was read."""
        from scaffolder.agents.discovery.offers import find_url

        connection = client.connection
        known = self._records.find_description(connection.conn_id)
        there = (connection.base_url, find_url(client, connection.description_path))
        return known if known is not None and (known.base_url, known.source) == there else None

    def _is_fresh(self, client: AgentClient) -> bool:
        seconds = self._settings.agent_description_max_age_seconds
        return self._records.is_fresh(client.connection.conn_id, max_age_seconds=seconds)

    async def _renew(self, client: AgentClient) -> None:
        if self._find_known(client) is None:
            await self.refresh(client)
            return
        timeout_seconds = min(_TIMEOUT_SECONDS, self._settings.agent_timeout_seconds)
        try:
            await self.refresh(client, timeout_seconds=timeout_seconds)
        except (TransientError, AgentRejectedError, AgentAnswerError, LimitExceededError) as error:
            log.warning("The description of an earlier time is used, as there is no newer one: %s", error)

    def _find(self, client: AgentClient, operation_id: str) -> Endpoint | None:
        endpoint = self._records.find_endpoint(client.connection.conn_id, operation_id)
        return None if endpoint is None or endpoint.gone_at is not None else endpoint

    def _unknown(self, client: AgentClient, operation_id: str) -> AgentConfigurationError:
        endpoints = self._records.list_endpoints(client.connection.conn_id)
        there = sorted(one.operation_id for one in endpoints if one.gone_at is None)
        gone = " any more" if operation_id in {one.operation_id for one in endpoints} else ""
        near = difflib.get_close_matches(operation_id, there, n=_NEAREST, cutoff=0.4)
        accepted = f"the nearest are {near}" if near else f"accepted are {there[:_SHOWN]}"
        return AgentConfigurationError(
            f"connection {client.connection.conn_id!r} has no operation {operation_id!r}{gone}; {accepted}"
        )


def find_supplied(authentication: Authentication) -> frozenset[tuple[str, str]]:
    """Return the parameter (place and name) that holds a connection's credentials, so that no step has to."""
    from scaffolder.agents.http.authentication import HeaderKey, QueryKey

    if isinstance(authentication, HeaderKey):
        return frozenset({("header", authentication.name.lower())})
    if isinstance(authentication, QueryKey):
        return frozenset({("query", authentication.name)})
    return frozenset()
