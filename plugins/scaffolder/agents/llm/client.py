"""One request to a language model by pydantic-ai: what is asked and answered is plain data, its errors become ours.

The providers' libraries send through `AgentTransport` alone. They know no key, and nothing that they read from the
environment leaves the worker. Importing this module takes long: only a call does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self, cast

import httpx2
from pydantic_ai.direct import model_request
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ToolCallPart,
    UserPromptPart,
)
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition

from scaffolder.agents.contract import Answer, Usage
from scaffolder.agents.http.transport import DEADLINE, AgentTransport
from scaffolder.agents.llm.connection import LlmConnection, ModelName
from scaffolder.agents.llm.failures import translated_errors
from scaffolder.config import Settings

#: What stays of the headers that the libraries set: the rest says where we run, or comes from the environment.
_KEPT_HEADERS: Final = frozenset(
    {"host", "connection", "accept-encoding", "content-length", "content-type", "anthropic-version", "anthropic-beta"}
)
_OUR_HEADERS: Final = {"Accept": "application/json", "User-Agent": "airflow-scaffolder"}
#: The libraries want a key; the real one is put on by the transport.
_NO_KEY: Final = "put-on-by-the-transport"
_OUTPUT_NAME: Final = "answer"


@dataclass(frozen=True, kw_only=True)
class Question:
    """One request: everything that matters for the answer, as plain JSON data.

    `turns` are what the user and the model have said by turns; the first and the last are the user's. With `schema`
    (a JSON Schema of an object) the answer is asked for as JSON.
    """

    model: ModelName
    turns: tuple[str, ...]
    system_prompt: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    schema: Mapping[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the question for the records."""
        return {
            "model": str(self.model),
            "system_prompt": self.system_prompt,
            "turns": list(self.turns),
            "settings": dict(self.settings),
            "schema": self.schema,
        }


class ModelClient:
    """A model's server while a task talks to it; an async context manager.

    `timeout_seconds` is for each request and its whole answer.
    """

    def __init__(
        self, connection: LlmConnection, *, settings: Settings, timeout_seconds: int, on_secret: Callable[[str], None]
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._timeout_seconds = timeout_seconds
        self._on_secret = on_secret
        self._http: httpx2.AsyncClient | None = None

    async def __aenter__(self) -> Self:
        if self._connection.server is not None:
            self._http = httpx2.AsyncClient(
                transport=AgentTransport(self._connection.server, settings=self._settings, on_secret=self._on_secret),
                event_hooks={"request": [self._make_ours]},
                timeout=self._timeout_seconds,
                trust_env=False,
                follow_redirects=False,
            )
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._http is not None:
            await self._http.aclose()

    async def ask(self, question: Question) -> Answer:
        """Send `question`, once, and return ``text``, ``finish_reason`` and ``model`` of the answer.

        Where the question has a schema ``text`` is JSON as the model wrote it: perhaps cut off, and not checked.
        Raises AgentUnavailableError, AgentRateLimitedError, AgentRejectedError, AgentAnswerError or LimitExceededError.
        """
        with translated_errors(self._connection):
            response = await model_request(
                self._make_model(question.model),
                _make_messages(question),
                model_settings=cast(ModelSettings, dict(question.settings)),
                model_request_parameters=_make_parameters(question),
                instrument=False,
            )
            return Answer(
                data={
                    "text": _read_text(response, question),
                    "finish_reason": "stop" if question.model.family == "test" else response.finish_reason,
                    "model": response.model_name,
                },
                usage=Usage(
                    input_tokens=response.usage.input_tokens,
                    output_tokens=response.usage.output_tokens,
                    model=str(question.model),
                ),
            )

    async def _make_ours(self, request: httpx2.Request) -> None:
        for name in set(request.headers) - _KEPT_HEADERS:
            del request.headers[name]
        request.headers.update(_OUR_HEADERS)
        request.extensions[DEADLINE] = self._timeout_seconds

    def _make_model(self, name: ModelName) -> Model[Any]:
        match name.family:
            case "anthropic":
                return self._make_anthropic_model(name)
            case "openai":
                return self._make_openai_model(name)
            case "test":
                from pydantic_ai.models.test import TestModel

                return TestModel()

    def _make_anthropic_model(self, name: ModelName) -> Model[Any]:
        from anthropic import AsyncAnthropic
        from pydantic_ai.models.anthropic import AnthropicModel
        from pydantic_ai.providers.anthropic import AnthropicProvider

        client = AsyncAnthropic(
            api_key=_NO_KEY,
            base_url=self._connection.base_url,
            http_client=self._http,
            max_retries=0,
            timeout=self._timeout_seconds,
            open_telemetry=False,
        )
        client._custom_headers = {}  # noqa: SLF001  # those of the environment, which no argument keeps out
        return AnthropicModel(name.name, provider=AnthropicProvider(anthropic_client=client))

    def _make_openai_model(self, name: ModelName) -> Model[Any]:
        from openai import AsyncOpenAI
        from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
        from pydantic_ai.providers.openai import OpenAIProvider
        from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

        client = AsyncOpenAI(
            api_key=_NO_KEY,
            base_url=self._connection.base_url,
            http_client=self._http,
            max_retries=0,
            timeout=self._timeout_seconds,
        )
        client._custom_headers = {}  # noqa: SLF001  # the same
        provider = (
            OpenAIProvider(openai_client=client)
            if self._connection.is_hosted_by_provider
            else OpenAICompatibleProvider("openai-compatible", openai_client=client)
        )
        if name.prefix == "openai-chat":
            return OpenAIChatModel(name.name, provider=provider)
        return OpenAIResponsesModel(name.name, provider=provider)


def _make_messages(question: Question) -> list[ModelMessage]:
    messages: list[ModelMessage] = [
        ModelResponse(parts=[TextPart(turn)]) if index % 2 else ModelRequest(parts=[UserPromptPart(turn)])
        for index, turn in enumerate(question.turns)
    ]
    if question.system_prompt:
        messages.insert(0, ModelRequest(parts=[SystemPromptPart(question.system_prompt)]))
    return messages


def _make_parameters(question: Question) -> ModelRequestParameters:
    if question.schema is None:
        return ModelRequestParameters()
    # pydantic-ai knows which of the ways to structured answers each model is best at: it takes one of the two.
    schema = dict(question.schema)
    return ModelRequestParameters(
        output_mode="auto",
        output_object=OutputObjectDefinition(json_schema=schema, name=_OUTPUT_NAME),
        output_tools=[
            ToolDefinition(
                name=_OUTPUT_NAME,
                description="Give the answer.",
                parameters_json_schema=schema,
                kind="output",
            )
        ],
        allow_text_output=False,
    )


def _read_text(response: ModelResponse, question: Question) -> str:
    if question.schema is not None:
        for part in response.parts:
            if isinstance(part, ToolCallPart) and part.tool_name == _OUTPUT_NAME:
                return part.args if isinstance(part.args, str) else json.dumps(part.args or {}, ensure_ascii=False)
    return response.text or ""
