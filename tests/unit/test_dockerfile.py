"""The image can hold no secret: what the Dockerfile takes, and what the build's context has at all."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

from tests.conftest import CHECKOUT

DOCKERFILE = (CHECKOUT / "Dockerfile").read_text()
DOCKERIGNORE = (CHECKOUT / ".dockerignore").read_text()
# What an image may be made of: sources that git has, and nothing that somebody's machine adds.
ALLOWED = frozenset(
    {"compose", "dags", "include", "plugins", "LICENSE", "README.md", "pyproject.toml", "requirements.txt"}
)
SECRETIVE = re.compile(r"pass|pwd|secret|token|key|credential|auth|fernet|jwt|login|private|_conn", re.IGNORECASE)
PINNED = re.compile(r"[a-z0-9./_-]+(:[\w.-]*\d+\.\d+\.\d+[\w.-]*|@sha256:[0-9a-f]{64})")
HADOLINT_IGNORED = {
    "DL3066": "the user airflow is the base image's own",
    "DL4006": "the base image's shell is bash with pipefail already",
}


@dataclass(frozen=True)
class Instruction:
    name: str
    options: tuple[str, ...]
    words: tuple[str, ...]


def parse(text: str) -> Iterator[Instruction]:
    """Yield the instructions of a Dockerfile without here-documents and JSON forms, which it refuses."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\[ \t]*\n", " ", "\n".join(lines)).splitlines():
        if not line.strip():
            continue
        name, _, rest = line.strip().partition(" ")
        if name.upper() != "RUN":
            assert not rest.lstrip().startswith("["), f"{line!r} is in a form that is not looked into here"
        assert "<<" not in rest, f"{line!r} is in a form that is not looked into here"
        words = shlex.split(rest)
        count = next((number for number, word in enumerate(words) if not word.startswith("--")), len(words))
        yield Instruction(name.upper(), tuple(words[:count]), tuple(words[count:]))


def find_problems(text: str) -> list[str]:
    """Return what an image must not have."""
    problems: list[str] = []
    stages: set[str] = set()
    user = "root"
    for one in parse(text):
        if one.name == "FROM":
            image, *rest = one.words
            if image not in stages and not PINNED.fullmatch(image):
                problems.append(f"FROM {image} is not pinned")
            stages |= {rest[1]} if rest else set()
            user = ""
        elif one.name in {"ARG", "ENV", "LABEL"}:
            names = [word.partition("=")[0] for word in one.words]
            problems += [f"{one.name} {name}" for name in names if SECRETIVE.search(name)]
        elif one.name == "COPY":
            problems += find_copied(one, stages=stages)
        elif one.name == "ADD":
            problems.append("ADD: it fetches and unpacks")
        elif one.name == "RUN":
            problems += [f"RUN {option}" for option in one.options if "type=secret" in option and "env=" in option]
            problems += [f"RUN names {word}" for word in one.words if re.search(r"://[^/\s]*@", word)]
        elif one.name == "USER":
            user = one.words[0].partition(":")[0]
    if user in {"", "root", "0"}:
        problems.append(f"it runs as {user or 'whoever the base image says'}")
    return problems


def find_copied(one: Instruction, *, stages: set[str]) -> list[str]:
    origin = next((option.partition("=")[2] for option in one.options if option.startswith("--from=")), None)
    if origin is not None:
        return [] if origin in stages else [f"COPY from {origin}"]
    sources = [PurePosixPath(word) for word in one.words[:-1]]
    return [f"COPY {source}" for source in sources if source.parts[:1] == () or source.parts[0] not in ALLOWED
            or ".." in source.parts or any(mark in str(source) for mark in "*?[")]  # fmt: skip


def is_sent(path: str, *, ignore: str = DOCKERIGNORE) -> bool:
    """Say whether a file is in the build's context: the last pattern decides that fits it or a directory of it."""
    parts = PurePosixPath(path).parts
    ancestors = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    sent = True
    for line in ignore.splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        negated = pattern.startswith("!")
        expression = translate(pattern.removeprefix("!").strip("/"))
        if any(expression.fullmatch(ancestor) for ancestor in ancestors):
            sent = negated
    return sent


