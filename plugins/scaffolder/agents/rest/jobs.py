"""Long jobs of REST agents: what a 202 says of the job, how the job is getting on, and what its result is.

A job's handle is plain JSON data: ``url`` (the job's own), ``job`` (its id, where the rule points to one) and ``rule``.
Polling sends GET and nothing else.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import quote, unquote_plus

from scaffolder.agents.contract import Job, JobRule, JobStatus
from scaffolder.agents.http.failures import NO_REASON, clean, describe_refusal, hide_secrets, parse_retry_after
from scaffolder.agents.http.messages import HttpRequest
from scaffolder.agents.rest.json_pointer import ACCEPTED, is_pointer, look_up
from scaffolder.errors import AgentAnswerError, AgentJobError

if TYPE_CHECKING:
    from scaffolder.agents.http.messages import HttpAnswer
    from scaffolder.agents.http.transport import AgentClient

# A poll is a small GET: waiting long for one would hold up the polls of all other jobs.
_POLL_TIMEOUT_SECONDS: Final = 60
# Airflow gives a trigger 30 seconds when its task is killed: time for three tries.
_CANCEL_TIMEOUT_SECONDS: Final = 7
_WORD_CHARACTERS: Final = 100
_ACCEPTED: Final = 202
_SEE_OTHER: Final = 303
_UNKNOWN: Final = frozenset({404, 410})
# To cancel what is over or gone changes nothing.
_OVER: Final = _UNKNOWN | {409}

log = logging.getLogger(__name__)


def find_problems(rule: JobRule) -> list[str]:
    """Return a sentence for each thing that is wrong with what a step says of its job."""
    problems = [
        f"job.{name} is {pointer!r}; {ACCEPTED}"
        for name, pointer in (("id", rule.id), ("state", rule.state), ("result", rule.result))
        if pointer is not None and not is_pointer(pointer)
    ]
    for name, path in (
        ("status_path", rule.status_path),
        ("result_path", rule.result_path),
        ("cancel_path", rule.cancel_path),
    ):
        if path is not None and (not path.startswith("/") or path.startswith("//")):
            problems.append(f"job.{name} is {path!r}; accepted is a path below the base URL, such as '/jobs/{{job}}'")
        if path is not None and "{job}" in path and rule.id is None:
            problems.append(f"job.{name} is {path!r}, but job.id does not say where the answer has the job's id")
    if both := sorted(_fold(rule.done) & _fold(rule.failed)):
        problems.append(f"job.done and job.failed both have {both}")
    for name, seconds in (("poll_seconds", rule.poll_seconds), ("timeout_seconds", rule.timeout_seconds)):
        if not seconds > 0:
            problems.append(f"job.{name} is {seconds}; accepted is more than 0")
    return problems


@dataclass(frozen=True, kw_only=True)
class JobHandle:
    """One job: its URL or path below the agent's base URL, its id where the rule points to one, and the rule."""

    url: str
    job: str | None
    rule: JobRule

    @classmethod
    def from_json(cls, handle: Mapping[str, Any]) -> JobHandle:
        """Read what `to_json` wrote, in this version or one with other fields in its rules."""
        known = {field.name for field in fields(JobRule)}
        rule: dict[str, Any] = {name: value for name, value in handle["rule"].items() if name in known}
        for name in ("done", "failed"):
            rule[name] = tuple(rule.get(name, getattr(JobRule, name)))
        return cls(url=handle["url"], job=handle["job"], rule=JobRule(**rule))

    def to_json(self) -> dict[str, Any]:
        """Return the handle as plain JSON data."""
        rule = asdict(self.rule) | {"done": list(self.rule.done), "failed": list(self.rule.failed)}
        return {"url": self.url, "job": self.job, "rule": rule}


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """What a finished job brought: the value that the rule points to, and the whole answer that it is in."""

    data: Any
    status: int
    whole: Any


