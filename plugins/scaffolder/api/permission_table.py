"""Who may use which route of the API: the whole of it, as one table. The tests hold every route against it.

Roles are those in a private project. All but ``reader`` may use Scaffolder as far as Airflow's auth manager is asked;
``reader`` owns the project, but Airflow lets that user only look. ``outsider`` owns another project.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """Who asks."""

    ANONYMOUS = "anonymous"
    OUTSIDER = "outsider"
    READER = "reader"
    VIEWER = "viewer"
    MEMBER = "member"
    OWNER = "owner"
    ADMINISTRATOR = "administrator"


class Answer(StrEnum):
    """What comes of it."""

    ALLOWED = "allowed"
    NOT_AUTHENTICATED = "401"
    DENIED = "403"
    NOT_THERE = "404"


Row = dict[Role, Answer]

_A, _D, _N = Answer.ALLOWED, Answer.DENIED, Answer.NOT_THERE


def _row(outsider: Answer, reader: Answer, viewer: Answer, member: Answer, owner: Answer) -> Row:
    return {
        Role.ANONYMOUS: Answer.NOT_AUTHENTICATED,
        Role.OUTSIDER: outsider,
        Role.READER: reader,
        Role.VIEWER: viewer,
        Role.MEMBER: member,
        Role.OWNER: owner,
        Role.ADMINISTRATOR: Answer.ALLOWED,
    }


_LOOK: Final = _row(outsider=_A, reader=_A, viewer=_A, member=_A, owner=_A)
_MAKE: Final = _row(outsider=_A, reader=_D, viewer=_A, member=_A, owner=_A)
_READ: Final = _row(outsider=_N, reader=_A, viewer=_A, member=_A, owner=_A)
_WRITE: Final = _row(outsider=_N, reader=_D, viewer=_D, member=_A, owner=_A)
_MANAGE: Final = _row(outsider=_N, reader=_D, viewer=_D, member=_D, owner=_A)

_PROJECT: Final = "/projects/{project}"
_GENERATED: Final = f"{_PROJECT}/generated/{{generated_id}}"
_EXPORT: Final = f"{_GENERATED}/exports/{{export_id}}"

TABLE: Final[dict[tuple[str, str], Row]] = {
    ("GET", "/openapi.json"): _LOOK,
    ("GET", "/workflows"): _LOOK,
    ("GET", "/workflows/{workflow}"): _LOOK,
    ("GET", "/step-types"): _LOOK,
    ("GET", "/templates"): _LOOK,
    ("GET", "/templates/{name}"): _LOOK,
    ("GET", "/agents"): _LOOK,
    ("GET", "/agents/{connection}"): _LOOK,
    ("GET", "/agents/{connection}/endpoints"): _LOOK,
    # These lists leave out what the caller does not see.
    ("GET", "/projects"): _LOOK,
    ("GET", "/generated"): _LOOK,
    ("POST", "/projects"): _MAKE,
    ("GET", _PROJECT): _READ,
    ("PATCH", _PROJECT): _MANAGE,
    ("DELETE", _PROJECT): _MANAGE,
    ("GET", f"{_PROJECT}/events"): _READ,
    ("GET", f"{_PROJECT}/members"): _READ,
    ("GET", f"{_PROJECT}/members/{{username}}"): _READ,
    ("PUT", f"{_PROJECT}/members/{{username}}"): _MANAGE,
    ("DELETE", f"{_PROJECT}/members/{{username}}"): _MANAGE,
    ("GET", f"{_PROJECT}/generated"): _READ,
    ("POST", f"{_PROJECT}/generated"): _WRITE,
    ("GET", _GENERATED): _READ,
    ("DELETE", _GENERATED): _WRITE,
    ("POST", f"{_GENERATED}/hold"): _WRITE,
    ("POST", f"{_GENERATED}/release"): _WRITE,
    ("POST", f"{_GENERATED}/regenerate"): _WRITE,
    ("POST", f"{_GENERATED}/cancel"): _WRITE,
    ("GET", f"{_GENERATED}/commits"): _READ,
    ("GET", f"{_GENERATED}/files"): _READ,
    ("GET", f"{_GENERATED}/files/{{path}}"): _READ,
    ("GET", f"{_GENERATED}/tree"): _READ,
    ("GET", f"{_GENERATED}/content/{{path}}"): _READ,
    ("GET", f"{_GENERATED}/diff"): _READ,
    ("GET", f"{_GENERATED}/patch"): _READ,
    ("GET", f"{_GENERATED}/events"): _READ,
    ("GET", f"{_GENERATED}/events/stream"): _READ,
    ("GET", f"{_GENERATED}/agent-calls"): _READ,
    ("GET", f"{_GENERATED}/exports"): _READ,
    ("POST", f"{_GENERATED}/exports"): _WRITE,
    ("GET", _EXPORT): _READ,
    ("POST", f"{_EXPORT}/retry"): _WRITE,
    ("GET", f"{_EXPORT}/archive"): _READ,
    ("GET", f"{_EXPORT}/manifest"): _READ,
    ("GET", f"{_EXPORT}/bundle"): _READ,
}
