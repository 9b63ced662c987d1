"""What all our HTML pages share: layout, style, script, and a policy that lets nothing else run or load.

Each page is complete in itself: its style and script are inline.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from jinja2 import Environment

_HERE: Final = Path(__file__).parent


def make_environment(pages: Path) -> Environment:
    """Return the Jinja environment of the templates in `pages`, which may extend ``layout.html.jinja``."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader([pages, _HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["moment"] = format_moment
    environment.globals |= {
        "policy": get_security_policy(),
        "style": Markup(_read("style.css")),  # noqa: S704  # our own files
        "script": Markup(_read("script.js")),  # noqa: S704  # the same
    }
    return environment


@cache
def get_security_policy() -> str:
    """Return the Content-Security-Policy of all pages: our style and script by their digests, nothing else at all.

    Forms may ask this server only.
    """
    style, script = (_digest(_read(name)) for name in ("style.css", "script.js"))
    return f"default-src 'none'; style-src '{style}'; script-src '{script}'; base-uri 'none'; form-action 'self'"


def format_moment(at: datetime) -> str:
    """Return a time as people read it, to the minute."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


@cache
def _read(name: str) -> str:
    return (_HERE / name).read_text("utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
