"""Requests to a git host's REST API: at a pace that all workers share, tried again where that is harmless.

What differs between hosts (how a request is sent, how one says that it was asked too often) comes from `HostTransport`;
errors become ours here, once.
"""

from __future__ import annotations

import email.utils
import logging
import random
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

from scaffolder.config import Settings
from scaffolder.errors import ExportRejectedError, HostUnavailableError, HostWaitError
from scaffolder.generation.repository import last_line
from scaffolder.records.exports import ExportRecords, WriteLimits

log = logging.getLogger(__name__)

Found = TypeVar("Found")

# The most that GitHub and GitLab give at once.
_PAGE_ITEMS: Final = 100
_BACKOFF_SECONDS: Final = 0.5
_MAX_DIGITS: Final = 12
# Shorter ones are not told from words.
_SECRET_CHARACTERS: Final = 4
# GitHub's advice where a secondary limit names no time: at least a minute.
_UNNAMED_WAIT_SECONDS: Final = 60.0
_LOST_ANSWERS: Final = frozenset({500, 502, 503, 504})


@dataclass(frozen=True, kw_only=True)
class HostAnswer:
    """What a host answered; header names are in lower case, `data` is the body's JSON."""

    status: int
    headers: Mapping[str, str]
    data: Any = field(repr=False)


class HostUnreachableError(Exception):
    """No answer came: refused, reset, timed out. It never leaves the exporters. `sent` says it may have arrived."""

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class HostAccount:
    """An account at a host: what it is called in messages, how fast it may write, and what no message may hold.

    `location` is the host's URL without credentials.
    """

    def __init__(self, location: str, *, conn_id: str, limits: WriteLimits | None) -> None:
        self.location = location
        self.account = f"{location} as {conn_id!r}"
        self.limits = limits
        self._secrets: set[str] = set()

    @property
    def secrets(self) -> Collection[str]:
        """What no message may hold."""
        return self._secrets

    def hide(self, secret: str) -> str:
        """Keep `secret`, which is about to be sent, out of messages, and return it."""
        if len(secret) >= _SECRET_CHARACTERS:
            self._secrets.add(secret)
        return secret


class HostTransport(Protocol):
    """How requests reach one host as one account: a `HostAccount` that sends."""

    account: str
    limits: WriteLimits | None

    @property
    def secrets(self) -> Collection[str]:
        """What no message may hold."""

    def send(self, method: str, path: str, *, body: Any | None, query: Mapping[str, Any] | None) -> HostAnswer:
        """Send one request, once. Raises HostUnreachableError."""

    def find_wait(self, answer: HostAnswer) -> float | None:
        """Return the seconds to wait where `answer` says that it was asked too often, 0 where it doesn't say how long.

        None where it says something else.
        """

    def describe(self, answer: HostAnswer) -> str:
        """Return what an answer that refuses has to say."""


