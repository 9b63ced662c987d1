"""docker-compose.yaml, run: Celery workers, FAB's users, Postgres and Redis, each service with what the file gives it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from compose.secret_files import SECRETS
from local_airflow.airflow_rest import AirflowRest, wait_until
from tests.compose_stack import ComposeStack, find_obstacle
from tests.conftest import CHECKOUT
from tests.containers import Container
from tests.documents import read_commands
from tests.installation import installed_environment

OPENAPI = (CHECKOUT / "examples/openapi/bookings.yaml").read_text()
API = "/scaffolder/api/v1"

# Waits that are minutes by default: how long a worker is thought alive, and a step waits for its retry.
PATIENCE = {
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "8",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "2",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
    "SCAFFOLDER_STEP_RETRY_DELAY_SECONDS": "1",
}
AIRFLOW_SERVICES = ("api-server", "scheduler", "dag-processor", "triggerer", "worker")


OBSTACLE = find_obstacle()
# .ci/run sets this where it has installed what they need.
assert not (OBSTACLE and os.environ.get("SCAFFOLDER_TEST_SERVICES")), OBSTACLE
pytestmark = [
    pytest.mark.skipif(bool(OBSTACLE), reason=f"the services cannot run: {OBSTACLE}"),
    pytest.mark.timeout(600),
]


class Stack(ComposeStack):
    """The services, and those who use them."""

    url: str

    def log_in(self, username: str, password: str) -> AirflowRest:
        return AirflowRest(self.url, username=username, password=password)

    def secret(self, name: str) -> str:
        return self.volume(f"secrets-{SECRETS[name].directory}").joinpath(name).read_text()

    def query(self, database: str, statement: str, *, user: str = "postgres") -> subprocess.CompletedProcess[str]:
        postgres = self.find("postgres")[0]
        return postgres.run(
            ["psql", "--no-psqlrc", "--tuples-only", "--no-align", "--username", user, "--dbname", database,
             "--host", "/run/postgresql", "--command", statement]
        )  # fmt: skip


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    override = {"services": {name: {"environment": PATIENCE} for name in AIRFLOW_SERVICES}}
    with Stack(
        tmp_path_factory.mktemp("compose"),
        programs=installed_environment(tmp_path_factory),
        override=override,
        scale={"worker": 2},
        profiles={"demo", "flower"},
    ) as stack:
        stack.up()
        stack.url = f"http://127.0.0.1:{stack.publish('api-server')}"
        yield stack


@pytest.fixture(scope="module")
def admin(stack: Stack) -> Iterator[AirflowRest]:
    shown = stack.run("secrets", "show", "admin_password")
    assert shown.returncode == 0, shown.stdout
    with stack.log_in("admin", shown.stdout.strip()) as rest:
        rest.wait_for_dag("openapi_service")
        yield rest


@pytest.fixture(scope="module")
def dora(stack: Stack, admin: AirflowRest) -> Iterator[AirflowRest]:
    """A user with FAB's role User."""
    add_user(admin, "dora", role="User")
    with stack.log_in("dora", "dora's own password") as rest:
        rest.call("POST", f"{API}/projects", json={"slug": "bookings", "name": "Bookings"})
        yield rest


def running(stack: Stack) -> dict[str, Container]:
    return {name: one for name, one in stack.containers.items() if one.process and one.process.poll() is None}


def add_user(admin: AirflowRest, name: str, *, role: str) -> None:
    admin.call(
        "POST",
        "/auth/fab/v1/users",
        json={
            "username": name,
            "password": f"{name}'s own password",
            "email": f"{name}@example.org",
            "first_name": name,
            "last_name": "Tester",
            "roles": [{"name": role}],
        },
    )


def generate(rest: AirflowRest, name: str) -> dict[str, Any]:
    return rest.call(
        "POST",
        f"{API}/projects/bookings/generated",
        json={"workflow": "openapi_service", "params": {"name": name, "document": OPENAPI}},
        headers={"Idempotency-Key": name},
    )


