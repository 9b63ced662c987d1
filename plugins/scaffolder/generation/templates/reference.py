"""How a workflow names a template, and which names the settings allow.

A template is named by its directory in the templates directory, or by a git URL as pip writes them, with a pinned ref:
``git+https://github.com/acme/templates.git@v1.2.0#subdirectory=python/service``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit, urlunsplit

from scaffolder.config import Settings
from scaffolder.errors import TemplateError, TemplateNotAllowedError
from scaffolder.generation.git_remote import get_origin
from scaffolder.generation.paths import find_flaw

SCHEMES: Final = ("file", "http", "https")
GIT_PREFIX: Final = "git+"

_EXAMPLE: Final = "'git+https://github.com/acme/templates.git@v1.2.0#subdirectory=python/service'"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
# git-check-ref-format(1), and nothing that a shell, an option or a URL could read as its own
_REF = re.compile(r"(?!.*(\.\.|//|@\{|/\.|\.lock(/|$)))[A-Za-z0-9_][A-Za-z0-9_.+@/-]{0,198}[A-Za-z0-9_+-]|[A-Za-z0-9_]")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_URL_PATH = re.compile(r"(/[A-Za-z0-9_.~+%-]+)+")


@dataclass(frozen=True, kw_only=True)
class LocalReference:
    """A template by the name of its directory in the templates directory."""

    name: str

    @property
    def allowed_by(self) -> str:
        """What the patterns of SCAFFOLDER_ALLOWED_TEMPLATES are matched against."""
        return self.name


@dataclass(frozen=True, kw_only=True)
class GitReference:
    """A template in a git repository. `url` has no credentials; `subdirectory` is empty for the repository's root."""

    url: str
    ref: str
    subdirectory: str = ""

    @property
    def is_commit(self) -> bool:
        """Whether the ref is a commit's full id; otherwise it is a tag's name."""
        return _COMMIT.fullmatch(self.ref) is not None

    @property
    def allowed_by(self) -> str:
        """What the patterns of SCAFFOLDER_ALLOWED_TEMPLATES are matched against."""
        return self.url

    @property
    def name(self) -> str:
        """The template's name in records: ``<url>[#<subdirectory>]``."""
        return f"{self.url}#{self.subdirectory}" if self.subdirectory else self.url

    def __str__(self) -> str:
        fragment = f"#subdirectory={self.subdirectory}" if self.subdirectory else ""
        return f"{GIT_PREFIX}{self.url}@{self.ref}{fragment}"


TemplateReference = LocalReference | GitReference


def parse_reference(text: str) -> TemplateReference:
    """Read a template's name or git URL. Raises TemplateError, which never repeats credentials."""
    if "://" in text or text.startswith(GIT_PREFIX):
        return parse_git_reference(text)
    if not _NAME.fullmatch(text):
        named = repr(text) if "@" not in text else "with an '@' in its name"
        raise TemplateError(
            f"template {named}: accepted is the name of a directory in the templates directory, or a git URL such as "
            f"{_EXAMPLE}"
        )
    return LocalReference(name=text)


def parse_git_reference(text: str) -> GitReference:
    """Read a template's git URL; its host is lower-cased and the scheme's own port left out.

    Raises TemplateError, which never repeats credentials.
    """
    url = text.removeprefix(GIT_PREFIX)
    try:
        parts = urlsplit(url)
        scheme, host, port = get_origin(url)
    except ValueError:
        # Not "from error": it repeats what stands after the host, which may be a password.
        raise TemplateError(
            f"a template's git URL has a host or port that cannot be read; accepted is {_EXAMPLE}"
        ) from None
    if "@" in parts.netloc or parts.query:
        raise TemplateError(
            f"the template's git URL at {host!r} has credentials or a query in it; accepted is one without: "
            "credentials belong in a connection of type 'git_remote'"
        )
    schemes = [GIT_PREFIX + accepted for accepted in SCHEMES]
    if scheme not in SCHEMES or not text.startswith(GIT_PREFIX) or (scheme == "file") is bool(host):
        raise TemplateError(
            f"a template's git URL has the scheme {text.partition(':')[0]!r} and the host {host!r}; accepted are "
            f"{schemes} with a host (none for 'git+file'), such as {_EXAMPLE}"
        )
    path, separator, ref = parts.path.rpartition("@")
    if not separator:
        raise TemplateError(f"template {text!r} has no ref; accepted is a tag or a full commit after '@': {_EXAMPLE}")
    netloc = host if scheme == "file" or port == get_origin(f"{scheme}://{host}")[2] else f"{host}:{port}"
    return GitReference(
        url=urlunsplit((scheme, netloc, _check_path(path, text=text), "", "")),
        ref=_check_ref(unquote(ref), text=text),
        subdirectory=_parse_fragment(parts.fragment, text=text),
    )


def check_allowed(reference: TemplateReference, *, settings: Settings) -> None:
    """Raise TemplateNotAllowedError where SCAFFOLDER_ALLOWED_TEMPLATES has no pattern for `reference`.

    Patterns are those of fnmatch, separated by commas: those with ``://`` match git URLs (without ``git+``, ref and
    fragment), the others names in the templates directory.
    """
    patterns = [pattern.strip() for pattern in settings.allowed_templates.split(",") if pattern.strip()]
    is_git = isinstance(reference, GitReference)
    kind = "git URLs" if is_git else "names"
    accepted = [pattern for pattern in patterns if ("://" in pattern) is is_git]
    if not any(fnmatchcase(reference.allowed_by, pattern) for pattern in accepted):
        raise TemplateNotAllowedError(
            f"template {reference.allowed_by!r} is not allowed; accepted {kind} (SCAFFOLDER_ALLOWED_TEMPLATES) are "
            f"{accepted or 'none'}"
        )


def _check_path(path: str, *, text: str) -> str:
    # A host resolves '..' and '%2e%2e'; the patterns of what is allowed must not be passed by that.
    stripped = path.rstrip("/")
    decoded = unquote(stripped)
    parts = decoded.split("/")
    if (
        not _URL_PATH.fullmatch(stripped)
        or "." in parts
        or ".." in parts
        or decoded.count("/") != stripped.count("/")
        or not decoded.isprintable()
        or "\\" in decoded
    ):
        raise TemplateError(
            f"template {text!r}: its repository is {stripped!r}; accepted is a plain path without '.', '..' and empty "
            "parts"
        )
    return stripped


def _check_ref(ref: str, *, text: str) -> str:
    if not _REF.fullmatch(ref):
        raise TemplateError(f"template {text!r}: ref is {ref!r}; accepted is a tag or a full commit (40 hex digits)")
    return ref


def _parse_fragment(fragment: str, *, text: str) -> str:
    if not fragment:
        return ""
    options = parse_qsl(fragment, keep_blank_values=True)
    if [name for name, _ in options] != ["subdirectory"]:
        raise TemplateError(f"template {text!r}: its fragment is {fragment!r}; accepted is 'subdirectory=<path>'")
    subdirectory = options[0][1].strip("/")
    if flaw := find_flaw(subdirectory, max_depth=32):
        raise TemplateError(f"template {text!r}: its subdirectory {flaw}; accepted is a relative path")
    return subdirectory
