"""Requests as they came, the faults that meet them and GitHub's limits on how fast one may write."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.github_peer.refusals import RefusalError

SECONDARY_MESSAGE = (
    "You have exceeded a secondary rate limit and have been temporarily blocked from content creation. "
    "Please retry your request again later."
)


@dataclass(kw_only=True)
class Request:
    """`path` is the one below the API (``/repos/acme/shop``), or git's (``/acme/shop.git/info/refs``)."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    content: bytes = field(repr=False)
    authorization: str = field(default="", repr=False)
    at: float = field(default_factory=time.monotonic)
    status: int = 0

    @property
    def json(self) -> Any:
        return json.loads(self.content) if self.content else None

    @property
    def is_authorised(self) -> bool:
        """Whether it carries anything to prove who asks, right or wrong."""
        return bool(self.authorization)

    @property
    def is_git(self) -> bool:
        return bool(re.search(r"/(info/refs|git-upload-pack|git-receive-pack)$", self.path))

    @property
    def writes(self) -> bool:
        return self.method != "GET" and not self.is_git


@dataclass(kw_only=True)
class Fault:
    """`kind` is a status, "reset" or "hang", with "before" or "after" the effect; or one of the named ones."""

    method: str
    path: re.Pattern[str]
    kind: str | Callable[[Any], None]
    times: float
    seconds: float | None

    def meets(self, request: Request) -> bool:
        target = f"{request.path}?{'&'.join(f'{name}={value}' for name, value in request.query.items())}"
        is_meant = bool(self.path.search(request.path) or self.path.search(target))
        return self.times > 0 and self.method in {"*", request.method} and is_meant

    @property
    def comes_after(self) -> bool:
        return isinstance(self.kind, str) and self.kind.endswith(" after")

    @property
    def name(self) -> str:
        return self.kind.split(" ")[0] if isinstance(self.kind, str) else "callable"


_KINDS = re.compile(r"([45]\d\d|reset|hang)( before| after)?|secondary limit|primary limit|slow")


def check_kind(kind: str | Callable[[Any], None]) -> None:
    if isinstance(kind, str) and not _KINDS.fullmatch(kind):
        raise ValueError(f"{kind!r} is no fault; there are: {_KINDS.pattern}")


@dataclass(kw_only=True)
class SecondaryLimits:
    """What is more than these is refused: writes by their arrival, `concurrent` requests of any kind."""

    min_interval_seconds: float | None = None
    per_minute: int | None = None
    per_hour: int | None = None
    concurrent: int | None = None
    retry_after_seconds: int | None = None

    def find_wait(self, arrivals: list[float], *, in_flight: int) -> float | None:
        """Return the seconds to wait where the last of `arrivals` is one too many or too early."""
        waits: list[float] = []
        latest = arrivals[-1] if arrivals else 0.0
        if self.min_interval_seconds and len(arrivals) > 1:
            waits.append(self.min_interval_seconds - (latest - arrivals[-2]))
        for limit, window in ((self.per_minute, 60.0), (self.per_hour, 3600.0)):
            recent = [at for at in arrivals if latest - at < window]
            if limit is not None and len(recent) > limit:
                waits.append(window - (latest - recent[-limit - 1]))
        if self.concurrent is not None and in_flight > self.concurrent:
            waits.append(1.0)
        longest = max(waits, default=0.0)
        return longest if longest > 0 else None

    def refuse(self, wait: float) -> RefusalError:
        return refuse_secondary(self.retry_after_seconds or math.ceil(wait))


def refuse_secondary(seconds: float, *, status: int = 403) -> RefusalError:
    return RefusalError(status, SECONDARY_MESSAGE, headers={"Retry-After": str(math.ceil(seconds))})


def refuse_primary(seconds: float) -> RefusalError:
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(math.ceil(time.time() + seconds))}
    return RefusalError(403, "API rate limit exceeded for user ID 1.", headers=headers)


def refuse_named(fault: Fault, seconds: float) -> RefusalError:
    """Return the refusal of a fault that is one."""
    if fault.kind == "primary limit":
        return refuse_primary(seconds)
    if fault.kind == "secondary limit" or fault.name == "429":
        return refuse_secondary(seconds, status=429 if fault.name == "429" else 403)
    messages = {401: "Bad credentials", 403: "Forbidden", 404: "Not Found", 502: "Server Error"}
    return RefusalError(int(fault.name), messages.get(int(fault.name), "Server Error"))
