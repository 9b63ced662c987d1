"""Errors as ``application/problem+json`` (RFC 9457), each kind with a type and a status that stay."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match

from scaffolder import errors
from scaffolder.observability import metrics

log = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
_TYPE_PREFIX: Final = "urn:scaffolder:problem:"

# The first that fits.
STATUSES: Final[tuple[tuple[type[errors.ScaffolderError], int], ...]] = (
    (errors.RecordNotFoundError, 404),
    (errors.PermissionDeniedError, 403),
    (errors.ExportConflictError, 409),
    (errors.RecordConflictError, 409),
    (errors.StatusTransitionError, 409),
    (errors.RecordsUnavailableError, 503),
    (errors.AirflowUnavailableError, 503),
    (errors.TooManyStreamsError, 503),
    (errors.SchemaVersionError, 503),
    (errors.DiskSpaceError, 507),
    (errors.StorageError, 500),
    (errors.SettingsError, 500),
    (errors.QuotaExceededError, 409),
    (errors.PermanentError, 422),
    (errors.ScaffolderError, 502),
)

_OTHER_TYPES: Final[Mapping[int, str]] = {
    400: "bad-request",
    401: "not-authenticated",
    403: "permission-denied",
    404: "not-found",
    405: "method-not-allowed",
    413: "request-too-large",
    415: "unsupported-media-type",
    416: "range-not-satisfiable",
    422: "invalid-parameters",
    500: "internal-error",
}

_SCHEMA: Final = {"$ref": "#/components/schemas/Problem"}
_HEADERS: Final[Mapping[int, Mapping[str, Any]]] = {
    401: {"WWW-Authenticate": {"description": "How to say who asks.", "schema": {"type": "string"}}},
    416: {"Content-Range": {"description": "How much there is.", "schema": {"type": "string"}}},
    503: {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}},
}


class ProblemResponse(JSONResponse):
    """A problem. What it repeats of a request may be half of a character (a lone surrogate), which is none in UTF-8."""

    media_type = MEDIA_TYPE

    def render(self, content: Any) -> bytes:
        """Return the body."""
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode("utf-8", "replace")


class FieldProblem(BaseModel):
    """What is wrong with one part of a request."""

    model_config = ConfigDict(extra="forbid")

    detail: str = Field(description="What is wrong and what is accepted.")
    pointer: str | None = Field(default=None, description="Where in the body, as a JSON Pointer (RFC 6901).")
    parameter: str | None = Field(default=None, description="Or the parameter.")
    location: str | None = Field(default=None, description="Where that parameter is: query, path or header.")


class Problem(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:scaffolder:problem:record-not-found",
                    "title": "Record not found",
                    "status": 404,
                    "detail": "there is no project 'payments'",
                }
            ]
        }
    )

    type: str = Field(description="Names the kind of problem; stays.")
    title: str
    status: int
    detail: str
    errors: list[FieldProblem] | None = None


def get_type(kind: type[errors.ScaffolderError]) -> str:
    """Return the problem type of an error of the package."""
    name = kind.__name__.removesuffix("Error")
    return _TYPE_PREFIX + re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


def get_status(kind: type[errors.ScaffolderError]) -> int:
    """Return the status that the API answers an error of the package with."""
    return next(status for ours, status in STATUSES if issubclass(kind, ours))


def list_types() -> dict[str, tuple[int, str]]:
    """Return status and meaning of each problem type, for the documentation."""
    found = {_TYPE_PREFIX + name: (status, HTTPStatus(status).phrase) for status, name in sorted(_OTHER_TYPES.items())}
    for kind in _subclasses(errors.ScaffolderError):
        found[get_type(kind)] = (get_status(kind), kind.get_meaning())
    return dict(sorted(found.items()))


def describe_answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI descriptions of the problems that a route may answer with."""
    described: dict[int | str, dict[str, Any]] = {}
    for status in sorted({401, 403, 422, 500, 503, *statuses}):
        described[status] = {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": _SCHEMA}}}
        if status in _HEADERS:
            described[status]["headers"] = _HEADERS[status]
    return described


def install(app: FastAPI) -> None:
    """Let `app` answer every error as a problem."""
    app.add_exception_handler(errors.ScaffolderError, _answer_ours)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(Exception, _answer_unexpected)


def answer(
    status: int,
    *,
    problem_type: str,
    title: str,
    detail: str,
    fields: Iterable[FieldProblem] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return a problem as a response."""
    content: dict[str, Any] = {"type": problem_type, "title": title, "status": status, "detail": detail}
    if listing := [field.model_dump(exclude_none=True) for field in fields]:
        content["errors"] = listing
    return ProblemResponse(content, status_code=status, headers=dict(headers or {}))


def make_pointer(*path: str | int) -> str:
    """Return the JSON Pointer (RFC 6901) to a place in a document."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)


def describe_error(error: Exception) -> tuple[int, str, str]:
    """Return status, title and detail of an error, as far as they are for whoever asked."""
    if isinstance(error, HTTPException):
        name = _OTHER_TYPES.get(error.status_code, HTTPStatus(error.status_code).phrase)
        return error.status_code, _make_title(name), str(error.detail) or HTTPStatus(error.status_code).phrase
    if isinstance(error, RequestValidationError):
        fields = [_describe(one) for one in error.errors()]
        return 422, _make_title(_OTHER_TYPES[422]), _join(fields)
    kind = type(error) if isinstance(error, errors.ScaffolderError) else errors.ScaffolderError
    status = get_status(kind)
    if status >= 500:
        log.error("A request failed: %s", error)
    # What is wrong inside (hosts, users, settings) is for the log.
    detail = str(error) if status < 500 else f"{kind.get_meaning()} The API server's log says more"
    return status, _make_title(get_type(kind).removeprefix(_TYPE_PREFIX)), detail


def refuse(status: int, detail: str) -> JSONResponse:
    """Return the answer of a status that is no error of the package."""
    name = _OTHER_TYPES[status]
    return answer(status, problem_type=_TYPE_PREFIX + name, title=_make_title(name), detail=detail)


def _answer_ours(_: Request, error: Exception) -> JSONResponse:
    metrics.count_refusal(error, where="api")
    kind = type(error) if isinstance(error, errors.ScaffolderError) else errors.ScaffolderError
    status, title, detail = describe_error(error)
    fields = _list_fields(error) if isinstance(error, errors.InvalidParametersError) else []
    wait = getattr(error, "retry_after_seconds", None)
    headers = {"Retry-After": str(max(1, round(wait or 1)))} if status == 503 else {}
    return answer(status, problem_type=get_type(kind), title=title, detail=detail, fields=fields, headers=headers)


def _list_fields(error: errors.InvalidParametersError) -> list[FieldProblem]:
    if error.parameter is not None:
        return [FieldProblem(parameter=error.parameter, location="query", detail=str(error))]
    return [FieldProblem(pointer=pointer, detail=sentence) for pointer, sentence in error.pointers.items()]


def _answer_http(request: Request, error: Exception) -> JSONResponse:
    status, title, detail = describe_error(error)
    headers = dict(getattr(error, "headers", None) or {})
    if status == 401:
        headers.setdefault("WWW-Authenticate", "Bearer")
    if status == 405:
        headers["Allow"] = ", ".join(_list_methods(request))
    name = _OTHER_TYPES.get(status, HTTPStatus(status).phrase.lower().replace(" ", "-"))
    return answer(status, problem_type=_TYPE_PREFIX + name, title=title, detail=detail, headers=headers)


def _list_methods(request: Request) -> list[str]:
    """Return the methods of a path: each of them is a route of its own, of which Starlette names the first."""
    routes = (route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE)
    return sorted({method for route in routes for method in getattr(route, "methods", ())})


def _answer_invalid(_: Request, error: Exception) -> JSONResponse:
    found = error.errors() if isinstance(error, RequestValidationError) else []
    fields = [_describe(one) for one in found]
    name = _OTHER_TYPES[422]
    return answer(422, problem_type=_TYPE_PREFIX + name, title=_make_title(name), detail=_join(fields), fields=fields)


def _answer_unexpected(_: Request, __: Exception) -> JSONResponse:
    # Starlette raises it again afterwards, so the log has it.
    return answer(
        500,
        problem_type=_TYPE_PREFIX + _OTHER_TYPES[500],
        title="Internal error",
        detail="Something unexpected happened; the API server's log says what",
    )


def _make_title(name: str) -> str:
    return name.replace("-", " ").capitalize()


def _join(fields: Iterable[FieldProblem]) -> str:
    return "; ".join(f"{field.pointer or field.parameter or 'body'}: {field.detail}" for field in fields)


def _describe(one: Mapping[str, Any]) -> FieldProblem:
    location, *path = one.get("loc") or ("body",)
    message = str(one.get("msg", "is not accepted")).removeprefix("Value error, ")
    if one.get("type") == "extra_forbidden":
        message = "is unknown"
    if location == "body":
        if one.get("type") == "json_invalid":
            return FieldProblem(pointer="", detail="the body is not JSON")
        return FieldProblem(pointer=make_pointer(*path), detail=message)
    return FieldProblem(parameter=".".join(str(part) for part in path), location=str(location), detail=message)


def _subclasses(kind: type[errors.ScaffolderError]) -> Iterable[type[errors.ScaffolderError]]:
    for sub in kind.__subclasses__():
        yield sub
        yield from _subclasses(sub)
