"""`DiscoverAgentApisOperator`: look at what agents offer, and say which workflows no longer fit."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

from airflow.sdk import BaseHook, BaseOperator
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowSecretsBackendAccessDenied

from scaffolder.agents.hook import A2aHook, AgentApiHook
from scaffolder.config import Settings, get_settings
from scaffolder.errors import (
    AgentConfigurationError,
    AgentUnavailableError,
    PermanentError,
    RecordsUnavailableError,
    ScaffolderError,
    TransientError,
)
from scaffolder.operators.step import failing_at_once
from scaffolder.records.hook import DEFAULT_CONN_ID, ProjectRecordsHook
from scaffolder.workflows.definition import WorkflowDefinition, load_definitions
from scaffolder.workflows.uses import list_calls, list_described, list_uses

if TYPE_CHECKING:
    from airflow.sdk import Context

    from scaffolder.agents.connection import AgentConnection
    from scaffolder.agents.discovery.compatibility import Break, Use
    from scaffolder.records.endpoints import EndpointChanges
    from scaffolder.records.store import ProjectRecords

MAX_LISTED: Final = 50
"""How many operations or steps each list of the report has at the most; its counts are of all."""

_UNREADABLE: Final = ""
_HOOKS: Final[Mapping[str, type[AgentApiHook]]] = {"agent_api": AgentApiHook, "a2a": A2aHook}


class DiscoverAgentApisOperator(BaseOperator):
    """Look at what agents offer, record it, and say what has changed and which steps of workflows would fail.

    XCom gets the report: by connection ``{"status", "endpoints", "added", "changed", "gone", "breaks"}``, where status
    is ``fetched``, ``unchanged`` or ``failed`` (then with ``error``), and each list is ``{"count", "first"}`` with up
    to 50 of its entries. An agent that fails doesn't keep the others from being looked at, but fails the task in the
    end: at once where another try cannot help.

    :param agent_conn_ids: connections of type ``agent_api`` or ``a2a``; by default those of which workflows name an
        operation, those of type ``a2a`` that workflows name, and all that the registry has. What the registry has of a
        connection that neither Airflow nor a workflow knows any more is forgotten. (templated)
    :param scaffolder_conn_id: the connection of the records' database.
    """

    template_fields: Sequence[str] = ("agent_conn_ids",)
    ui_color = "#e8f4ec"

    def __init__(
        self,
        *,
        agent_conn_ids: Sequence[str] | None = None,
        scaffolder_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.agent_conn_ids = agent_conn_ids
        self.scaffolder_conn_id = scaffolder_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Look at all agents. Raises what says most of why agents failed."""
        with failing_at_once():
            settings = get_settings()
            with ProjectRecordsHook(self.scaffolder_conn_id).open() as records:
                rounds = self._look_at_all(records, settings)
            report = {one.connection: one.report() for one in rounds}
            errors = [one.error for one in rounds if one.error is not None]
            if errors:
                context["ti"].xcom_push(key="return_value", value=report)
                _raise_all(errors, len(rounds))
            return report

    def _look_at_all(self, records: ProjectRecords, settings: Settings) -> list[_Round]:
        definitions, problems = load_definitions(settings)
        if problems:
            self.log.warning("%s problem(s) in workflows, whose steps are not compared", len(problems))
        uses = list(list_uses(definitions))
        names = self._list_connections(definitions, records, may_forget=not problems)
        rounds = []
        for number, name in enumerate(names, start=1):
            done = self._look_at(name, [use for use in uses if use.connection == name], records, settings)
            self.log.info("%s of %s: agent %r: %s", number, len(names), name, done.describe())
            for one in done.breaks:
                self.log.warning("%s", one.describe())
            rounds.append(done)
        return rounds

    def _list_connections(
        self, definitions: Sequence[WorkflowDefinition], records: ProjectRecords, *, may_forget: bool
    ) -> list[str]:
        if self.agent_conn_ids:
            return list(dict.fromkeys(self.agent_conn_ids))
        named = {step.agent for _, step in list_calls(definitions)}
        recorded = {description.connection for description in records.endpoints.list_descriptions()}
        wanted = recorded | set(list_described(definitions))
        # A workflow's connection that is gone is a failure; of one that nobody names, the registry is all there is.
        left = {name for name in recorded - named if _find_type(name) is None}
        for name in sorted(left):
            self._leave_out(name, records, may_forget=may_forget)
        return sorted(name for name in (named | recorded) - left if self._describes_itself(name, wanted))

    def _leave_out(self, conn_id: str, records: ProjectRecords, *, may_forget: bool) -> None:
        if may_forget:
            records.endpoints.forget(conn_id)
            self.log.info("Agent %r is forgotten: its connection is gone, and no workflow names it", conn_id)
        else:
            # It may be one of the workflows with problems that names it.
            self.log.info("Agent %r is not looked at: its connection is gone", conn_id)

    def _describes_itself(self, conn_id: str, wanted: AbstractSet[str]) -> bool:
        kind = _find_type(conn_id)
        if kind not in {None, _UNREADABLE, *_HOOKS}:
            self.log.info(
                "Agent %r is not looked at: nothing describes what connections of type %r offer", conn_id, kind
            )
            return False
        # Whoever calls an agent by method and path alone needs no description of it.
        return conn_id in wanted or kind == "a2a"

    def _look_at(self, conn_id: str, uses: list[Use], records: ProjectRecords, settings: Settings) -> _Round:
        try:
            return self._compare(conn_id, uses, records, settings)
        except RecordsUnavailableError:
            raise
        except ScaffolderError as error:
            return _Round(connection=conn_id, error=error)
        except Exception as error:
            # What an agent says of itself can be anything; the others are none the worse for it.
            self.log.exception("Agent %r could not be looked at", conn_id)
            message = f"agent {conn_id!r} has led to an unexpected {type(error).__name__}; the log has more"
            return _Round(connection=conn_id, error=PermanentError(message))

    def _compare(self, conn_id: str, uses: list[Use], records: ProjectRecords, settings: Settings) -> _Round:
        from scaffolder.agents.discovery.compatibility import find_breaks
        from scaffolder.agents.discovery.registry import find_supplied

        connection = _open_connection(conn_id)
        changes = asyncio.run(_refresh(connection, records, settings))
        breaks = find_breaks(
            uses,
            lambda operation: records.endpoints.find_endpoint(conn_id, operation),
            supplied=find_supplied(connection.authentication),
        )
        endpoints = records.endpoints.list_endpoints(conn_id)
        return _Round(
            connection=conn_id,
            changes=changes,
            endpoints=sum(endpoint.gone_at is None for endpoint in endpoints),
            breaks=tuple(breaks),
        )


