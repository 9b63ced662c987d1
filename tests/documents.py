"""The commands that the documentation tells people to type, for tests that type them."""

from __future__ import annotations

import re

from tests.conftest import CHECKOUT


def read_commands(page: str, heading: str) -> list[str]:
    """Return the blocks of commands below a heading of `page`, a file of docs/."""
    text = (CHECKOUT / "docs" / page).read_text()
    (section,) = re.findall(rf"^### {heading}\n(.*?)(?=^##)", text, re.MULTILINE | re.DOTALL)
    return re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
