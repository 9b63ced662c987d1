"""Looking at agents from Airflow: the operator with real connections, and the DAG that runs it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowFailException, AirflowSecretsBackendAccessDenied

from local_airflow.postgres import EmbeddedPostgres
from scaffolder.errors import AgentUnavailableError
from scaffolder.records.store import ProjectRecords
from scaffolder.workflows import discovery
from scaffolder.workflows.discovery import DiscoverAgentApisOperator
from tests.airflow.test_plugin import run_python
from tests.description_server import TOKEN, DescriptionServer, serve_descriptions
from tests.servers import DESCRIPTION

WORKFLOW = """
id: example
params: {name: {type: string}}
steps:
  - {id: make, type: api_call, agent: rest, operation: generateModels, body: {document: "{{ params.name }}"}}
  - {id: get, type: api_call, agent: rest, operation: getItem, parameters: {item: x}}
  - {id: think, type: api_call, agent: model, prompt: Think.}
  - {id: choose, type: api_call, agent: "{{ params.name }}", operation: any}
"""


class Discovery:
    """The operator, in an Airflow with connections, a workflow and records."""

    def __init__(self, server: DescriptionServer, records: ProjectRecords, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server = server
        self.records = records
        self._monkeypatch = monkeypatch
        self.pushed: dict[str, Any] = {}

    def connect(self, conn_id: str, **fields: Any) -> None:
        given = {"conn_type": "agent_api", "host": self.server.url, "password": TOKEN} | fields
        self._monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(given))

    def run(self, *connections: str) -> dict[str, Any]:
        operator = DiscoverAgentApisOperator(task_id="discover", agent_conn_ids=list(connections))
        context: Any = {"ti": SimpleNamespace(xcom_push=lambda key, value: self.pushed.update({key: value}))}
        return operator.execute(context)


@pytest.fixture
def run_discovery(
    records: ProjectRecords,
    postgres: EmbeddedPostgres,
    records_database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
) -> Iterator[Discovery]:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "example.yaml").write_text(WORKFLOW)
    monkeypatch.setattr(
        discovery,
        "get_settings",
        lambda: replace(settings, workflows_dir=tmp_path / "workflows", include_shipped=False, agent_timeout_seconds=5),
    )
    host = psycopg.conninfo.conninfo_to_dict(postgres.url(records_database))
    database = {
        "conn_type": "postgres",
        "host": host["host"],
        "login": host.get("user"),
        "schema": records_database,
    }
    monkeypatch.setenv("AIRFLOW_CONN_SCAFFOLDER_DB", json.dumps(database))
    with serve_descriptions() as server:
        server.serve(DESCRIPTION)
        found = Discovery(server, records, monkeypatch)
        found.connect("rest")
        found.connect("model", conn_type="pydanticai", extra=json.dumps({"model": "test"}))
        yield found


def listed(*entries: Any) -> dict[str, Any]:
    return {"count": len(entries), "first": list(entries)}


def test_by_default_all_that_workflows_name_and_the_registry_has_is_looked_at(
    run_discovery: Discovery, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run_discovery.run()
    assert report == {
        "rest": {
            "status": "fetched",
            "endpoints": 2,
            "added": listed("generateModels", "getItem"),
            "changed": listed(),
            "gone": listed(),
            "breaks": listed(),
        }
    }
    log = capsys.readouterr().out
    assert "1 of 1: agent 'rest': fetched, 2 endpoints: 2 added, 0 changed, 0 gone" in log
    assert "Agent 'model' is not looked at" in log
    run_discovery.connect("tools", extra=json.dumps({"description_kind": "mcp"}))
    run_discovery.server.tools = [[{"name": "search"}]]
    assert list(run_discovery.run("tools")) == ["tools"]
    assert {name: one["status"] for name, one in run_discovery.run().items()} == {
        "rest": "unchanged",
        "tools": "unchanged",
    }


def test_what_changed_and_what_it_breaks_is_reported(
    run_discovery: Discovery, capsys: pytest.CaptureFixture[str]
) -> None:
    run_discovery.run()
    models = DESCRIPTION["paths"]["/v1/models"]["post"]
    changed = {**models, "parameters": [{"name": "region", "in": "query", "required": True}]}
    run_discovery.server.serve({**DESCRIPTION, "paths": {"/v1/models": {"post": changed}, "/new": {"get": {}}}})
    report = run_discovery.run("rest")["rest"]
    assert (report["added"], report["changed"], report["gone"]) == (
        listed("GET /new"),
        listed("generateModels"),
        listed("getItem"),
    )
    reasons = {one["step"]: one["reasons"] for one in report["breaks"]["first"]}
    assert reasons["make"] == ["parameter 'region' is required"]
    assert reasons["get"][0].startswith("operation 'getItem' is gone since ")
    assert "step 'make' of workflow 'example' would fail: parameter 'region' is required" in capsys.readouterr().out
    json.dumps(report)
    # It stays broken until somebody mends it, so it is said again.
    assert run_discovery.run("rest")["rest"]["breaks"]["count"] == 2


def test_one_agent_that_fails_does_not_keep_the_others_from_being_looked_at(run_discovery: Discovery) -> None:
    run_discovery.connect("missing", extra=json.dumps({"description_path": "/nothing.json"}))
    with pytest.raises(AirflowFailException, match="2 of 3 agents could not be looked at: .*'nobody'.*answered 404"):
        run_discovery.run("nobody", "missing", "rest")
    report = run_discovery.pushed["return_value"]
    assert {name: one["status"] for name, one in report.items()} == {
        "nobody": "failed",
        "missing": "failed",
        "rest": "fetched",
    }
    assert report["nobody"]["error"].startswith("AgentConfigurationError: there is no connection 'nobody'")
    assert len(run_discovery.records.endpoints.list_endpoints("rest")) == 2


def test_an_agent_that_is_away_is_tried_again_by_airflow(run_discovery: Discovery) -> None:
    run_discovery.connect("away", host="http://127.0.0.1:9")
    with pytest.raises(AgentUnavailableError, match="1 of 2 agents could not be looked at: .*cannot be reached"):
        run_discovery.run("away", "rest")


def test_a_language_model_that_was_asked_for_is_an_error(run_discovery: Discovery) -> None:
    with pytest.raises(AirflowFailException, match="'model' is of type 'pydanticai'; accepted is 'agent_api'"):
        run_discovery.run("model")


def test_lists_in_the_report_are_bounded(run_discovery: Discovery) -> None:
    paths = {f"/{index}": {"get": {"operationId": f"o{index:04}"}} for index in range(300)}
    run_discovery.server.serve({**DESCRIPTION, "paths": paths})
    added = run_discovery.run("rest")["rest"]["added"]
    assert (added["count"], len(added["first"])) == (300, discovery.MAX_LISTED)


def test_the_dag_takes_connections_and_runs_every_day(tmp_path: Path) -> None:
    code = """