def read(rest: AirflowRest, generated: dict[str, Any]) -> dict[str, Any]:
    return rest.call("GET", f"{API}/projects/bookings/generated/{generated['id']}")


def wait_until_over(rest: AirflowRest, generated: dict[str, Any], *, timeout: float = 120) -> dict[str, Any]:
    assert wait_until(
        lambda: read(rest, generated)["status"] not in ("pending", "generating"), timeout_seconds=timeout
    ), read(rest, generated)
    return read(rest, generated)


def find_hosts(rest: AirflowRest, generated: dict[str, Any]) -> dict[str, str]:
    """Return which worker each task ran on."""
    run = generated["run"]
    answer = rest.get(f"/dags/{run['dag_id']}/dagRuns/{run['run_id']}/taskInstances")
    return {one["task_id"]: one["hostname"] for one in answer["task_instances"] if one["hostname"]}


@pytest.fixture(scope="module")
def two(dora: AirflowRest) -> list[dict[str, Any]]:
    """Two projects that were generated at the same time."""
    started = [generate(dora, name) for name in ("rooms", "tables")]
    return [wait_until_over(dora, one) for one in started]


def test_a_user_generates_two_projects_at_once(stack: Stack, dora: AirflowRest, two: list[dict[str, Any]]) -> None:
    assert [one["status"] for one in two] == ["ready", "ready"], (two, stack.tell_logs("worker"))
    assert [one["created_by"] for one in two] == ["dora", "dora"]
    assert all(set(find_hosts(dora, one).values()) <= {"worker-1", "worker-2"} for one in two)
    # The same request again starts nothing.
    assert generate(dora, "rooms")["id"] == two[0]["id"]


def test_an_export_is_downloaded_as_it_was_recorded(dora: AirflowRest, two: list[dict[str, Any]]) -> None:
    path = f"{API}/projects/bookings/generated/{two[0]['id']}/exports"
    dora.call("POST", path, json={"exports": [{"target": "archive", "options": {"format": "zip"}}]})

    def exports() -> list[dict[str, Any]]:
        return dora.call("GET", path)["items"]

    assert wait_until(
        lambda: len(exports()) == 2 and all(one["status"] == "exported" for one in exports()), timeout_seconds=60
    ), exports()
    newest = max(exports(), key=lambda one: one["created_at"])
    content = dora.request("GET", f"{path}/{newest['id']}/archive").content
    assert hashlib.sha256(content).hexdigest() == newest["archive_sha256"]
    assert any(name.endswith("/README.md") for name in zipfile.ZipFile(io.BytesIO(content)).namelist())


def test_who_may_not_is_refused(stack: Stack, admin: AirflowRest, dora: AirflowRest, two: list[dict[str, Any]]) -> None:
    add_user(admin, "egon", role="User")
    add_user(admin, "vera", role="Viewer")
    with stack.log_in("egon", "egon's own password") as egon, stack.log_in("vera", "vera's own password") as vera:
        assert egon.request("GET", f"{API}/projects/bookings/generated/{two[0]['id']}").status_code == 404
        body = {"logical_date": None, "conf": {"name": "mine", "document": OPENAPI}}
        assert vera.request("POST", "/api/v2/dags/openapi_service/dagRuns", json=body).status_code == 403
        # Airflow lets him trigger the workflow; the project does not have him.
        run = egon.trigger("openapi_service", conf={"project": "bookings", "name": "mine", "document": OPENAPI})
        assert egon.wait_for_run("openapi_service", run, timeout_seconds=60) == "failed"
    wrong = dora.request(
        "POST",
        f"{API}/projects/bookings/generated",
        json={"workflow": "openapi_service", "params": {"name": "No Name", "document": OPENAPI}},
    )
    assert wrong.status_code == 422
    assert "'No Name'" in wrong.text


