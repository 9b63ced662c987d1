"""Requests to GitHub's REST and GraphQL APIs through PyGithub, which knows its tokens and apps. It repeats none."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from scaffolder.config import Settings
from scaffolder.errors import ExportRejectedError, HostUnavailableError
from scaffolder.exports.host_api import (
    HostAccount,
    HostAnswer,
    HostUnreachableError,
    describe_lost,
    describe_reason,
    read_retry_after,
)
from scaffolder.generation.git_remote import GitRemote
from scaffolder.records.exports import WriteLimits

if TYPE_CHECKING:
    from github import Github


class GitHubConnection(HostAccount):
    """GitHub as one account: a user's token, or an installation of a GitHub App.

    `client` is that of Airflow's GithubHook; of it come credentials and address, not its habit to send a POST again.
    """

    def __init__(self, client: Github, *, conn_id: str, settings: Settings) -> None:
        from github import Github

        arguments = client.requester.kwargs | {
            "retry": 0,
            "timeout": settings.export_timeout_seconds,
            "seconds_between_requests": 0,
            "seconds_between_writes": 0,
        }
        self._requester = Github(**arguments).requester
        # At DEBUG it writes bodies: webhooks' secrets, and fresh tokens.
        logging.getLogger("github.Requester").setLevel(logging.INFO)
        limits = WriteLimits(
            interval_seconds=settings.github_write_interval_seconds,
            per_minute=settings.github_writes_per_minute,
            per_hour=settings.github_writes_per_hour,
        )
        super().__init__(self._requester.base_url.rstrip("/"), conn_id=conn_id, limits=limits)

    @property
    def web_url(self) -> str:
        """Where people and git find repositories."""
        parts = urlsplit(self.location)
        return urlunsplit(parts._replace(netloc=parts.netloc.removeprefix("api."), path=""))

    def send(self, method: str, path: str, *, body: Any | None, query: Mapping[str, Any] | None) -> HostAnswer:
        """See `HostTransport`. `path` is below the API's base URL, or ``/graphql``."""
        import requests

        url = self._requester.graphql_url if path == "/graphql" else path
        self._read_token()
        try:
            status, headers, text = self._requester.requestJson(method, url, parameters=dict(query or {}), input=body)
        except requests.exceptions.SSLError as error:
            raise ExportRejectedError(
                f"the certificate of {self.location} is not trusted: {describe_reason(error)}"
            ) from None
        except requests.RequestException as error:
            raise describe_lost(error) from None
        except (RuntimeError, AssertionError) as error:
            raise ExportRejectedError(f"{self.location} redirects elsewhere: {error}") from None
        try:
            data = json.loads(text) if text else None
        except ValueError:
            data = {"message": "the answer is no JSON"}
            if status < 300 and method != "GET":
                raise HostUnreachableError("the answer is no JSON") from None
            if status < 300:
                raise ExportRejectedError(
                    f"{self.location} answers with something else than JSON; accepted is the URL of GitHub's API"
                ) from None
        return HostAnswer(status=status, headers=headers, data=data)

    def find_wait(self, answer: HostAnswer) -> float | None:
        """See `HostTransport`. GitHub's rules: https://docs.github.com/rest/using-the-rest-api/rate-limits."""
        if answer.status not in {403, 429}:
            return None
        if (seconds := read_retry_after(answer.headers)) is not None:
            return max(1.0, seconds)
        if answer.headers.get("x-ratelimit-remaining") == "0":
            reset = answer.headers.get("x-ratelimit-reset", "")
            return max(1.0, float(reset) - time.time()) if reset.isascii() and reset.isdigit() else 0.0
        if answer.status == 429 or "secondary rate limit" in self.describe(answer).lower():
            return 0.0
        return None

    def describe(self, answer: HostAnswer) -> str:
        """See `HostTransport`."""
        data = answer.data if isinstance(answer.data, Mapping) else {}
        errors = data.get("errors")
        details = [_describe_error(one) for one in errors] if isinstance(errors, list) else [errors or ""]
        told = [str(data.get("message") or ""), *details]
        return "; ".join(part for part in told if part) or "no reason given"

    def get_git_remote(self) -> GitRemote:
        """Return the credentials for git over HTTPS."""
        return GitRemote(url=self.web_url, username="x-access-token", password=self._read_token())

    def _read_token(self) -> str:
        """Return the token; an App's is asked for where it has expired."""
        import jwt
        import requests
        from github import GithubException

        auth: Any = self._requester.auth
        try:
            return self.hide(str(auth.token))
        except GithubException as error:
            raise _explain_token(error) from None
        except (jwt.PyJWTError, ValueError) as error:
            raise ExportRejectedError(
                f"the private_key of {self.account} cannot be used: {type(error).__name__}; accepted is the App's own, "
                "in PEM"
            ) from None
        except requests.RequestException as error:
            raise HostUnavailableError(f"{self.account} gives no token: {describe_reason(error)}") from None


def _explain_token(error: Any) -> Exception:
    if error.status >= 500:
        return HostUnavailableError(f"GitHub gives no token for the App's installation: {error.status}")
    return ExportRejectedError(
        f"GitHub gives no token for the App's installation: {error.status} {(error.data or {}).get('message', '')}. "
        "Check app_id, installation_id and private_key of the connection"
    )


def _describe_error(error: Any) -> str:
    if not isinstance(error, Mapping):
        return str(error)
    return str(error.get("message") or " ".join(str(error.get(key) or "") for key in ("resource", "field", "code")))
