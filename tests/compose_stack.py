"""docker-compose.yaml without a container engine: its services with their commands, environments and volumes.

Docker Compose itself reads the file (`docker-compose config`); what runs is what it says. In place of images stand this
machine's programs: Postgres and Redis as they are installed, and for our own image an environment into which the
pinned requirements and the wheel were installed, as the Dockerfile does.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from tests import containers
from tests.containers import Container, Network

CHECKOUT = Path(__file__).resolve().parent.parent
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What stands for the script of that name in Postgres' image: it makes the cluster where there is none.
_ENSURE_INITDB = """\
#!/bin/sh
set -e
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --username=postgres --pwfile="$POSTGRES_PASSWORD_FILE" --auth-host=scram-sha-256 --auth-local=trust >/dev/null
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    echo "listen_addresses = '*'" >>"$PGDATA/postgresql.conf"
    echo "unix_socket_directories = '/run/postgresql'" >>"$PGDATA/postgresql.conf"
fi
"""


def find_obstacle() -> str | None:
    """Return why the services cannot run here, or None."""
    for program in ("docker-compose", "redis-server", "redis-cli"):
        if not shutil.which(program):
            return f"{program} is not installed"
    if not _find_postgres():
        return "postgresql is not installed"
    return containers.find_obstacle()


def read_compose_file(*overrides: Path, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return what Docker Compose makes of the file; raises AssertionError with what it says against it."""
    files = [argument for path in (CHECKOUT / "docker-compose.yaml", *overrides) for argument in ("--file", str(path))]
    printed = subprocess.run(
        ("docker-compose", "--project-directory", str(CHECKOUT), *files, "config"),
        cwd=CHECKOUT,
        env={"PATH": _PATH, "HOME": "/nonexistent", **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert printed.returncode == 0, printed.stderr
    # It prints a compose file again, in which a dollar sign is written as two.
    configuration: dict[str, Any] = yaml.safe_load(printed.stdout.replace("$$", "$"))
    return configuration


def read_profiles() -> set[str]:
    """Return the profiles that .env turns on."""
    found = re.search(r"^COMPOSE_PROFILES=(.*)$", (CHECKOUT / ".env").read_text(), re.MULTILINE)
    return set(filter(None, found[1].split(","))) if found else set()


@dataclass(frozen=True, kw_only=True)
class _Image:
    """What an image brings to a container: a user, directories of another, variables, and how it starts."""

    user: str
    owner: str
    working_directory: str
    directories: tuple[str, ...]
    environment: dict[str, str]
    entrypoint: tuple[str, ...] = ()
    mounts: tuple[tuple[str, str, str], ...] = ()


class ComposeStack:
    """The services, started in the order and on the conditions that the file gives; use as a context manager."""

    def __init__(
        self,
        directory: Path,
        *,
        programs: Path,
        override: Mapping[str, Any] | None = None,
        environment: Mapping[str, str] | None = None,
        scale: Mapping[str, int] | None = None,
        profiles: Iterable[str] | None = None,
    ) -> None:
        """Volumes and logs are kept below `directory`; `programs` is the ``bin`` that our image has Airflow in."""
        self.directory = directory
        self.network = Network()
        self.containers: dict[str, Container] = {}
        overrides = []
        if override:
            overrides.append(directory / "override.yaml")
            overrides[0].write_text(json.dumps({"version": "3.9", **override}), encoding="utf-8")
        self._configuration = read_compose_file(*overrides, environment=environment)
        self._scale = dict(scale or {})
        self._profiles = read_profiles() if profiles is None else set(profiles)
        self._images = _describe_images(programs, scripts=directory / "scripts")
        self._users = _find_users()
        self._runs = 0
        self._hosts = directory / "hosts"
        self._passwords = directory / "passwd"
        (directory / "logs").mkdir()
        (directory / "volumes").mkdir()

    def __enter__(self) -> Self:
        self.network.__enter__()
        try:
            self._passwords.write_text(
                Path("/etc/passwd").read_text() + "airflow:x:50000:0:Airflow:/home/airflow:/bin/bash\n"
            )
            for service in self.services:
                self._prepare(service)
            names = [f"{one.address}\t{one.hostname} {service}" for service, one in self._each()]
            self._hosts.write_text("127.0.0.1\tlocalhost\n" + "\n".join(names) + "\n")
        except BaseException:
            self.network.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for container in self.containers.values():
            container.kill()
        self.network.__exit__()

    @property
    def services(self) -> dict[str, Any]:
        """The services that ``docker compose up`` starts."""
        return {
            name: service
            for name, service in self._configuration["services"].items()
            if not service.get("profiles") or set(service["profiles"]) & self._profiles
        }

    def up(self, *, timeout: float = 240) -> None:
        """Start every service once what it depends on is as the file says. What none depends on may not be ready yet."""
        deadline = time.monotonic() + timeout
        waiting = dict(self.services)
        started: set[str] = set()
        while waiting:
            for name, service in list(waiting.items()):
                if all(other in started and self._is(other, **wanted) for other, wanted in _dependencies(service)):
                    for container in self.find(name):
                        container.start()
                    started.add(name)
                    del waiting[name]
            self._check_failures(started)
            if time.monotonic() > deadline:
                raise TimeoutError(f"not started: {', '.join(waiting)}\n{self.tell_logs()}")
            time.sleep(0.1)

    def check_health(self) -> dict[str, bool]:
        """Run every health check once; return what each says."""
        names = [name for name, service in self.services.items() if "healthcheck" in service]
        with ThreadPoolExecutor(4) as pool:
            found = pool.map(lambda name: all(self._is_healthy(name, one) for one in self.find(name)), names)
            return dict(zip(names, found, strict=True))

    def wait_until_healthy(self, service: str, *, timeout: float = 120) -> None:
        """Wait for the health check of all containers of `service` to pass."""
        deadline = time.monotonic() + timeout
        while not self._is(service, condition="service_healthy"):
            self._check_failures({service})
            if time.monotonic() > deadline:
                raise TimeoutError(f"{service} is not healthy\n{self.tell_logs(service)}")
            time.sleep(0.5)

    def find(self, service: str) -> list[Container]:
        """Return the containers of a service."""
        return [container for name, container in self._each() if name == service]

    def restart(self, container: Container) -> None:
        """Start a container that has ended, as its restart policy does."""
        container.start()

    def run(self, service: str, *arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a service once with other arguments, as ``docker compose run --rm`` does; return what it printed."""
        with self._one_off(service, arguments) as container:
            code = container.wait(timeout)
            return subprocess.CompletedProcess(arguments, code, stdout=container.log.read_text())

    @contextmanager
    def idle(self, service: str) -> Iterator[Container]:
        """Have one more container of a service that does nothing, to run commands in."""
        with self._one_off(service, ("infinity",), entrypoint=("sleep",)) as container:
            container.wait_until_started()
            yield container

    @contextmanager
    def _one_off(self, service: str, arguments: Sequence[str], **options: Any) -> Iterator[Container]:
        self._runs += 1
        container = self._make(service, number=1000 + self._runs, command=arguments, **options)
        container.start()
        try:
            yield container
        finally:
            container.kill()
            container.log.unlink()  # Docker removes such a container with what it has printed

    def publish(self, service: str) -> int:
        """Return the port of 127.0.0.1 that the service's first published port is reached at."""
        port = int(str(self.services[service]["ports"][0]).rpartition(":")[2].removesuffix("/tcp"))
        return self.network.publish(self.find(service)[0].address, port)

    def volume(self, name: str) -> Path:
        return self.directory / "volumes" / name

    def tell_logs(self, *services: str) -> str:
        """Return the ends of what the services have printed."""
        names = [name for name, _ in self._each() if not services or name in services]
        paths = sorted({one.log for name in names for one in self.find(name) if one.log.exists()})
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in paths)

    def _each(self) -> list[tuple[str, Container]]:
        return [(key.rpartition("-")[0], container) for key, container in self.containers.items()]

    def _prepare(self, service: str) -> None:
        for number in range(1, self._scale.get(service, 1) + 1):
            self.containers[f"{service}-{number}"] = self._make(service, number=number)

    def _make(
        self,
        service: str,
        *,
        number: int,
        command: Sequence[str] | None = None,
        entrypoint: Sequence[str] | None = None,
    ) -> Container:
        definition = self._configuration["services"][service]
        image = self._images[definition["image"]]
        namespace, address = self.network.add(connected=definition.get("network_mode") != "none")
        user = self._users[definition.get("user", image.user)]
        owner = self._users[image.owner]
        volumes = [_split_volume(one) for one in definition.get("volumes", ())]
        entrypoint = entrypoint or _as_list(definition.get("entrypoint")) or list(image.entrypoint)
        arguments = list(command) if command is not None else _as_list(definition.get("command"))
        for source, target, _ in volumes:
            self._ensure_volume(source, target, image, owner)
        return Container(
            name=f"{service}-{number}",
            hostname=f"{service}-{number}",
            address=address,
            network_namespace=namespace,
            uid=user[0],
            gid=user[1],
            owner=owner,
            has_capabilities="ALL" not in definition.get("cap_drop", ()),
            may_gain_privileges="no-new-privileges:true" not in definition.get("security_opt", ()),
            environment=image.environment | containers.as_environment(definition.get("environment") or {}),
            command=[*entrypoint, *arguments],
            working_directory=image.working_directory,
            mounts=[
                (str(self._hosts), "/etc/hosts", "ro"),
                (str(self._passwords), "/etc/passwd", "ro"),
                *image.mounts,
                *((str(self._find_source(source)), target, mode) for source, target, mode in volumes),
            ],
            directories=image.directories,
            log=self.directory / "logs" / f"{service}-{number}.log",
        )

    def _find_source(self, source: str) -> Path:
        return Path(source) if source.startswith("/") else self.volume(source)

    def _ensure_volume(self, source: str, target: str, image: _Image, owner: tuple[int, int]) -> None:
        """Make a named volume as Docker does: with the owner that the first image has for its directory."""
        path = self._find_source(source)
        if source.startswith("/") or path.exists():
            return
        path.mkdir()
        path.chmod(0o755)
        if target in image.directories or any(one.startswith(f"{target}/") for one in image.directories):
            os.chown(path, *owner)

    def _is(self, service: str, *, condition: str) -> bool:
        for container in self.find(service):
            if container.process is None:
                return False
            ended = container.process.poll()
            match condition:
                case "service_completed_successfully" if ended != 0:
                    return False
                case "service_healthy" if ended is not None or not self._is_healthy(service, container):
                    return False
        return True

    def _is_healthy(self, service: str, container: Container) -> bool:
        check = self.services[service]["healthcheck"]
        kind, *rest = check["test"]
        command = ["sh", "-c", rest[0]] if kind == "CMD-SHELL" else rest
        with suppress(OSError, IndexError, subprocess.TimeoutExpired):
            return container.run(command, timeout=30).returncode == 0
        return False

    def _check_failures(self, services: Iterable[str]) -> None:
        for name in services:
            for container in self.find(name):
                ended = container.process.poll() if container.process else None
                is_one_off = self.services[name].get("restart") == "no"
                if ended is not None and (ended != 0 or not is_one_off):
                    raise AssertionError(f"{container.name} ended with {ended}\n{self.tell_logs(name)}")


def _dependencies(service: Mapping[str, Any]) -> list[tuple[str, dict[str, str]]]:
    return list((service.get("depends_on") or {}).items())


def _split_volume(text: str) -> tuple[str, str, str]:
    source, target, mode = (*text.split(":"), "rw")[:3]
    return source, target, mode


def _as_list(value: Any) -> list[str]:
    return value.split() if isinstance(value, str) else list(value or [])


def _find_postgres() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4]))
    return found[-1].parent if found else None


