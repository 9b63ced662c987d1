"""A language model as an agent: what a step may ask of it, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, NoReturn, Self

from scaffolder.agents.contract import Answer, CallRequest, Job, JobStatus, Ledger
from scaffolder.agents.llm.connection import LlmConnection
from scaffolder.config import Settings
from scaffolder.errors import AgentConfigurationError, AgentRejectedError
from scaffolder.json_schema import SchemaError, check_bounded, check_schema, find_violations

#: Those of pydantic-ai's settings that say something of the answer, and what each accepts.
_SETTINGS: Final[Mapping[str, Mapping[str, Any]]] = {
    "frequency_penalty": {"type": "number"},
    "max_tokens": {"type": "integer", "minimum": 1},
    "presence_penalty": {"type": "number"},
    "seed": {"type": "integer"},
    "service_tier": {"enum": ["auto", "default", "flex", "priority"]},
    "stop_sequences": {"type": "array", "items": {"type": "string", "minLength": 1}},
    "temperature": {"type": "number", "minimum": 0},
    "thinking": {"enum": [True, False, "minimal", "low", "medium", "high", "xhigh"]},
    "top_k": {"type": "integer", "minimum": 1},
    "top_p": {"type": "number", "minimum": 0, "maximum": 1},
}


class LlmAgent:
    """A language model. See `scaffolder.agents.contract.Agent`.

    The answer is ``{"text": …}``; with `CallRequest.output_schema` it is the object that the schema describes; with
    `CallRequest.files` it is ``{"summary": …, "files": [{"path": …, "content": …}, …]}``. What it consumed is with the
    parts in the ledger, not with the answer.
    """

    protocol = "llm"

    def __init__(
        self,
        connection: LlmConnection,
        *,
        settings: Settings,
        on_secret: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.conn_id = connection.conn_id
        self.identity: Mapping[str, Any] = {
            "provider": connection.model.family,
            "base_url": connection.base_url,
            "model": str(connection.model),
        }
        self._connection = connection
        self._settings = settings
        self._on_secret = on_secret

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Do nothing: each call closes what it has opened."""

    async def prepare(self, request: CallRequest) -> CallRequest:
        """Check `request`, and name its model. Raises AgentRejectedError with every problem of the settings."""
        if request.prompt is None or not request.prompt.strip():
            raise AgentRejectedError(
                f"{self._connection.name} is a language model and the step has no prompt; accepted is a prompt, with "
                "system_prompt, model, model_settings, and files or output_schema"
            )
        model = self._connection.choose_model(request.model)
        self._check_settings(request.model_settings)
        if request.output_schema is not None:
            self._check_schema(request.output_schema, files=request.files)
        return replace(request, model=str(model))

    def can_resend(self, request: CallRequest) -> bool:
        """Return True: asking a model changes nothing anywhere, and costs no more than the budget."""
        return True

    async def call(self, request: CallRequest, *, idempotency_key: str, ledger: Ledger) -> Answer:
        """Ask the model; every request to it is a part of `ledger`."""
        from scaffolder.agents.llm.client import ModelClient
        from scaffolder.agents.llm.conversation import Conversation
        from scaffolder.agents.llm.files import write_files

        prompt = request.prompt or ""
        async with ModelClient(
            self._connection,
            settings=self._settings,
            timeout_seconds=request.timeout_seconds or self._settings.agent_timeout_seconds,
            on_secret=self._on_secret,
        ) as client:
            conversation = Conversation(
                connection=self._connection,
                client=client,
                ledger=ledger,
                model=self._connection.choose_model(request.model),
                system_prompt=request.system_prompt,
                settings=request.model_settings,
                max_json_depth=self._settings.max_agent_json_depth,
            )
            if request.files:
                return Answer(data=await write_files(conversation, prompt, settings=self._settings))
            if request.output_schema is not None:
                return Answer(data=await conversation.ask_for_object("answer", [prompt], schema=request.output_schema))
            return Answer(data={"text": await conversation.ask_for_text("answer", [prompt])})

    async def recover(self, request: CallRequest, *, idempotency_key: str) -> Answer | Job | None:
        """Return None: a language model keeps nothing."""
        return None

    async def poll(self, handle: Mapping[str, Any]) -> JobStatus:
        """Raise AgentConfigurationError: a language model has no jobs."""
        self._refuse_job()

    async def fetch_result(self, handle: Mapping[str, Any]) -> Answer:
        """Raise AgentConfigurationError: a language model has no jobs."""
        self._refuse_job()

    async def cancel(self, handle: Mapping[str, Any]) -> None:
        """Raise AgentConfigurationError: a language model has no jobs."""
        self._refuse_job()

    def _check_settings(self, model_settings: Mapping[str, Any]) -> None:
        if unknown := sorted(set(model_settings) - _SETTINGS.keys()):
            raise AgentRejectedError(f"the step has model_settings {unknown}; accepted are {sorted(_SETTINGS)}")
        schema = {"type": "object", "properties": _SETTINGS}
        if problems := [f"{path[0]}: {message}" for path, message in find_violations(schema, dict(model_settings))]:
            raise AgentRejectedError(f"the step has model_settings that no model accepts: {'; '.join(problems)}")

    def _check_schema(self, schema: Mapping[str, Any], *, files: bool) -> None:
        if files:
            raise AgentRejectedError("the step has both files and output_schema; accepted is one of them")
        if schema.get("type") != "object":
            raise AgentRejectedError(
                f"the step's output_schema has type {schema.get('type')!r}; accepted for a language model is 'object'"
            )
        try:
            check_schema(schema)
            check_bounded(schema)
        except SchemaError as error:
            raise AgentRejectedError(f"the step's output_schema cannot be used: {error}") from error

    def _refuse_job(self) -> NoReturn:
        raise AgentConfigurationError(f"{self._connection.name} is a language model, which has no jobs to ask after")