class JobClient:
    """Asks after jobs of one agent."""

    def __init__(self, client: AgentClient) -> None:
        self._client = client
        self._name = client.connection.name

    def accept(self, rule: JobRule, answer: HttpAnswer) -> Job:
        """Return the job that a 202 has announced.

        Raises AgentAnswerError where the answer does not say which job, and AgentRejectedError where that is not at
        the agent.
        """
        job = self._id_of(rule.id, answer) if rule.id is not None else None
        # Agents on Azure say where the job is in Operation-Location, and in Location where its result will be.
        location = answer.headers.get("operation-location") or answer.headers.get("location")
        if rule.status_path is not None:
            url = _fill(rule.status_path, job)
        elif location:
            url = self._refuse_secrets(self._client.resolve(location, base=answer.url))
        else:
            raise AgentAnswerError(
                f"{self._name} answered 202 without a Location; accepted is that, or job.status_path in the step"
            )
        return Job(
            handle=JobHandle(url=url, job=job, rule=rule).to_json(),
            poll_seconds=min(max(rule.poll_seconds, _retry_after(answer) or 0.0), rule.timeout_seconds),
            timeout_seconds=rule.timeout_seconds,
        )

    async def poll(self, handle: Mapping[str, Any]) -> JobStatus:
        """Ask after a job; one that the agent no longer knows has failed."""
        known = JobHandle.from_json(handle)
        answer = await self._get(known.url, timeout_seconds=_POLL_TIMEOUT_SECONDS, allow=_UNKNOWN | {_SEE_OTHER})
        state, note = self._state_of(known.rule, answer)
        return JobStatus(state=state, note=note, retry_after_seconds=_retry_after(answer))

    async def fetch_result(self, handle: Mapping[str, Any]) -> JobResult:
        """Return the result of a job that is done. Raises AgentJobError where it is not."""
        known = JobHandle.from_json(handle)
        answer = await self._get(known.url, allow=_UNKNOWN | {_SEE_OTHER})
        state, note = self._state_of(known.rule, answer)
        if state != "done":
            raise AgentJobError(f"{self._name}: the job is {state}: {note or NO_REASON}")
        if known.rule.result_path is not None:
            answer = await self._get(_fill(known.rule.result_path, known.job))
        elif answer.status == _SEE_OTHER:
            location = answer.headers.get("location")
            if not location:
                raise AgentAnswerError(f"{self._name} answered 303 without a Location; accepted is where the result is")
            answer = await self._get(self._client.resolve(location, base=answer.url))
        whole = answer.json()
        try:
            data = look_up(whole, known.rule.result or "")
        except LookupError as error:
            raise AgentAnswerError(
                f"{self._name}: the answer of the job has nothing at {known.rule.result!r}; accepted in job.result is "
                "where the result is"
            ) from error
        return JobResult(data=data, status=answer.status, whole=whole)

    async def cancel(self, handle: Mapping[str, Any]) -> None:
        """Cancel a job. One that is over or gone is no error, nor is one that cannot be cancelled."""
        known = JobHandle.from_json(handle)
        rule = known.rule
        if rule.cancel_method is None:
            log.info("%s: the step says that its jobs cannot be cancelled, so this one goes on", self._name)
            return
        path = known.url if rule.cancel_path is None else _fill(rule.cancel_path, known.job)
        await self._client.send(
            HttpRequest(method=rule.cancel_method, path=path), timeout_seconds=_CANCEL_TIMEOUT_SECONDS, allow=_OVER
        )

    async def _get(
        self, url: str, *, timeout_seconds: float | None = None, allow: frozenset[int] = frozenset()
    ) -> HttpAnswer:
        request = HttpRequest(method="GET", path=url)
        return await self._client.send(request, timeout_seconds=timeout_seconds, allow=allow)

    def _state_of(self, rule: JobRule, answer: HttpAnswer) -> tuple[Literal["running", "done", "failed"], str]:
        """Return the state of a job and what the log should say of it."""
        if answer.status == _SEE_OTHER:
            return "done", ""
        if answer.status == _ACCEPTED:
            return "running", ""
        if answer.status in _UNKNOWN:
            reason = describe_refusal(answer.content, self._client.secrets)
            return "failed", f"the agent does not know it any more ({answer.status}: {reason})"
        if rule.state is None:
            return "done", ""
        data = answer.json()
        try:
            value = look_up(data, rule.state)
        except LookupError as error:
            raise AgentAnswerError(
                f"{self._name}: the job has nothing at {rule.state!r}; accepted in job.state is where its state is"
            ) from error
        word = value if isinstance(value, str) else json.dumps(value)
        if word.casefold() in _fold(rule.done):
            return "done", self._clean(word)
        if word.casefold() in _fold(rule.failed):
            return "failed", f"{self._clean(word)}: {describe_refusal(answer.content, self._client.secrets)}"
        return "running", self._clean(word)

    def _id_of(self, pointer: str, answer: HttpAnswer) -> str:
        try:
            value = look_up(answer.json(), pointer)
        except LookupError:
            value = None
        if isinstance(value, bool) or not isinstance(value, str | int) or value in ("", ".", ".."):
            raise AgentAnswerError(
                f"{self._name} answered 202 without the id of a job at {pointer!r}; accepted are a string and an "
                "integer"
            )
        return str(value)

    def _refuse_secrets(self, url: str) -> str:
        """Return `url`, or raise: handles are stored, and shown."""
        if any(hide_secrets(form, self._client.secrets) != form for form in (url, unquote_plus(url))):
            raise AgentAnswerError(f"{self._name} answered 202 with a Location that repeats our credentials")
        return url

    def _clean(self, word: str) -> str:
        return clean(word, self._client.secrets, limit=_WORD_CHARACTERS)


def _fill(path: str, job: str | None) -> str:
    return path.replace("{job}", quote(job or "", safe=""))


def _fold(words: Iterable[str]) -> frozenset[str]:
    return frozenset(word.casefold() for word in words)


def _retry_after(answer: HttpAnswer) -> float | None:
    return parse_retry_after(answer.headers.get("retry-after"))
