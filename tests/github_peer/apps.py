"""Tokens of an app's installation, for what only the app's private key can have signed."""

from __future__ import annotations

import secrets
import time
from datetime import UTC, datetime, timedelta

import jwt

from tests.github_peer.refusals import RefusalError, not_found
from tests.github_peer.routing import Answer, Call, route
from tests.github_peer.state import Token


@route(
    "POST",
    "/app/installations/{number}/access_tokens",
    body="AppInstallationsInstallationIdAccessTokensPostBody",
    answered="InstallationToken",
    access="app",
)
def create_installation_token(call: Call) -> Answer:
    _check_assertion(call)
    if call.path["number"] != str(call.peer.installation_id):
        raise not_found()
    visible = {found.id: found for found in call.peer.repositories if found.owner == "acme"}
    wanted = {found.id for found in visible.values() if found.name in (call.body.get("repositories") or [])}
    wanted |= set(call.body.get("repository_ids") or [])
    asked = len(call.body.get("repositories") or []) + len(call.body.get("repository_ids") or [])
    if len(wanted & set(visible)) < asked:
        message = (
            "There is at least one repository that does not exist or is not accessible to the parent installation."
        )
        raise RefusalError(422, message)
    token = f"ghs_{secrets.token_hex(18)}"
    limit = frozenset(wanted) if asked else None
    call.peer.tokens[token] = Token(login=call.peer.bot, is_installation=True, repository_ids=limit)
    expires = datetime.now(UTC) + timedelta(hours=1)
    document = {
        "token": token,
        "expires_at": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "permissions": call.body.get("permissions") or {"contents": "write", "metadata": "read"},
        "repository_selection": "selected" if asked else "all",
    }
    return Answer(201, document)


def _check_assertion(call: Call) -> None:
    kind, _, assertion = call.request.authorization.partition(" ")
    try:
        claims = jwt.decode(
            assertion if kind == "Bearer" else "",
            call.peer.app_public_key,
            algorithms=["RS256"],
            options={"require": ["exp", "iat", "iss"]},
        )
    except jwt.PyJWTError:
        raise RefusalError(401, "A JSON web token could not be decoded") from None
    if str(claims["iss"]) != str(call.peer.app_id):
        raise not_found("Integration not found")
    if claims["exp"] > time.time() + 600:
        raise RefusalError(401, "'Expiration time' claim ('exp') is too far in the future")