def translate(pattern: str) -> re.Pattern[str]:
    """Return a pattern of a .dockerignore, which is anchored at the context's root, as an expression."""
    pieces = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    meaning = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(meaning.get(piece, re.escape(piece)) for piece in pieces))


def test_the_image_holds_no_secret_and_does_not_run_as_root() -> None:
    assert find_problems(DOCKERFILE) == []
    assert {one.name for one in parse(DOCKERFILE)} >= {"FROM", "COPY", "RUN", "USER", "ENV"}


FROM = "FROM apache/airflow:3.3.2-python3.11\n"


@pytest.mark.parametrize(
    "text, problem",
    [
        (f"{FROM}USER airflow\nARG GITHUB_TOKEN\n", "ARG GITHUB_TOKEN"),
        (f"{FROM}USER airflow\nENV A=1 \\\n    AIRFLOW__CORE__FERNET_KEY=x\n", "ENV AIRFLOW__CORE__FERNET_KEY"),
        (f"{FROM}USER airflow\nENV AIRFLOW_CONN_SCAFFOLDER_DB=postgres://x\n", "ENV AIRFLOW_CONN_SCAFFOLDER_DB"),
        (f"{FROM}USER airflow\nCOPY --chown=airflow:0 .env /opt/\n", "COPY .env"),
        (f"{FROM}USER airflow\nCOPY . /opt/\n", "COPY ."),
        (f"{FROM}USER airflow\nCOPY dags/../.env /opt/\n", "COPY dags/../.env"),
        (f"{FROM}USER airflow\nCOPY * /opt/\n", "COPY *"),
        (f"{FROM}USER airflow\nCOPY --from=elsewhere:latest /a /b\n", "COPY from elsewhere:latest"),
        (f"{FROM}USER airflow\nADD https://example.com/a.tar /\n", "ADD: it fetches and unpacks"),
        (
            f"{FROM}USER airflow\nRUN pip install https://ada:x@example.com/a.whl\n",
            "RUN names https://ada:x@example.com/a.whl",
        ),
        ("FROM apache/airflow:latest\nUSER airflow\n", "FROM apache/airflow:latest is not pinned"),
        ("FROM apache/airflow\nUSER airflow\n", "FROM apache/airflow is not pinned"),
        (f"{FROM}USER airflow\nUSER root\n", "it runs as root"),
        (f"{FROM}USER 0:0\n", "it runs as 0"),
        (f"FROM python:3.11.9 AS wheel\nUSER airflow\n{FROM}", "it runs as whoever the base image says"),
    ],
)  # fmt: skip
def test_a_dockerfile_that_could_hold_a_secret_is_found_out(text: str, problem: str) -> None:
    assert find_problems(text) == [problem]


def test_the_context_has_what_is_copied_and_nothing_else() -> None:
    listed = {line[1:] for line in DOCKERIGNORE.splitlines() if line.startswith("!")}
    copied = {
        PurePosixPath(word).parts[0]
        for one in parse(DOCKERFILE)
        if one.name == "COPY" and not any(option.startswith("--from=") for option in one.options)
        for word in one.words[:-1]
    }
    assert DOCKERIGNORE.splitlines()[0] == "*"
    assert listed == copied
    names = [path.name for path in CHECKOUT.iterdir()]
    assert {name for name in names if is_sent(name)} == listed
    assert {"tests", ".dockerignore"} <= set(names) - listed
    assert is_sent("plugins/scaffolder/errors.py")


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        ".env.production",
        ".git/config",
        ".scaffolder/env",
        ".scaffolder/postgres/data/PG_VERSION",
        ".venv/pyvenv.cfg",
        "docker-compose.override.yaml",
        "generated-projects/6c1a/repository/.git/config",
        "id_ed25519",
        "plugins/scaffolder/__pycache__/config.cpython-311.pyc",
        "scaffolder-cache/templates/x",
        "secrets/fernet_key",
    ],
)
def test_what_a_machine_adds_is_not_sent(path: str) -> None:
    assert not is_sent(path)
    assert is_sent(path, ignore="")


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = shutil.which("hadolint", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    assert hadolint is not None, "it comes with requirements-dev.txt"
    ignored = [f"--ignore={rule}" for rule in HADOLINT_IGNORED]
    done = subprocess.run(
        [hadolint, "--no-color", *ignored, "Dockerfile"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
