"""What GitHub answers when it won't: a status, a message and errors, in its shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DOCUMENTATION_URL = "https://docs.github.com/rest"


class RefusalError(Exception):
    def __init__(
        self, status: int, message: str, *, errors: list[Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.errors, self.headers = status, errors, dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        errors = {} if self.errors is None else {"errors": self.errors}
        return {"message": str(self)} | errors | {"documentation_url": DOCUMENTATION_URL, "status": str(self.status)}


def not_found(message: str = "Not Found") -> RefusalError:
    return RefusalError(404, message)


def invalid(*errors: Any) -> RefusalError:
    return RefusalError(422, "Validation Failed", errors=list(errors))


def invalid_field(resource: str, field: str, message: str = "", *, code: str = "invalid") -> RefusalError:
    return invalid(describe_field(resource, field, message, code=code))


def describe_field(resource: str, field: str, message: str = "", *, code: str) -> dict[str, str]:
    error = {"resource": resource, "code": code, "field": field}
    return error | {"message": message} if message else error


def custom(resource: str, message: str, *, field: str = "") -> RefusalError:
    error = {"resource": resource, "code": "custom"} | ({"field": field} if field else {})
    return invalid(error | {"message": message})
