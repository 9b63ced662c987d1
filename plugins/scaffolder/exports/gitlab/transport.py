"""Requests to GitLab's REST API through python-gitlab, which knows its tokens. It repeats none and follows nowhere."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from scaffolder.config import Settings
from scaffolder.errors import ExportRejectedError, ExportTargetError
from scaffolder.exports.host_api import (
    HostAccount,
    HostAnswer,
    HostUnreachableError,
    describe_lost,
    describe_reason,
    read_retry_after,
)
from scaffolder.generation.git_remote import GitRemote, hold_in_memory

if TYPE_CHECKING:
    from requests import Response

DEFAULT_URL: Final = "https://gitlab.com"
# "any non-blank value as a username": https://docs.gitlab.com/user/profile/personal_access_tokens
_GIT_USERNAME: Final = "oauth2"


class GitLabConnection(HostAccount):
    """GitLab at `url` as the account of `token`: a personal, group or project access token, or one of OAuth 2.0.

    `is_oauth` says which. `ca_certificate` is PEM text or the absolute path of a PEM file; then no other authority is
    trusted. Raises ExportTargetError for a URL or certificate that cannot be used; sends no request.
    """

    def __init__(
        self,
        *,
        url: str,
        token: str,
        conn_id: str,
        settings: Settings,
        is_oauth: bool = False,
        ca_certificate: str | None = None,
    ) -> None:
        import requests
        from gitlab import Gitlab

        super().__init__(_check_url(url, conn_id=conn_id), conn_id=conn_id, limits=None)
        self._token = self.hide(token)
        self._ca_certificate = _check_certificate(ca_certificate, conn_id=conn_id)
        self._answer: Response | None = None
        session = requests.Session()
        session.max_redirects = 0
        session.hooks["response"].append(self._keep)
        self._client = Gitlab(
            self.location,
            private_token=None if is_oauth else token,
            oauth_token=token if is_oauth else None,
            timeout=settings.export_timeout_seconds,
            session=session,
        )

    def send(self, method: str, path: str, *, body: Any | None, query: Mapping[str, Any] | None) -> HostAnswer:
        """See `HostTransport`. `path` is below ``/api/v4``."""
        import requests
        from gitlab.exceptions import GitlabError

        self._answer = None
        try:
            with self._open_authority() as verify:
                self._client.ssl_verify = verify
                self._client.http_request(
                    method,
                    path,
                    query_data=dict(query or {}),
                    post_data=body,
                    obey_rate_limit=False,
                    retry_transient_errors=False,
                    max_retries=0,
                )
        except requests.exceptions.SSLError as error:
            raise ExportRejectedError(
                f"the certificate of {self.location} is not trusted: {describe_reason(error)}"
            ) from None
        except requests.TooManyRedirects:
            pass  # the first one is the answer
        except requests.RequestException as error:
            raise describe_lost(error) from None
        except GitlabError:
            pass  # as the answer says
        if self._answer is None:
            raise HostUnreachableError("no answer")
        return self._read(self._answer, writes=method != "GET")

    def find_wait(self, answer: HostAnswer) -> float | None:
        """See `HostTransport`. GitLab's: https://docs.gitlab.com/administration/settings/user_and_ip_rate_limits."""
        if answer.status != 429:
            return None
        if (seconds := read_retry_after(answer.headers)) is not None:
            return max(1.0, seconds)
        reset = answer.headers.get("ratelimit-reset", "")
        return max(1.0, float(reset) - time.time()) if reset.isascii() and reset.isdigit() else 0.0

    def describe(self, answer: HostAnswer) -> str:
        """See `HostTransport`."""
        if 300 <= answer.status < 400:
            return (
                f"it redirects to {answer.headers.get('location', 'nowhere')!r}, which is not followed; accepted is a "
                "connection with that host's own URL"
            )
        data = answer.data if isinstance(answer.data, Mapping) else {"message": answer.data}
        told = [_flatten(data.get(key)) for key in ("message", "error", "error_description")]
        return "; ".join(part for part in told if part) or "no reason given"

    def get_git_remote(self) -> GitRemote:
        """Return the credentials for git over HTTPS."""
        return GitRemote(
            url=self.location, username=_GIT_USERNAME, password=self._token, ca_certificate=self._ca_certificate
        )

    def _keep(self, response: Response, **_: Any) -> None:
        self._answer = response

    @contextmanager
    def _open_authority(self) -> Iterator[bool | str]:
        given = self._ca_certificate
        if given is None:
            yield True
        elif given.startswith("/"):
            yield given
        else:
            with hold_in_memory(given) as path:
                yield path

    def _read(self, response: Response, *, writes: bool) -> HostAnswer:
        headers = {name.lower(): value for name, value in response.headers.items()}
        try:
            data = response.json() if response.content else None
        except ValueError:
            data = {"message": "the answer is no JSON"}
            if response.ok and writes:
                raise HostUnreachableError("the answer is no JSON") from None
            if response.ok:
                raise ExportRejectedError(
                    f"{self.location} answers with something else than JSON; accepted is the URL of a GitLab"
                ) from None
        return HostAnswer(status=response.status_code, headers=headers, data=data)


def _check_url(url: str, *, conn_id: str) -> str:
    text = url.strip().rstrip("/").removesuffix("/api/v4")
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ExportTargetError(
            f"connection {conn_id!r} has the host {_without_login(text)!r}; accepted is a URL such as "
            "'https://gitlab.example.com'"
        )
    if "@" in parts.netloc:
        raise ExportTargetError(f"connection {conn_id!r} has credentials in its host; the token belongs in password")
    return text


def _without_login(text: str) -> str:
    return text.rpartition("@")[2]


def _check_certificate(text: str | None, *, conn_id: str) -> str | None:
    """Return what `git_remote` takes, too. The text stands in no message: it may be a key."""
    given = (text or "").strip()
    if not given:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if given.startswith("/"):
            context.load_verify_locations(cafile=given)
        else:
            context.load_verify_locations(cadata=given)
    except (OSError, ValueError) as error:
        what = repr(given[:100]) if given.startswith("/") and not Path(given).is_file() else "no certificate"
        raise ExportTargetError(
            f"connection {conn_id!r} has a ca_certificate that is {what} ({type(error).__name__}); accepted is PEM "
            "text, or the absolute path of a PEM file"
        ) from None
    return given


def _flatten(value: Any) -> str:
    """Return GitLab's message, which is a text, a list of them, or attributes with lists of them, as one line."""
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_flatten(one)}" for key, one in value.items())
    if isinstance(value, list):
        return ", ".join(_flatten(one) for one in value)
    return "" if value is None else str(value)
