"""One live Airflow for all acceptance tests, with the records on a Postgres of their own that tests may stop."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import psycopg
import pytest

from local_airflow.airflow_rest import AirflowRest
from local_airflow.instance import LocalAirflow
from local_airflow.postgres import EmbeddedPostgres
from scaffolder.config import Settings
from scaffolder.generation.repository import ProjectRepository
from scaffolder.generation.step_commit import get_repository
from scaffolder.records.models import GeneratedProject
from scaffolder.records.store import ProjectRecords
from tests.acceptance.browser import Browser, start_chromium
from tests.conftest import CACHE, CHECKOUT
from tests.github_peer import GithubPeer, serve_github
from tests.otlp_receiver import OtlpReceiver, serve_otlp
from tests.servers import AgentServer, GitServer, serve_agent, serve_git

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

# One step for each kind of agent.
KINDS = """\
id: kinds
params:
  name: {type: string, default: kinds}
steps:
  - {id: plan, type: api_call, agent: test_model, prompt: "Plan {{ params.name }}", output_schema: {
      type: object, properties: {title: {type: string}}, required: [title], additionalProperties: false}}
  - {id: code, type: api_call, agent: test_model, prompt: "Write {{ steps.plan.output.title }}", files: true}
  - {id: review, type: api_call, agent: test_a2a, message: make files}
  - {id: build, type: api_call, agent: test_jobs, method: POST, path: /jobs, body: {name: "{{ params.name }}"},
     job: {state: /status, result: /result, poll_seconds: 0.2}}
  - id: files
    type: file_generation
    on_conflict: ours
    allow_ci_files: true
    files:
      - "{{ steps.code.output.files }}"
      - "{{ steps.review.output.files }}"
      - {path: build.txt, content: "{{ steps.plan.output.title }}, job {{ steps.build.output.job }}\\n"}
"""

# Steps around an agent of the tests', to be slow or wrong at will; "broken" must not take the others down.
WORKFLOWS = {
    "steps.yaml": """\
id: steps
params:
  name: {type: string, default: steps, pattern: "^[a-z-]+$"}
  agent: {type: string, default: test_agent}
  target: {type: string, default: archive}
  connection: {type: string, default: ""}
steps:
  - id: models
    type: api_call
    agent: "{{ params.agent }}"
    operation: generateModels
    body: {document: "{{ params.name }}"}
  - id: files
    type: file_generation
    files: "{{ steps.models.output.files }}"
  - id: more
    type: file_generation
    files:
      - path: "docs/{{ params.name }}.md"
        content: "# {{ params.name }}\\nRun {{ run.id }}\\n"
  - id: publish
    type: repo_creation
    target: "{{ params.target }}"
    connection: "{{ params.connection }}"
""",
    "tree.yaml": """\
id: tree
title: One tree from all there is
params:
  name: {type: string, default: tree}
steps:
  - id: models
    type: api_call
    agent: test_agent
    operation: generateModels
    body: {document: "{{ params.name }}"}
  - id: house
    type: file_generation
    template:
      - {template: service, values: {name: "{{ params.name }}"}}
      - {template: "git+GIT_URL/topics.git@v1.0.0", values: {topic: "{{ params.name }}"}, into: docs}
      - {template: cut, values: {project: "{{ params.name }}"}, into: cut}
    template_connection: test_git
  - id: code
    type: file_generation
    into: src
    on_conflict: theirs
    files:
      - "{{ steps.models.output.files }}"
      - {path: YEAR, content: "{{ run.year }}."}
  - id: tidy
    type: file_generation
    move: [{from: docs/topic.md, to: TOPIC.md}]
    delete: ["*.tmp"]
  - id: publish
    type: repo_creation
    target: archive
""",
    "publishing.yaml": """\
id: publishing
params:
  name: {type: string, default: publishing}
  last: {type: string, default: archive}