@contextmanager
def asking(stack: Stack, rest: AirflowRest, name: str) -> Iterator[tuple[dict[str, Any], Container]]:
    """Generate a project; its first step waits for the agent, on the worker that is told, until the block ends."""
    agent = stack.find("demo-agent")[0]
    try:
        for pid in agent.pids():
            os.kill(pid, signal.SIGSTOP)
        generated = generate(rest, name)
        assert wait_until(lambda: "models" in find_hosts(rest, generated), timeout_seconds=60), stack.tell_logs()
        time.sleep(1)
        host = find_hosts(rest, generated)["models"]
        yield generated, next(one for one in stack.find("worker") if one.hostname == host)
    finally:
        for pid in agent.pids():
            os.kill(pid, signal.SIGCONT)


def find_tries(rest: AirflowRest, generated: dict[str, Any]) -> dict[str, int]:
    run = generated["run"]
    return {one.task_id: one.try_number for one in rest.task_instances(run["dag_id"], run["run_id"])}


def test_a_worker_that_is_stopped_finishes_what_it_runs(stack: Stack, dora: AirflowRest) -> None:
    with asking(stack, dora, "lobbies") as (generated, worker):
        worker.stop()
        time.sleep(2)
    assert worker.wait(60) == 0, stack.tell_logs("worker")
    ended = wait_until_over(dora, generated)
    assert ended["status"] == "ready", (ended, stack.tell_logs("worker"))
    assert set(find_tries(dora, generated).values()) == {1}
    hosts = find_hosts(dora, generated)
    assert hosts["models"] == worker.hostname
    assert hosts["publish"] != worker.hostname
    stack.restart(worker)


def test_a_step_whose_worker_dies_is_done_by_the_other(stack: Stack, dora: AirflowRest) -> None:
    with asking(stack, dora, "halls") as (generated, victim):
        victim.kill()
    ended = wait_until_over(dora, generated, timeout=180)
    assert ended["status"] == "ready", (ended, stack.tell_logs("worker", "scheduler"))
    assert find_tries(dora, generated)["models"] == 2
    assert find_hosts(dora, generated)["models"] == ({"worker-1", "worker-2"} - {victim.hostname}).pop()
    # One commit for each step that writes, and one export.
    commits = dora.call("GET", f"{API}/projects/bookings/generated/{generated['id']}/commits")["items"]
    exports = dora.call("GET", f"{API}/projects/bookings/generated/{generated['id']}/exports")["items"]
    assert (len(commits), len(exports)) == (1, 1)
    # As the restart policy says.
    stack.restart(victim)


def test_a_clean_up_removes_what_is_old(
    stack: Stack, admin: AirflowRest, dora: AirflowRest, two: list[dict[str, Any]]
) -> None:
    old = two[1]
    aged = stack.query(
        "scaffolder", f"UPDATE generated_project SET ended_at = ended_at - interval '60 days' WHERE id = '{old['id']}'"
    )
    assert aged.stdout.strip() == "UPDATE 1", aged
    kept, gone = (sorted(stack.volume("generated-projects").glob(f"**/{one['id']}")) for one in two)
    assert len(kept) == len(gone) == 1
    run = admin.trigger("cleanup_generated_projects")
    assert admin.wait_for_run("cleanup_generated_projects", run, timeout_seconds=60) == "success"
    assert read(dora, old)["status"] == "deleted"
    assert not gone[0].exists()
    assert kept[0].exists()


