"""Tries generated code in a process of its own before anybody gets it."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo_agent.checking import SchemaChecker, UncheckableSchemaError
from demo_agent.errors import GenerationStoppedError

_PROBE = Path(__file__).with_name("probe.py")


@dataclass(frozen=True)
class ProbeFailedError(Exception):
    """The generated code could not even be imported; `file` and `line` say where, if that is known."""

    message: str
    file: str | None
    line: int


def round_trips(files: Mapping[str, str], *, package: str, checks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Send values through the generated models.

    Raises:
        ProbeFailedError: the models cannot be imported.
    """
    return _probe(files, package=package, task={"mode": "values", "checks": list(checks)})


def calls(files: Mapping[str, str], *, package: str, entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Call the generated operations.

    Raises:
        ProbeFailedError: the application cannot be built.
    """
    return _probe(files, package=package, task={"mode": "operations", "entries": list(entries)})


def answer_problem(result: Mapping[str, Any], *, entry: Mapping[str, Any], checker: SchemaChecker) -> str | None:
    """Return what is wrong with an operation's answer, or None."""
    if "error" in result:
        return str(result["error"])
    if result["status"] != entry["status"]:
        return f"it answered {result['status']}: {result['text'][:300]}"
    if entry["media_type"] is None:
        return None
    if result["media_type"] != entry["media_type"]:
        return f"it answered {result['media_type']}"
    if entry["schema"] is None:
        return None
    is_json = entry["media_type"] == "application/json" or entry["media_type"].endswith("+json")
    try:
        value = json.loads(result["text"]) if is_json else result["text"]
        return checker.problem_of(value, schema=checker.schema_at(entry["schema"]))
    except (ValueError, UncheckableSchemaError) as exc:
        return str(exc)


def _probe(files: Mapping[str, str], *, package: str, task: dict[str, Any]) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="demo-agent-") as directory:
        for path, content in files.items():
            target = Path(directory, path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content, encoding="utf-8")
        task = task | {"directory": str(Path(directory).resolve()), "package": package}
        finished = subprocess.run(
            [sys.executable, "-I", str(_PROBE)],
            input=json.dumps(task).encode(),
            capture_output=True,
            env={"LANG": "C.UTF-8", "PYTHONHASHSEED": "0"},
            cwd=directory,
            check=False,
        )
    if finished.returncode != 0:
        last = finished.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise GenerationStoppedError(
            f"the generated code could not be tried: its process ended with {finished.returncode} ({last[:200]})"
        )
    answer = json.loads(finished.stdout)
    if "error" in answer:
        file, line = answer["line"] or (None, 0)
        raise ProbeFailedError(answer["error"], file, line)
    results: list[dict[str, Any]] = answer["results"]
    return results