steps:
  - id: files
    type: file_generation
    files: [{path: README.md, content: "# {{ params.name }}\\n"}]
  - {id: zip, type: repo_creation, target: archive, needs: [files], options: {bundle: true}}
  - {id: plain, type: repo_creation, target: git, connection: test_git, needs: [files]}
  - id: hub
    type: repo_creation
    target: github
    connection: test_github
    identity: test_identity
    rollback: true
    needs: [files]
    options:
      owner: acme
      description: "{{ params.name }}, by {{ run.user }}"
      topics: [made]
      secrets: {TOKEN: {connection: test_agent}}
  - {id: last, type: repo_creation, target: "{{ params.last }}", needs: [zip, plain, hub], options: {format: tar.zst}}
""",
    "trusting.yaml": """\
id: trusting
steps:
  - id: hooked
    type: file_generation
    template: hooked
    trust: true
""",
    "kinds.yaml": KINDS,
    "kinds_again.yaml": KINDS.replace("id: kinds", "id: kinds_again").replace(
        "type: api_call", "type: api_call, replay: always"
    ),
    "job.yaml": """\
id: job
params:
  name: {type: string, default: job}
steps:
  - id: build
    type: api_call
    agent: test_jobs
    method: POST
    path: /jobs
    body: {name: "{{ params.name }}"}
    job: {state: /status, result: /result, poll_seconds: 0.2}
  - id: files
    type: file_generation
    files: [{path: build.txt, content: "{{ steps.build.output.job }}"}]
""",
    "patient.yaml": """\
id: patient
params:
  name: {type: string, default: patient}
steps:
  - id: models
    type: api_call
    agent: test_agent
    operation: generateModels
    body: {document: "{{ params.name }}"}
    replay: never
  - id: files
    type: file_generation
    files: "{{ steps.models.output.files }}"
""",
    "broken.yaml": "id: broken\nsteps:\n  - id: one\n    type: api_cal\n",
}


# Tasks that are mapped over what other tasks give them.
MAPPED_DAG = """
from airflow.sdk import DAG, task
from scaffolder.operators import FileGenerationOperator

@task
def split():
    return [[{"path": f"{name}.txt", "content": "{{ 7*7 }} {{ conn.test_git.password }}"}] for name in "ab"]

@task
def tell():
    return [{"files": [{"path": "c.txt", "content": "{{ 7*7 }}"}]}]

with DAG("mapped", schedule=None):
    first = FileGenerationOperator.partial(task_id="first", into="{{ 'in' + 'to' }}").expand(files=split())
    second = FileGenerationOperator.partial(task_id="second", into="{{ 3*3 }}").expand_kwargs(tell())

    @task
    def hint():
        return {"files": [{"path": "d.txt", "content": "{{ 7*7 }}"}]}

    third = FileGenerationOperator.partial(task_id="third").expand_kwargs([hint()])
    first >> second >> third
"""

# A DAG of somebody who wants to hear of what is ready and exported.
HEARING_DAG = """
from airflow.sdk import DAG, task
from scaffolder.operators.assets import GENERATED_PROJECT_READY, REPOSITORY_EXPORTED

with DAG("hearing", schedule=(GENERATED_PROJECT_READY | REPOSITORY_EXPORTED)):
    @task
    def hear(triggering_asset_events=None):
        return [event.extra | {"asset": asset.name} for asset, events in triggering_asset_events.items() for event in events]
    hear()
"""

# One of our own that extends another, one for Copier (from git) and two for Cookiecutter.
TEMPLATES = {
    "house/template.yaml": 'name: house\nversion: "2"\nvalues: {properties: {owner: {default: platform}}}\n',
    "house/LICENSE.jinja": "(c) {{ run.year }} {{ owner }}\n",
    "service/template.yaml": """\
name: service
version: "1"
extends: house
values:
  properties:
    name: {type: string}
    package: {type: string, default: "{{ name | snake }}"}
