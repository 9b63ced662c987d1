"""What Schemathesis is told about the API: valid requests that mean something that is not there."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import schemathesis
from schemathesis.specs.openapi.checks import positive_data_acceptance


@schemathesis.hook
def filter_path_parameters(ctx: Any, path_parameters: dict[str, Any]) -> bool:
    """Leave out line breaks: Starlette, which Airflow mounts our app with, takes no such path for ours."""
    return not any("\n" in unquote(str(value)) for value in (path_parameters or {}).values())


@schemathesis.check
def meaningful_data_acceptance(ctx: Any, response: Any, case: Any) -> bool | None:
    """The same as `positive_data_acceptance`, which it stands for, but for `_is_about_meaning`."""
    if response.status_code == 422 and _is_about_meaning(case.operation.definition.raw["operationId"], response.json()):
        return None
    return positive_data_acceptance(ctx, response, case)


def _is_about_meaning(operation: str, problem: dict[str, Any]) -> bool:
    kind = problem["type"].removeprefix("urn:scaffolder:problem:")
    refused = [error.get("pointer", error.get("parameter", "")) for error in problem.get("errors", ())]
    # A cursor is text of ours that no schema can describe, and belongs to one order.
    if refused == ["cursor"]:
        return True
    # A key that came before with another body, an end that is over already, and what stands in no schema: which workflows and targets there are, and
    # what each of them accepts.
    expected = {
        "create_generated": {"idempotency-key", "invalid-parameters"},
        "regenerate": {"idempotency-key", "invalid-parameters"},
        "create_exports": {"idempotency-key", "invalid-parameters"},
        "hold_generated": {"invalid-parameters"},
    }
    places = ("/workflow", "/params", "/exports/", "/until")
    return kind in expected.get(operation, ()) and all(pointer.startswith(places) for pointer in refused)
