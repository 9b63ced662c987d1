"""Names by which other modules know our tasks, apart from the operators so that knowing them costs no import."""

from __future__ import annotations

from typing import Final

OPENING_TASK: Final = "open_generated_project"
FINISHING_TASK: Final = "finish_generated_project"
SHARED_FIELDS: Final = ("project", "project_name")