def _find_users() -> dict[str, tuple[int, int]]:
    debian = {name: pwd.getpwnam(name) for name in ("root", "postgres", "redis")}
    return {name: (one.pw_uid, one.pw_gid) for name, one in debian.items()} | {"airflow": (50000, 0)}


def _describe_images(programs: Path, *, scripts: Path) -> dict[str, _Image]:
    environment = programs.parent
    dockerfile = (CHECKOUT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    variables = dict(re.findall(r"([A-Z_]+)=(\S+)", " ".join(re.findall(r"^ENV (.*)$", dockerfile, re.MULTILINE))))
    made = re.findall(
        r"(?<=\s)(/(?:opt|run)/\S+)", " ".join(re.findall(r"^RUN install (.*)$", dockerfile, re.MULTILINE))
    )
    copied = re.findall(r"^COPY --chown=\S+ (\S+) (/opt/scaffolder/\S+)$", dockerfile, re.MULTILINE)
    last_user = re.findall(r"^USER (\S+)$", dockerfile, re.MULTILINE)[-1]
    base = Path(sys.base_prefix)
    scripts.mkdir()
    (scripts / "docker-ensure-initdb.sh").write_text(_ENSURE_INITDB)
    (scripts / "docker-ensure-initdb.sh").chmod(0o755)
    return {
        "postgres:18": _Image(
            user="root",
            owner="postgres",
            working_directory="/",
            directories=("/run/postgresql", "/var/lib/postgresql"),
            environment={
                "PATH": f"{_find_postgres()}:/opt/scripts:{_PATH}",
                "PGDATA": "/var/lib/postgresql/data",
                "LC_ALL": "C.UTF-8",
            },
            mounts=((str(scripts), "/opt/scripts", "ro"),),
        ),
        "redis:8": _Image(
            user="root", owner="redis", working_directory="/data", directories=("/data",), environment={"PATH": _PATH}
        ),
        "scaffolder:latest": _Image(
            user=last_user,
            owner="airflow",
            working_directory="/opt/airflow",
            directories=("/home/airflow", "/opt/airflow", "/opt/airflow/dags", "/opt/airflow/logs", *made),
            environment={
                "PATH": f"{programs}:{_PATH}",
                "HOME": "/home/airflow",
                "AIRFLOW_HOME": "/opt/airflow",
                "LC_ALL": "C.UTF-8",
                **variables,
            },
            # What the image's own entry point comes to where it need not wait for a database.
            entrypoint=("airflow",),
            mounts=(
                (str(environment), str(environment), "ro"),
                (str(base), str(base), "ro"),
                *((str(CHECKOUT / source), target, "ro") for source, target in copied),
            ),
        ),
    }