import json, os
from airflow.dag_processing.dagbag import DagBag
dag = DagBag(os.environ["AIRFLOW__CORE__DAGS_FOLDER"] + "/discover_agent_apis.py").dags["discover_agent_apis"]
task = dag.get_task("discover")
rendered = task.render_template(task.agent_conn_ids, {"params": {"connections": ["a", "b"]}}, dag.get_template_env())
print(json.dumps({
    "schedule": dag.schedule,
    "params": {name: dag.params.get_param(name).schema["type"] for name in dag.params},
    "rendered": rendered,
    "catchup": dag.catchup,
}))
"""
    assert run_python(code, tmp_path) == {
        "schedule": "@daily",
        "params": {"connections": "array"},
        "rendered": ["a", "b"],
        "catchup": False,
    }


def test_a_recorded_connection_that_is_gone_is_forgotten_unless_a_workflow_names_it(
    run_discovery: Discovery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_discovery.connect("old")
    run_discovery.run("old", "rest")
    monkeypatch.delenv("AIRFLOW_CONN_OLD")
    broken = tmp_path / "workflows" / "broken.yaml"
    broken.write_text("id: broken\nsteps: 5\n")
    assert list(run_discovery.run()) == ["rest"]
    assert run_discovery.records.endpoints.find_description("old") is not None
    broken.unlink()
    assert list(run_discovery.run()) == ["rest"]
    assert run_discovery.records.endpoints.find_description("old") is None
    assert "Agent 'old' is forgotten" in capsys.readouterr().out
    monkeypatch.delenv("AIRFLOW_CONN_REST")
    with pytest.raises(AirflowFailException, match="there is no connection 'rest'"):
        run_discovery.run()
    assert run_discovery.records.endpoints.find_description("rest") is not None


def test_an_agent_called_by_method_and_path_alone_needs_no_description(
    run_discovery: Discovery, tmp_path: Path
) -> None:
    step = "{id: call, type: api_call, agent: plain, method: GET, path: /x}"
    (tmp_path / "workflows" / "plain.yaml").write_text(f"id: plain\nsteps: [{step}]\n")
    run_discovery.connect("plain", extra=json.dumps({"description_path": "/nothing.json"}))
    assert list(run_discovery.run()) == ["rest"]


def test_a_connection_that_may_not_be_read_and_a_description_that_breaks_us_are_failures_of_their_own(
    run_discovery: Discovery, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("denied", "strange"):
        run_discovery.connect(name)
    run_discovery.run("denied", "strange")
    get_connection, refresh = BaseHook.get_connection, discovery._refresh

    def deny(_cls: type, conn_id: str) -> Any:
        if conn_id == "denied":
            raise AirflowSecretsBackendAccessDenied("no")
        return get_connection(conn_id)

    async def break_on_strange(connection: Any, *given: Any) -> Any:
        if connection.conn_id == "strange":
            raise RecursionError("secret")
        return await refresh(connection, *given)

    monkeypatch.setattr(BaseHook, "get_connection", classmethod(deny))
    monkeypatch.setattr(discovery, "_refresh", break_on_strange)
    with pytest.raises(AirflowFailException, match="2 of 3 .*does not let .*'denied'.*'strange' .*RecursionError"):
        run_discovery.run()
    report = run_discovery.pushed["return_value"]
    assert {name: one["status"] for name, one in report.items()} == {
        "denied": "failed",
        "rest": "fetched",
        "strange": "failed",
    }
    assert "break_on_strange" in capsys.readouterr().out
    assert run_discovery.records.endpoints.find_description("denied") is not None
