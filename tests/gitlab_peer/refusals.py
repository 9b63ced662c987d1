"""What GitLab answers when it won't: a status and a message, in its shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class RefusalError(Exception):
    def __init__(self, status: int, body: Any, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(f"{status} {body}")
        self.status, self.body, self.headers = status, body, dict(headers or {})


def unauthorized() -> RefusalError:
    return RefusalError(401, {"message": "401 Unauthorized"})


def forbidden() -> RefusalError:
    return RefusalError(403, {"message": "403 Forbidden"})


def not_found(what: str = "") -> RefusalError:
    return RefusalError(404, {"message": f"404 {what} Not Found".replace("  ", " ")})


def invalid(**messages: str) -> RefusalError:
    """What a model refuses: attributes with lists of reasons."""
    return RefusalError(400, {"message": {name: [text] for name, text in messages.items()}})


def malformed(text: str) -> RefusalError:
    """What a request's parameters are refused with, before anything is looked at."""
    return RefusalError(400, {"error": text})


def conflict(message: Any) -> RefusalError:
    return RefusalError(409, {"message": message})


def too_many_requests(seconds: float, *, reset_at: int) -> RefusalError:
    headers = {
        "RateLimit-Limit": "1",
        "RateLimit-Remaining": "0",
        "RateLimit-Reset": str(reset_at),
        "Retry-After": f"{seconds:.0f}",
    }
    return RefusalError(429, {"message": "429 Too Many Requests"}, headers=headers)