conditions: {"docker/": "name != 'tree'"}
""",
    "service/src/{{ package }}.py.jinja": "NAME = {{ name | to_json }}\n",
    "service/src/app.py": "replaced by the agent's\n",
    "service/left.tmp": "",
    "service/docker/Dockerfile": "FROM x\n",
    "cut/cookiecutter.json": '{"project": "x"}',
    "cut/{{cookiecutter.project}}/readme.txt": "{{ cookiecutter.project | upper }}\n",
    "hooked/cookiecutter.json": '{"project": "x"}',
    "hooked/hooks/post_gen_project.sh": "#!/bin/sh\ntouch hooked\n",
    "hooked/{{cookiecutter.project}}/a": "a",
}
COPIED = {
    "copier.yml": "topic: {type: str}\n",
    "topic.md.jinja": "# {{ topic }}\n",
    "{{ _copier_conf.answers_file }}.jinja": "{{ _copier_answers|to_nice_yaml }}",
}


@dataclass
class Live:
    """A running Airflow, and short ways to run workflows on it and look at what came of them."""

    airflow: LocalAirflow
    records_postgres: EmbeddedPostgres
    agent: AgentServer
    git: GitServer
    github: GithubPeer
    settings: Settings
    workflows_dir: Path
    metrics: socket.socket
    traces: OtlpReceiver
    runs: dict[str, str] = field(default_factory=dict)

    @property
    def rest(self) -> AirflowRest:
        return self.airflow.rest

    def run(self, dag_id: str, *, timeout_seconds: float = 120, **conf: Any) -> Run:
        """Trigger a run and wait for its end."""
        return self.start(dag_id, **conf).wait(timeout_seconds=timeout_seconds)

    def log_in(self, username: str) -> httpx2.Client:
        """Return a client of the API server with the user's token."""
        login = {"username": username, "password": self.airflow.settings.passwords[username]}
        token = httpx2.post(f"{self.airflow.url}/auth/token", json=login).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        return httpx2.Client(base_url=self.airflow.url, headers=headers, timeout=60)

    def start_as(self, username: str, dag_id: str, **conf: Any) -> Run:
        """Trigger a run as one of the users."""
        self.rest.wait_for_dag(dag_id)
        with self.log_in(username) as client:
            answer = client.post(f"/api/v2/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf})
        assert answer.status_code == 200, answer.text
        return Run(self, dag_id, answer.json()["dag_run_id"])

    def start(self, dag_id: str, **conf: Any) -> Run:
        self.rest.wait_for_dag(dag_id)
        return Run(self, dag_id, self.rest.trigger(dag_id, conf=conf))


@dataclass
class Run:
    """One run of a DAG."""

    live: Live
    dag_id: str
    run_id: str

    def wait(self, *, timeout_seconds: float = 120) -> Run:
        self.live.rest.wait_for_run(self.dag_id, self.run_id, timeout_seconds=timeout_seconds)
        return self

    @property
    def state(self) -> str:
        return self.live.rest.run_state(self.dag_id, self.run_id)

    @property
    def tasks(self) -> dict[str, str | None]:
        return {task.task_id: task.state for task in self.live.rest.task_instances(self.dag_id, self.run_id)}

    def tries(self, task_id: str) -> int:
        tasks = self.live.rest.task_instances(self.dag_id, self.run_id)
        return next(task.try_number for task in tasks if task.task_id == task_id)

    def log(self, task_id: str) -> str:
        tasks = self.live.rest.task_instances(self.dag_id, self.run_id)
        task = next(task for task in tasks if task.task_id == task_id)
        return "\n".join(self.live.rest.task_log(self.dag_id, self.run_id, task))

    def read(self, what: str) -> Any:
        """Read ``generated_project``, ``files``, ``agent_calls``, ``exports`` or ``events`` from the records."""
        with psycopg.connect(self.live.records_postgres.url("scaffolder"), autocommit=True) as connection:
            records = ProjectRecords(connection)
            found = records.find_generated_project(self.dag_id, self.run_id)
            if what == "generated_project":
                return found
            assert found is not None
            if what in ("agent_calls", "exports"):
                return getattr(records, what).list(found.id)
            return getattr(records, f"list_{what}")(found.id)

    @property
    def generated_project(self) -> GeneratedProject:
        found: GeneratedProject = self.read("generated_project")
        assert found is not None
        return found

    @property
    def repository(self) -> ProjectRepository:
        return get_repository(self.generated_project.id, settings=self.live.settings)


def read_log(live: Live, run: Run, task_id: str) -> list[dict[str, Any]]:
    """Return the lines of the log of a task's first try with all their fields, as the UI gets them."""
    answer = live.rest.call(
        "GET",
        f"/api/v2/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{task_id}/logs/1",
        params={"full_content": True},
        headers={"Accept": "application/json"},
    )
    content: list[dict[str, Any]] = answer["content"]
    return content


@pytest.fixture(scope="session")
def live() -> Iterator[Live]:
    root = Path(tempfile.mkdtemp(prefix="scaffolder-live-"))
    root.chmod(0o711)
    workflows, dags, git_root = root / "workflows", root / "dags", root / "git"
    shutil.copytree(CHECKOUT / "include" / "workflows", workflows)
    shutil.copytree(CHECKOUT / "dags", dags, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "examples" / "own_dag.py", dags)
    (dags / "mapped.py").write_text(MAPPED_DAG)
    (dags / "hearing.py").write_text(HEARING_DAG)
    git_root.mkdir()
    (root / "github").mkdir()
    _write_files(root / "templates", TEMPLATES)
    shutil.copytree(CHECKOUT / "include" / "templates", root / "templates", dirs_exist_ok=True)
    records_postgres = EmbeddedPostgres(root / "records")
    records_postgres.start()
    try:
        with (
            serve_agent() as agent,
            serve_git(git_root) as git,
            serve_github(root / "github") as github,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as metrics,
            serve_otlp() as traces,
        ):
            metrics.bind(("127.0.0.1", 0))
            for name, text in WORKFLOWS.items():
                (workflows / name).write_text(text.replace("GIT_URL", git.url))
            publish_template(git, "topics", COPIED, tag="v1.0.0")
            settings = Settings(
                generated_projects_dir=root / "generated-projects", workflows_dir=workflows, include_shipped=False
            )
            airflow = LocalAirflow(
                root / "state",
                dags_folder=dags,
                plugins_folder=CHECKOUT / "plugins",
                generated_projects_dir=settings.generated_projects_dir,
                include_folder=CHECKOUT / "include",
                users={"admin": "admin", "ada": "user", "bob": "user", "vera": "viewer"},
                environment=_environment(records_postgres, workflows)
                | {
                    "SCAFFOLDER_TEMPLATES_DIR": str(root / "templates"),
                    "SCAFFOLDER_INCLUDE_SHIPPED": "false",
                    "SCAFFOLDER_ALLOWED_TEMPLATES": f"*,{git.url}/*",
                    "SCAFFOLDER_CACHE_DIR": str(CACHE),
                    "AIRFLOW__METRICS__STATSD_ON": "True",
                    "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
                    "AIRFLOW__METRICS__STATSD_PORT": str(metrics.getsockname()[1]),
                    "AIRFLOW__METRICS__METRICS_ALLOW_LIST": "scaffolder",
                    "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True",
                    "AIRFLOW__TRACES__OTEL_ON": "True",
                    "OTEL_TRACES_EXPORTER": "otlp_proto_http",
                    "OTEL_EXPORTER_OTLP_ENDPOINT": traces.url,
                    # No DAG changes, and the processors have better to do than to look.
                    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "300",
                    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
                },
                migrate_records=None,
            )
            records_postgres.create_database("scaffolder")
            _migrate(records_postgres)
            with airflow:
                found = Live(airflow, records_postgres, agent, git, github, settings, workflows, metrics, traces)
                _put_connections(found)
                yield found
    finally:
        records_postgres.stop()
        if os.environ.get("SCAFFOLDER_TEST_KEEP") != "1":
            shutil.rmtree(root, ignore_errors=True)


def _write_files(directory: Path, files: dict[str, str]) -> None:
    for path, content in files.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_text(content)


def publish_template(git: GitServer, name: str, files: dict[str, str], *, tag: str) -> str:
    """Put `files` into a new repository of `git` and tag them; return the commit's id."""
    bare = git.create(name)
    with tempfile.TemporaryDirectory() as directory:
        _write_files(Path(directory), files)

        def run(*arguments: str) -> str:
            command = ["git", "-C", directory, "-c", "user.name=ada", "-c", "user.email=ada@x", *arguments]
            return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

        run("init", "-q", "-b", "main")
        run("add", ".")
        run("commit", "-q", "-m", "templates")
        run("tag", tag)
        run("push", "-q", str(bare), "main", tag)
        return run("rev-parse", "HEAD")


def _environment(records_postgres: EmbeddedPostgres, workflows: Path) -> dict[str, str]:
    connection = {
        "conn_type": "postgres",
        "host": str(records_postgres.socket_directory),
        "port": 5432,
        "login": "postgres",
        "schema": "scaffolder",
    }
    return {
        "AIRFLOW_CONN_SCAFFOLDER_DB": json.dumps(connection),
        "SCAFFOLDER_WORKFLOWS_DIR": str(workflows),
        "SCAFFOLDER_STEP_RETRIES": "2",
        "SCAFFOLDER_STEP_RETRY_DELAY_SECONDS": "1",
        "SCAFFOLDER_AGENT_TIMEOUT_SECONDS": "60",
        "SCAFFOLDER_AGENT_TRIES": "2",
        "SCAFFOLDER_AGENT_MAX_WAIT_SECONDS": "1",
        "SCAFFOLDER_EXPORT_TIMEOUT_SECONDS": "10",
        "SCAFFOLDER_EXPORT_MAX_WAIT_SECONDS": "1",
        "SCAFFOLDER_EXPORT_CONNECTIONS": "test_*",
        "SCAFFOLDER_GITHUB_WRITE_INTERVAL_SECONDS": "0",
        # Agents that are down in one test are needed by the next.
        "SCAFFOLDER_AGENT_CIRCUIT_FAILURES": "1000",
    }


def _migrate(records_postgres: EmbeddedPostgres) -> None:
    from sqlalchemy import make_url

    from scaffolder.records import schema

    schema.migrate(make_url(records_postgres.url("scaffolder", driver="psycopg")))


def _put_connections(live: Live) -> None:
    put = live.rest.put_connection
    settings = live.airflow.settings
    put("demo_agent", conn_type="agent_api", host=settings.agent_url, password=settings.agent_token)
    put("test_agent", conn_type="agent_api", host=live.agent.url, password=live.agent.token)
    put("wrong_token_agent", conn_type="agent_api", host=live.agent.url, password="wrong-t0ken-5e6f")
    put("down_agent", conn_type="agent_api", host="http://127.0.0.1:9", password="x")
    put(
        "test_git",
        conn_type="git_remote",
        host=f"{live.git.url}/{{name}}.git",
        login=live.git.username,
        password=live.git.password,
    )
    put("test_github", conn_type="github", host=live.github.api_url, password=live.github.token)
    put("prod_github", conn_type="github", host=live.github.api_url, password=live.github.token)
    put(
        "test_identity",
        conn_type="commit_identity",
        login="Release Bot",
        extra=json.dumps({"email": "bot@acme.example"}),
    )


@pytest.fixture(scope="session")
def chromium() -> Iterator[WebDriver]:
    driver = start_chromium()
    yield driver
    driver.quit()


@pytest.fixture
def browser(live: Live, chromium: WebDriver, tmp_path: Path) -> Iterator[Browser]:
    """A browser in which admin has logged in; it downloads into the test's directory."""
    browser = Browser(chromium, live.airflow.url, downloads=tmp_path)
    try:
        browser.log_in("admin", live.airflow.settings.passwords["admin"])
        yield browser
    finally:
        browser.leave()
