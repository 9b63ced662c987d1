"""Runs generated code: a script for a process of its own, which reads a task as JSON and writes what it saw.

It imports nothing of this package. `directory` holds the generated package; the process has no credentials and is
limited by its parent.
"""

import importlib
import json
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any


def main() -> None:
    """Do the task on standard input."""
    warnings.simplefilter("ignore")
    task = json.load(sys.stdin)
    sys.path.insert(0, task["directory"])
    sys.dont_write_bytecode = True
    answer: dict[str, Any]
    try:
        results = round_trips(task) if task["mode"] == "values" else calls(task)
        answer = {"results": results}
    except Exception as exc:  # noqa: BLE001 - whatever generated code does is the answer
        answer = {
            "error": f"{type(exc).__name__}: {str(exc)[:300]}",
            "line": _line_in(task["directory"], exc),
        }
    json.dump(answer, sys.stdout)


def round_trips(task: dict[str, Any]) -> list[dict[str, Any]]:
    """Send values through types: each check has an annotation and values; a response is serialised again."""
    from pydantic import TypeAdapter

    models = importlib.import_module(f"{task['package']}.models")
    results: list[dict[str, Any]] = []
    for check in task["checks"]:
        try:
            # The annotation is this service's own: `models.Name`, `list[...]`, `Any`, a scalar, `| None`.
            annotation = eval(check["annotation"], {"models": models, "Any": Any})  # noqa: S307 - this limited process exists to run it
            adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        except Exception as exc:  # noqa: BLE001 - the same
            results.append({"error": f"{type(exc).__name__}: {str(exc)[:300]}", "outcomes": []})
            continue
        serialise = check["direction"] == "response"
        results.append({"outcomes": [_round_trip(adapter, value, serialise=serialise) for value in check["values"]]})
    return results


def _round_trip(adapter: Any, value: Any, *, serialise: bool) -> dict[str, Any]:
    try:
        instance = adapter.validate_python(value)
        if not serialise:
            return {"value": None}
        dumped = adapter.dump_python(instance, mode="json", by_alias=True, exclude_unset=True)
        json.dumps(dumped, allow_nan=False)
        return {"value": dumped}
    except Exception as exc:  # noqa: BLE001 - the same
        return {"error": f"{type(exc).__name__}: {str(exc)[:300]}"}


def calls(task: dict[str, Any]) -> list[dict[str, Any]]:
    """Build the application and call each operation as the generated project's tests do."""
    from fastapi import FastAPI
    from starlette.testclient import TestClient

    application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    for router in importlib.import_module(f"{task['package']}.routes").routers:
        application.include_router(router)
    application.openapi()  # the generated project serves it too
    results: list[dict[str, Any]] = []
    with TestClient(application, raise_server_exceptions=True, follow_redirects=False) as client:
        for entry in task["entries"]:
            try:
                response = client.request(entry["method"], entry["url"], **request_arguments(entry))
                media_type = response.headers.get("content-type", "").partition(";")[0] or None
                results.append({"status": response.status_code, "media_type": media_type, "text": response.text})
            except Exception as exc:  # noqa: BLE001 - the same
                results.append({"error": f"{type(exc).__name__}: {str(exc)[:300]}"})
    return results


def request_arguments(entry: dict[str, Any]) -> dict[str, Any]:
    """Return the client's arguments for an entry of `operations.json`."""
    arguments: dict[str, Any] = {"params": entry["query"], "headers": dict(entry["headers"])}
    body = entry["body"] or {}
    if "json" in body:
        arguments["json"] = body["json"]
    elif "content" in body:
        arguments["content"] = body["content"].encode()
        arguments["headers"]["Content-Type"] = body["media_type"]
    elif "form" in body:
        arguments["data"] = body["form"]
        if body["files"]:
            arguments["files"] = [(name, ("example.txt", b"example", "text/plain")) for name in body["files"]]
    return arguments


def _line_in(directory: str, exc: BaseException) -> list[Any] | None:
    """Return the file (relative to `directory`) and line of generated code at which an import failed."""
    found = None
    for frame, line in traceback.walk_tb(exc.__traceback__):
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(directory):
            found = [path.relative_to(directory).as_posix(), line]
    return found


if __name__ == "__main__":
    main()