@dataclass(frozen=True, kw_only=True)
class _Round:
    """What came of looking at one agent; no `changes` where its description is the same text as before."""

    connection: str
    changes: EndpointChanges | None = None
    endpoints: int = 0
    breaks: tuple[Break, ...] = ()
    error: ScaffolderError | None = None

    def describe(self) -> str:
        if self.error is not None:
            return f"failed: {self.error}"
        if self.changes is None:
            return f"unchanged, {self.endpoints} endpoints"
        changes = self.changes
        return (
            f"fetched, {self.endpoints} endpoints: {len(changes.added)} added, {len(changes.changed)} changed, "
            f"{len(changes.gone)} gone"
        )

    def report(self) -> dict[str, Any]:
        if self.error is not None:
            return {"status": "failed", "error": f"{type(self.error).__name__}: {self.error}"}
        changes = {} if self.changes is None else vars(self.changes)
        breaks = [
            {
                "workflow": one.use.workflow,
                "step": one.use.step_id,
                "operation": one.use.operation,
                "reasons": list(one.reasons),
            }
            for one in self.breaks
        ]
        return {
            "status": "unchanged" if self.changes is None else "fetched",
            "endpoints": self.endpoints,
            **{name: _shorten(changes.get(name, ())) for name in ("added", "changed", "gone")},
            "breaks": _shorten(breaks),
        }


async def _refresh(connection: AgentConnection, records: ProjectRecords, settings: Settings) -> EndpointChanges | None:
    from airflow.sdk.log import mask_secret

    from scaffolder.agents.discovery.registry import EndpointRegistry
    from scaffolder.agents.http.transport import AgentClient

    async with AgentClient(connection, settings=settings, on_secret=mask_secret) as client:
        return await EndpointRegistry(records.endpoints, settings).refresh(client)


def _open_connection(conn_id: str) -> AgentConnection:
    hook = _HOOKS.get(_find_type(conn_id) or "", AgentApiHook)
    return hook(conn_id).get_conn()


def _find_type(conn_id: str) -> str | None:
    """Return the type of a connection: None where it isn't there, empty where it may not be read."""
    try:
        return BaseHook.get_connection(conn_id).conn_type
    except AirflowNotFoundException:
        # The hook says so in its own words.
        return None
    except AirflowSecretsBackendAccessDenied:
        return _UNREADABLE


def _shorten(entries: Sequence[Any]) -> dict[str, Any]:
    return {"count": len(entries), "first": list(entries[:MAX_LISTED])}


def _raise_all(errors: Sequence[ScaffolderError], count: int) -> NoReturn:
    message = f"{len(errors)} of {count} agents could not be looked at: {'; '.join(str(error) for error in errors)}"
    passing = next((error for error in errors if isinstance(error, TransientError)), None)
    if passing is not None:
        raise AgentUnavailableError(message, retry_after_seconds=passing.retry_after_seconds) from passing
    raise AgentConfigurationError(message) from errors[0]
