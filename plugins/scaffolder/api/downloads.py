"""Bytes as responses: streamed from disk, with ranges and ETags, and never run by the browser that shows them.

What is sent comes from agents and templates. It is on Airflow's own origin, so it is never HTML or a script here.
"""

from __future__ import annotations

import codecs
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Annotated, Any, Final
from urllib.parse import quote

from fastapi import Header, HTTPException, Request, Response
from fastapi.responses import FileResponse
from starlette.types import Message, Receive, Scope, Send

from scaffolder.errors import StorageError

_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
    # Airflow compresses what says nothing: a part would be of other bytes then, and an archive gains nothing.
    "Content-Encoding": "identity",
}
_TEXT_SAMPLE_BYTES: Final = 65_536
_PART: Final = rb"([0-9]{1,18}-[0-9]{0,18}|-[0-9]{1,18})"
_RANGE: Final = re.compile(rb"bytes=\s*%b(\s*,\s*%b)*\s*" % (_PART, _PART), re.IGNORECASE)


class PartialFileResponse(FileResponse):
    """A file, or the parts of it that are wanted; a problem where it has no such part (RFC 9110, 14)."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. Raises HTTPException."""
        headers = [(name, value) for name, value in scope["headers"] if name != b"range" or _is_sound(value)]

        async def check(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 416:
                size = dict(message["headers"])[b"content-range"].decode()
                raise HTTPException(416, f"there is no such part; there are {size}", {"Content-Range": size})
            await send(message)

        await super().__call__({**scope, "headers": headers}, receive, check)


class TemporaryFileResponse(PartialFileResponse):
    """A file that is removed when it is sent, or when nobody wants it any more."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            # Awaiting would do nothing where the request was cancelled.
            Path(self.path).unlink(missing_ok=True)  # noqa: ASYNC240  # one call of the system


def send_file(request: Request, path: Path, *, digest: str, media_type: str = "application/octet-stream") -> Response:
    """Send a file of this machine as a download; `digest` (SHA-256) is its ETag. Raises StorageError."""
    if unchanged := _answer_unchanged(request, digest):
        return unchanged
    return PartialFileResponse(path, filename=path.name, media_type=media_type, headers=_make_headers(digest))


def send_written(
    request: Request,
    write: Callable[[IO[bytes]], Any],
    *,
    digest: str,
    filename: str | None = None,
    media_type: str | None = None,
) -> Response:
    """Send what `write` writes, as a download where it has a `filename`; plain text where it is text.

    It goes through a file on disk: a range of it may be wanted, and memory stays small.
    """
    if unchanged := _answer_unchanged(request, digest):
        return unchanged
    with tempfile.NamedTemporaryFile(prefix="scaffolder-download-", delete=False) as file:
        path = Path(file.name)
        try:
            write(file)
            file.flush()
            media_type = media_type or ("text/plain; charset=utf-8" if _is_text(path) else "application/octet-stream")
            headers = _make_headers(digest)
            if filename is not None:
                headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(filename, safe='')}"
            return TemporaryFileResponse(path, media_type=media_type, headers=headers)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise StorageError(f"the file cannot be prepared: {error.strerror}") from error
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def declare_headers(
    parts: Annotated[str | None, Header(alias="Range", description="Which bytes are wanted: bytes=0-99.")] = None,
    same: Annotated[str | None, Header(alias="If-Range", description="Parts only where this is the ETag.")] = None,
    known: Annotated[str | None, Header(alias="If-None-Match", description="ETags of what is there already.")] = None,
) -> None:
    """Name the headers that downloads heed, for the OpenAPI document."""


def _is_sound(wanted: bytes) -> bool:
    """Say whether a Range can be heeded; others are as if they were not there (RFC 9110, 14.1.1 and 14.2)."""
    if not _RANGE.fullmatch(wanted):
        return False
    ends = [part.strip().split(b"-") for part in wanted.partition(b"=")[2].split(b",")]
    return all(not first or not last or int(first) <= int(last) for first, last in ends)


def _make_headers(digest: str) -> dict[str, str]:
    return {**_HEADERS, "ETag": f'"{digest}"'}


def _answer_unchanged(request: Request, digest: str) -> Response | None:
    """Return the answer to whoever has it already (RFC 9110, 13.1.2)."""
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    if f'"{digest}"' in known or "*" in known:
        return Response(status_code=304, headers=_make_headers(digest))
    return None


def _is_text(path: Path) -> bool:
    with path.open("rb") as file:
        sample = file.read(_TEXT_SAMPLE_BYTES)
    if b"\0" in sample:
        return False
    # A sample may end within a character, a file may not.
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample, final=len(sample) < _TEXT_SAMPLE_BYTES)
    except UnicodeDecodeError:
        return False
    return True