def test_flower_asks_for_a_password(stack: Stack) -> None:
    stack.wait_until_healthy("flower")
    flower = stack.find("flower")[0]
    show = ["curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "http://localhost:5555/workers"]
    assert flower.run(show).stdout == "401"
    assert flower.run([*show, "--user", f"admin:{stack.secret('admin_password')}"]).stdout == "200"


def test_each_service_sees_its_own_secrets_only(stack: Stack) -> None:
    seen = {
        name: sorted(stack.find(name)[0].run(["sh", "-c", "ls /run/scaffolder"]).stdout.split())
        for name in ("postgres", "redis", "api-server", "worker", "demo-agent")
    }
    assert seen == {
        "postgres": ["postgres"],
        "redis": ["redis"],
        # The image has all the directories; what is not mounted is empty.
        "api-server": sorted({one.directory for one in SECRETS.values()} | {"connections"}),
        "worker": sorted({one.directory for one in SECRETS.values()} | {"connections"}),
        "demo-agent": sorted({one.directory for one in SECRETS.values()} | {"connections"}),
    }
    files = stack.find("worker")[0].run(["sh", "-c", "cd /run/scaffolder && find . -type f | sort"]).stdout.split()
    assert files == [
        "./connections/connections.json", "./redis/broker_url", "./redis/redis_password", "./redis/result_backend"
    ]  # fmt: skip
    # What others run with Airflow's keys, tasks cannot write.
    for path in (
        "/run/scaffolder/redis/x",
        "/opt/airflow/dags/x.py",
        "/opt/airflow/workflows/x",
        "/opt/airflow/templates/x",
    ):
        refused = stack.find("worker")[0].run(["sh", "-c", f"echo x > {path}"])
        assert "Read-only file system" in refused.stderr, path
    as_scaffolder = stack.query("airflow", "SELECT 1", user="scaffolder")
    assert "permission denied for database" in as_scaffolder.stderr


def test_services_run_as_users_without_rights(stack: Stack) -> None:
    for name, container in running(stack).items():
        for pid in set(container.pids()) - {container.first_pid}:  # the first one stands for the engine
            with suppress(OSError):  # it may have ended
                status = Path(f"/proc/{pid}/status").read_text()
                assert re.search(r"^Uid:\s+[1-9]", status, re.MULTILINE), name
                assert re.search(r"^CapBnd:\s+0+$", status, re.MULTILINE), name
                assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE), name


def test_every_service_is_healthy_by_its_own_check(stack: Stack) -> None:
    for _ in range(6):
        found = stack.check_health()
        if all(found.values()):
            break
        time.sleep(2)
    assert found == dict.fromkeys(set(stack.services) - {"secrets", "init"}, True)


def test_no_secret_is_anywhere_but_in_its_file(stack: Stack, two: list[dict[str, Any]]) -> None:
    """Neither in logs, records, XComs, repositories and archives, nor in environments and command lines."""
    secrets = {name: stack.secret(name).encode() for name in SECRETS}
    places = [path for path in (stack.directory / "volumes").iterdir() if not path.name.startswith("secrets-")]
    texts = {
        str(path.relative_to(stack.directory)): path.read_bytes()
        for place in [*places, stack.directory / "logs"]
        for path in place.rglob("*")
        if path.is_file()
    }
    for name, container in running(stack).items():
        for pid in container.pids():
            for what in ("environ", "cmdline"):
                with suppress(OSError):  # it may have ended
                    texts[f"{name} {pid} {what}"] = Path(f"/proc/{pid}/{what}").read_bytes()
    for name in ("airflow", "scaffolder"):
        dumped = stack.find("postgres")[0].run(
            ["pg_dump", "--username", "postgres", "--host", "/run/postgresql", "--inserts", name]
        )
        assert dumped.returncode == 0, dumped.stderr
        texts[f"dump of {name}"] = dumped.stdout.encode()
    for path in [name for name in texts if name.endswith(".zip")]:
        archive = zipfile.ZipFile(io.BytesIO(texts[path]))
        texts |= {f"{path}:{one}": archive.read(one) for one in archive.namelist()}
    assert sum(name.endswith(".zip") for name in texts) >= 2
    assert any(name.startswith("volumes/logs/") for name in texts)
    assert any(name.startswith("postgres-1") and name.endswith("environ") for name in texts)
    found = [(secret, name) for name, text in texts.items() for secret, value in secrets.items() if value in text]
    assert found == []