class HostApi:
    """One host's API, for one task."""

    def __init__(self, transport: HostTransport, records: ExportRecords, *, settings: Settings) -> None:
        self._transport = transport
        self._records = records
        self._settings = settings

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Any | None = None,
        query: Mapping[str, Any] | None = None,
        accept: Collection[int] = (),
    ) -> HostAnswer:
        """Return the answer where its status is 2xx or one of `accept`.

        A POST is sent once, and again only where the host said that it did nothing. Raises ExportRejectedError,
        HostUnavailableError (`in_doubt` where a POST may have been acted upon) and HostWaitError.
        """
        for tries_left in reversed(range(self._settings.export_tries)):
            self._wait_for_turn(writes=method != "GET")
            try:
                answer = self._transport.send(method, path, body=body, query=query)
            except HostUnreachableError as error:
                away = self._unavailable(method, path, str(error), in_doubt=method == "POST" and error.sent)
            else:
                wait = self._transport.find_wait(answer)
                if wait is not None:
                    self._block(wait or _UNNAMED_WAIT_SECONDS, method, path)
                    away = self._unavailable(method, path, "it was asked too often", in_doubt=False)
                elif answer.status in _LOST_ANSWERS:
                    reason = f"{answer.status} {self.explain(answer)}"
                    away = self._unavailable(method, path, reason, in_doubt=method == "POST")
                elif answer.status < 300 or answer.status in accept:
                    return answer
                else:
                    raise self._refused(method, path, answer)
            if away.in_doubt or not tries_left:
                raise away
            self._back_off(away, tries_left)
        raise AssertionError("unreachable")

    def list(self, path: str, *, query: Mapping[str, Any] | None = None) -> list[Any]:
        """Return all items of a list, page by page."""
        found: list[Any] = []
        page = 1
        while True:
            answer = self.request("GET", path, query={"per_page": _PAGE_ITEMS, **(query or {}), "page": page})
            found.extend(answer.data)
            if len(answer.data) < _PAGE_ITEMS:
                return found
            page += 1

    def create(self, create: Callable[[], Found], find: Callable[[], Found | None]) -> Found:
        """Return what `create` makes; where its answer is lost, `find` tells whether it was made.

        Raises as `request` does.
        """
        for tries_left in reversed(range(self._settings.export_tries)):
            try:
                return create()
            except HostUnavailableError as error:
                if not error.in_doubt or not tries_left:
                    raise
                log.warning("%s. Looking whether it was done", error)
                self._back_off(error, tries_left)
                if (found := find()) is not None:
                    return found
        raise AssertionError("unreachable")

    def explain(self, answer: HostAnswer) -> str:
        """Return what an answer that refuses has to say, fit to be shown."""
        return self._clean(self._transport.describe(answer))

    def _wait_for_turn(self, *, writes: bool) -> None:
        longest = self._settings.export_max_wait_seconds
        transport = self._transport
        if writes and transport.limits is not None:
            seconds = self._records.reserve_write(transport.account, limits=transport.limits, max_wait_seconds=longest)
        else:
            seconds = self._records.get_block(transport.account)
        if seconds > longest:
            self._give_way(seconds)
        if seconds > 0:
            if seconds > 1:
                log.info("Waiting %.1f s for our turn at %s", seconds, transport.account)
            time.sleep(seconds)

    def _block(self, seconds: float, method: str, path: str) -> None:
        # A host that errs must not close itself for ever.
        seconds = min(seconds, self._settings.export_max_deferral_seconds)
        self._records.block(self._transport.account, seconds=seconds)
        log.warning("%s %s: the host wants to be left alone for %.0f s", method, path, seconds)

    def _give_way(self, seconds: float) -> None:
        told = f"{self._transport.account} may be asked again in {seconds:.0f} s"
        limit = self._settings.export_max_deferral_seconds
        if seconds > limit:
            raise ExportRejectedError(f"{told}; accepted are up to {limit} (SCAFFOLDER_EXPORT_MAX_DEFERRAL_SECONDS)")
        # With jitter: those that wait for the same moment don't come all at once.
        raise HostWaitError(told, retry_after_seconds=seconds + random.uniform(0, 2))  # noqa: S311  # no secret

    def _back_off(self, error: HostUnavailableError, tries_left: int) -> None:
        tried = self._settings.export_tries - tries_left
        delay = _BACKOFF_SECONDS * 2 ** (tried - 1) * random.uniform(0.5, 1.5)  # noqa: S311  # no secret
        log.warning("%s. %s tries are left, the next in %.1f s", error, tries_left, delay)
        time.sleep(delay)

    def _unavailable(self, method: str, path: str, reason: str, *, in_doubt: bool) -> HostUnavailableError:
        return HostUnavailableError(
            f"{method} {path} at {self._transport.account} failed: {self._clean(reason)}", in_doubt=in_doubt
        )

    def _refused(self, method: str, path: str, answer: HostAnswer) -> ExportRejectedError:
        advice = {
            401: ". Check the connection's credentials",
            403: ". Check what the connection's account may do there",
            404: ". It isn't there, or the connection's account may not see it",
        }.get(answer.status, "")
        told = f"{answer.status} {self.explain(answer)}"
        return ExportRejectedError(f"{method} {path} at {self._transport.account} was refused: {told}{advice}")

    def _clean(self, text: str) -> str:
        for secret in sorted(self._transport.secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return last_line(" ".join(text.split()))


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a ``Retry-After`` header (RFC 9110, 10.2.3), None where there is none that can be read."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:_MAX_DIGITS])
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - time.time())


def describe_lost(error: Exception) -> HostUnreachableError:
    """Return what an error of requests, other than one of certificates, means: no answer, and whether it was sent."""
    import requests
    from urllib3.exceptions import NameResolutionError, NewConnectionError

    reason = getattr(error.args[0] if error.args else None, "reason", None)
    was_connected = not isinstance(reason, NewConnectionError | NameResolutionError)
    return HostUnreachableError(
        describe_reason(error), sent=was_connected and not isinstance(error, requests.exceptions.ConnectTimeout)
    )


def describe_reason(error: Exception) -> str:
    """Return what is wrong, without the URL and objects' addresses that requests tells with it."""
    reason = getattr(error.args[0] if error.args else None, "reason", None) or error
    return f"{type(reason).__name__}: {str(reason).rpartition('>: ')[2]}"
