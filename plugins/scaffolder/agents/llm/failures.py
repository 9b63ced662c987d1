"""What pydantic-ai and the providers' libraries raise, put into our error classes, once."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic_ai.exceptions import (
    ModelAPIError,
    ModelConnectionError,
    ModelQuotaExceededError,
    ModelRateLimitError,
    ModelRequestRejectedError,
    ModelServerError,
    ModelUnavailableError,
    UserError,
)

from scaffolder.agents.http.failures import clean, raise_for_status
from scaffolder.agents.llm.connection import LlmConnection
from scaffolder.errors import (
    AgentAnswerError,
    AgentRateLimitedError,
    AgentRejectedError,
    AgentUnavailableError,
    ScaffolderError,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class _Refusal:
    """An HTTP error as the libraries have kept it."""

    status: int
    headers: Mapping[str, str]
    content: bytes


@contextmanager
def translated_errors(connection: LlmConnection) -> Iterator[None]:
    """Raise errors of `scaffolder.errors` for whatever asking a model raises.

    The libraries' own, whose texts hold whole answers and refusals, are no part of them: a log shows every cause.
    """
    try:
        yield
    except Exception as error:
        # The transport's own come wrapped by the library that it served, which must not become their cause.
        if ours := _find_ours(error):
            raise ours from ours.__cause__
        log.debug("Asking %s failed", connection.name, exc_info=True)
        raise _translate(error, connection) from None


def _find_ours(error: BaseException | None) -> ScaffolderError | None:
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        if isinstance(error, ScaffolderError):
            return error
        seen.append(error)
        error = error.__cause__ or error.__context__
    return None


def _translate(error: Exception, connection: LlmConnection) -> ScaffolderError:
    if isinstance(error, ModelAPIError):
        return _translate_api_error(error, connection)
    if isinstance(error, UserError):
        return AgentRejectedError(f"{connection.name} cannot be asked this: {clean(error.message, connection.secrets)}")
    # An answer that is not what it should be can make a library raise anything.
    return AgentAnswerError(f"{connection.name} gave an answer that cannot be read ({type(error).__name__})")


def _translate_api_error(error: ModelAPIError, connection: LlmConnection) -> ScaffolderError:
    name = f"{connection.name}, model {error.model_name!r},"
    # Providers answer it with 429, but waiting does not help.
    if isinstance(error, ModelQuotaExceededError):
        return AgentRejectedError(f"{name} refuses: the account's quota or credit is used up")
    if refusal := _find_refusal(error):
        try:
            raise_for_status(refusal, name, connection.secrets)
        except ScaffolderError as ours:
            return ours
    message = f"{name} failed: {clean(error.message, connection.secrets)}"
    if isinstance(error, ModelRateLimitError):
        return AgentRateLimitedError(message, retry_after_seconds=error.retry_after)
    if isinstance(error, ModelUnavailableError | ModelServerError | ModelConnectionError):
        return AgentUnavailableError(message, retry_after_seconds=error.retry_after, in_doubt=True)
    if isinstance(error, ModelRequestRejectedError):
        return AgentRejectedError(message)
    return AgentAnswerError(f"{name} gave an answer that cannot be used")


def _find_refusal(error: ModelAPIError) -> _Refusal | None:
    """Return the HTTP answer that `error` stands for; redirects are known to the provider's library only."""
    status = getattr(error, "status_code", None) or getattr(error.__cause__, "status_code", None)
    if not isinstance(status, int):
        return None
    content = error.body if isinstance(error.body, str) else json.dumps(error.body, default=str)
    return _Refusal(status=status, headers=getattr(error, "headers", None) or {}, content=content.encode())