def test_a_second_start_changes_nothing_that_is_there(stack: Stack) -> None:
    before = {name: stack.secret(name) for name in SECRETS}
    again = stack.run("secrets", "secrets")
    assert (again.returncode, again.stdout.strip()) == (0, "All secrets are there.")
    assert {name: stack.secret(name) for name in SECRETS} == before
    for command in ("databases", "administrator"):
        done = stack.run("init", f"python -m compose {command}")
        assert done.returncode == 0, done.stdout
    assert "User admin is there." in done.stdout


def test_a_password_is_made_anew_and_the_databases_learn_it(stack: Stack) -> None:
    before = json.loads((stack.volume("secrets-connections") / "connections.json").read_text())
    assert stack.run("secrets", "renew", "scaffolder_database_password").returncode == 0
    after = json.loads((stack.volume("secrets-connections") / "connections.json").read_text())
    assert before["scaffolder_db"]["password"] != after["scaffolder_db"]["password"]
    assert stack.run("init", "python -m compose databases").returncode == 0
    checked = stack.find("worker")[0].run(["scaffolder", "db", "check"])
    assert checked.returncode == 0, checked


# Stands for the program of that name: `compose exec` goes into the service's container, `compose run` into an idle one.
DOCKER = """\
#!/bin/sh
set -eu
verb=$2 entrypoint=
shift 2
while [ "${1#-}" != "$1" ]; do
    if [ "$1" = --entrypoint ]; then shift; entrypoint=$1; fi
    shift
done
service=$1
shift
exec "$(dirname "$0")/$verb-$service" $entrypoint "$@"
"""


def test_a_back_up_comes_back_by_the_commands_of_the_page(
    stack: Stack, dora: AirflowRest, two: list[dict[str, Any]], tmp_path: Path
) -> None:
    def shell(commands: str, **containers: Container) -> None:
        programs = {name.replace("_", "-"): shlex.join(one.entry) for name, one in containers.items()}
        for name, command in programs.items():
            (tmp_path / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (tmp_path / "docker").write_text(DOCKER)
        for name in ("docker", *programs):
            (tmp_path / name).chmod(0o755)
        environment = os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(
            ["sh", "-euxc", commands], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    back_up, restore = read_commands("deployment.md", "Upgrade, back-up, removal")
    numbers = read_commands("operations.md", "Restore")[0].splitlines()[-1]
    [statement] = re.findall(r'--command="(.*)"', numbers)
    postgres = stack.find("postgres")[0]
    shell(back_up, exec_postgres=postgres, exec_worker=stack.find("worker")[0])
    for name, container in running(stack).items():
        if not name.startswith("postgres-"):
            container.kill()
    projects = stack.volume("generated-projects")
    before = sorted(path.name for path in projects.iterdir() if path.name != ".trash")
    for path in projects.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    stack.query("airflow", "DELETE FROM dag_run")
    with stack.idle("worker") as idle:
        shell(restore, exec_postgres=postgres, run_worker=idle)
        assert stack.query("scaffolder", statement, user="scaffolder").returncode == 0
        assert stack.run("init", "python -m compose databases").returncode == 0
        assert "permission denied" in stack.query("airflow", "SELECT 1", user="scaffolder").stderr
        assert int(stack.query("airflow", "SELECT count(*) FROM dag_run", user="airflow").stdout) >= len(two)
        assert sorted(path.name for path in projects.iterdir()) == before
        looked = idle.run(["scaffolder", "doctor", "--deep"])
        assert looked.returncode == 0, looked
        shown = json.loads(idle.run(["scaffolder", "show", "--json", two[0]["id"]]).stdout)
    assert shown["generated_project"]["status"] == "ready"
    assert {one["status"] for one in shown["exports"]} == {"exported"}
