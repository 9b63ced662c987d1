"""The HTTP service: routes, authentication and problem answers. Generating is left to worker processes."""

import hmac
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from demo_agent import __version__
from demo_agent.errors import DocumentRefusedError, GenerationStoppedError
from demo_agent.schemas import GenerateModelsRequest, GenerateModelsResponse, Health, Problem
from demo_agent.settings import MAX_DOCUMENT_BYTES, Settings
from demo_agent.workers import OverloadedError, Workers

# JSON may spell one byte of a document with six characters.
_MAX_REQUEST_BYTES = 6 * MAX_DOCUMENT_BYTES + 65536
_RETRY_AFTER_SECONDS = 10

_PROBLEM: dict[str, Any] = {"content": {"application/problem+json": {"schema": Problem.model_json_schema()}}}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: {"description": "The bearer token is missing or wrong", **_PROBLEM},
    413: {"description": "The document is larger than 1 MiB", **_PROBLEM},
    415: {"description": "The request is not JSON", **_PROBLEM},
    422: {"description": "The document or the name is not acceptable", **_PROBLEM},
    503: {"description": "Too many generations are under way", **_PROBLEM},
}
# Equal requests get equal answers and nothing is kept, so a key is honoured by the service being as it is.
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same for every try of one request, which may be sent again.",
    "schema": {"type": "string", "maxLength": 255},
}
_REQUEST_BODY = {
    "required": True,
    "content": {"application/json": {"schema": GenerateModelsRequest.model_json_schema()}},
}


def create_app(settings: Settings) -> FastAPI:
    """Build the service."""
    app = FastAPI(
        title="Demo agent",
        version=__version__,
        description="Turns an OpenAPI document into Pydantic models and FastAPI routes. No language model is involved.",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.workers = Workers(settings)
    authenticated = Depends(_authentication(settings.token))

    @app.get("/health", operation_id="getHealth")
    async def get_health() -> Health:
        """Say that the service is up."""
        return Health()

    @app.get("/openapi.json", include_in_schema=False, dependencies=[authenticated])
    async def get_openapi() -> dict[str, Any]:
        return app.openapi()

    app.add_api_route(
        "/v1/models",
        generate_models,
        methods=["POST"],
        operation_id="generateModels",
        summary="Generate models and routes from an OpenAPI document",
        response_model=GenerateModelsResponse,
        responses=_PROBLEMS,
        dependencies=[authenticated],
        openapi_extra={"parameters": [_IDEMPOTENCY_KEY], "requestBody": _REQUEST_BODY},
    )
    app.add_exception_handler(HTTPException, _http_problem)
    return app


async def generate_models(request: Request) -> Response:
    """Generate a service's files. Equal requests get equal answers, byte by byte."""
    payload = _parsed(await _body(request))
    size_bytes = len(payload.document.encode())
    if size_bytes > MAX_DOCUMENT_BYTES:
        raise HTTPException(
            413,
            f"the document has {size_bytes} bytes: accepted are up to {MAX_DOCUMENT_BYTES} (1 MiB) in UTF-8",
        )
    workers: Workers = request.app.state.workers
    try:
        result = await workers.generate(payload.document, name=payload.name)
    except DocumentRefusedError as exc:
        raise HTTPException(422, str(exc)) from exc
    except GenerationStoppedError as exc:
        raise HTTPException(422, f"generation was stopped: {exc}") from exc
    except OverloadedError as exc:
        raise HTTPException(503, str(exc), headers={"Retry-After": str(_RETRY_AFTER_SECONDS)}) from exc
    return JSONResponse(result)


async def _body(request: Request) -> bytes:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise HTTPException(415, f"the request is {media_type[:80]!r}: accepted is application/json")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_REQUEST_BYTES:
            raise HTTPException(
                413,
                f"the request is too large: accepted are documents of up to {MAX_DOCUMENT_BYTES} bytes (1 MiB)",
            )
    return bytes(body)


def _parsed(body: bytes) -> GenerateModelsRequest:
    try:
        return GenerateModelsRequest.model_validate_json(body)
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_context=False, include_input=False)
        wrong = "; ".join(f"{'.'.join(map(str, error['loc'])) or 'request'}: {error['msg']}" for error in errors[:5])
        accepted = 'accepted is {"document": text, "name": text}, no other keys'
        raise HTTPException(422, f"{wrong}; {accepted}") from exc


def _authentication(token: str) -> Any:
    bearer = HTTPBearer(auto_error=False, description="The token the service was started with")

    async def authenticate(
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    ) -> None:
        given = credentials.credentials.encode() if credentials else b""
        if not hmac.compare_digest(given, token.encode()):
            raise HTTPException(
                401, "send the header 'Authorization: Bearer <token>'", headers={"WWW-Authenticate": "Bearer"}
            )

    return authenticate


async def _http_problem(_: Request, exc: Exception) -> Response:
    if not isinstance(exc, HTTPException):
        raise exc
    problem = Problem(title=HTTPStatus(exc.status_code).phrase, status=exc.status_code, detail=exc.detail)
    return JSONResponse(
        problem.model_dump(),
        status_code=exc.status_code,
        headers=exc.headers,
        media_type="application/problem+json",
    )
