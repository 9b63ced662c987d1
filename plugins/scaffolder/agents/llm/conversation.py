"""Asking a model until its answer is complete and fits: each request is paid for, so each is a part of the ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from scaffolder.agents.contract import Ledger
from scaffolder.agents.http.failures import clean
from scaffolder.agents.http.messages import parse_json
from scaffolder.agents.llm.client import ModelClient, Question
from scaffolder.agents.llm.connection import LlmConnection, ModelName
from scaffolder.errors import AgentAnswerError, AgentConfigurationError
from scaffolder.json_schema import SchemaError, find_violations

#: How often a model is asked for one answer before it is given up.
MAX_ASKS: Final = 3
_MAX_PROBLEMS: Final = 10
_COMPLETE: Final = frozenset({"stop", "tool_call"})


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a model has said. `finish_reason` is pydantic-ai's: only ``stop`` and ``tool_call`` mean a whole answer."""

    text: str = field(repr=False)
    finish_reason: str | None

    @property
    def is_complete(self) -> bool:
        """Whether the model said all that it had to say."""
        return self.finish_reason in _COMPLETE


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """One call's requests to one model: what stays the same for all of them."""

    connection: LlmConnection
    client: ModelClient
    ledger: Ledger
    model: ModelName
    system_prompt: str | None
    settings: Mapping[str, Any]
    max_json_depth: int

    async def ask(self, name: str, turns: Sequence[str], *, schema: Mapping[str, Any] | None = None) -> Reply:
        """Return the answer to the last of `turns`; it may be cut off. `name` is the part's in the ledger.

        Raises AgentAnswerError where the model declines.
        """
        question = Question(
            model=self.model,
            turns=tuple(turns),
            system_prompt=self.system_prompt,
            settings=self.settings,
            schema=schema,
        )
        answer = await self.ledger.part(name, question.as_json(), lambda: self.client.ask(question))
        reply = Reply(text=answer.data["text"], finish_reason=answer.data["finish_reason"])
        if reply.finish_reason == "content_filter":
            raise self.error(name, "the model declines to answer (content filter)")
        return reply

    async def ask_for_text(self, name: str, turns: Sequence[str]) -> str:
        """Return an answer in words. Raises AgentAnswerError where it is cut off or empty."""
        reply = await self.ask(name, turns)
        self._require_complete(name, reply)
        if not reply.text.strip():
            raise self.error(name, "the answer is empty")
        return reply.text

    async def ask_for_object(
        self,
        name: str,
        turns: Sequence[str],
        *,
        schema: Mapping[str, Any],
        find_problems: Callable[[dict[str, Any]], Sequence[str]] = lambda _: (),
    ) -> dict[str, Any]:
        """Return an object that fits `schema` and in which `find_problems` finds none.

        The model is told what is wrong with an answer, up to `MAX_ASKS` times in all. Raises AgentAnswerError where
        none fits or one is cut off.
        """
        asked = tuple(turns)
        problems: Sequence[str] = ()
        for number in range(1, MAX_ASKS + 1):
            part = name if number == 1 else f"{name}, once more ({number})"
            reply = await self.ask(part, asked, schema=schema)
            self._require_complete(name, reply)
            data, problems = self._read(reply, schema)
            problems = problems or find_problems(data)
            if not problems:
                return data
            asked = (*turns, reply.text.strip() or "(no answer)", _make_correction(problems))
        raise self.error(name, f"no answer of {MAX_ASKS} fits: {'; '.join(problems[:3])}")

    def error(self, name: str, problem: str) -> AgentAnswerError:
        """Return the error that says what was wrong with the part `name`."""
        # Names and values in it are the model's.
        said = clean(f"{name}: {problem}", self.connection.secrets)
        return AgentAnswerError(f"{self.connection.name}, model {str(self.model)!r}, {said}")

    def _require_complete(self, name: str, reply: Reply) -> None:
        if reply.is_complete:
            return
        if reply.finish_reason != "length":
            raise self.error(name, f"the answer is not complete (finish reason {reply.finish_reason!r})")
        limit = self.settings.get("max_tokens")
        where = f"at max_tokens {limit}" if limit else "at the model's own limit of tokens"
        raise self.error(name, f"the answer is cut off {where}. Raise max_tokens in model_settings, or ask for less")

    def _read(self, reply: Reply, schema: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        try:
            data = parse_json(reply.text.encode(), max_depth=self.max_json_depth)
        except ValueError as error:
            return {}, [f"it is not JSON, or nested deeper than {self.max_json_depth} levels ({type(error).__name__})"]
        if not isinstance(data, dict):
            return {}, ["it is not a JSON object"]
        try:
            violations = list(find_violations(schema, data, bounded=True))
        except SchemaError as error:
            raise AgentConfigurationError(f"the step's output_schema cannot be used: {error}") from error
        return data, [f"{'.'.join(map(str, path)) or 'the answer'}: {message}" for path, message in violations]


def _make_correction(problems: Sequence[str]) -> str:
    listing = "\n".join(f"- {problem}" for problem in problems[:_MAX_PROBLEMS])
    return f"That answer cannot be used:\n{listing}\nGive the whole answer again, corrected."
