"""Files, directories and differences."""

from __future__ import annotations

from typing import Any, Literal

from scaffolder.api.paging import Resource, with_example
from scaffolder.records import models


class FileOut(Resource):
    """One file at one commit."""

    model_config = with_example(
        path="app/main.py",
        sha256="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        size_bytes=1834,
        executable=False,
        origin="template:fastapi_service@1.0.0",
        step_id="files",
    )

    path: str
    sha256: str
    size_bytes: int
    executable: bool
    origin: str
    step_id: str

    @classmethod
    def show(cls, record: models.ProjectFile) -> FileOut:
        """Return what is shown of a record."""
        columns = {name: value for name, value in vars(record).items() if name != "mode"}
        return cls(**columns, executable=bool(record.mode & 0o111))


class EntryOut(Resource):
    """One entry of a directory; of a directory, `size_bytes` and `files` count all that is below it."""

    model_config = with_example(name="app", kind="directory", size_bytes=20480, files=9)

    name: str
    kind: Literal["directory", "file"]
    size_bytes: int
    files: int


class DifferenceOut(Resource):
    """One path that two commits have differently."""

    model_config = with_example(
        path="app/main.py",
        change="changed",
        before={"sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "size_bytes": 1834},
        after={"sha256": "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752", "size_bytes": 1902},
    )

    path: str
    change: Literal["added", "changed", "removed"]
    before: dict[str, Any] | None
    after: dict[str, Any] | None

    @classmethod
    def show(cls, record: models.FileDifference) -> DifferenceOut:
        """Return what is shown of a record."""
        change: Literal["added", "changed", "removed"] = "changed"
        if record.before is None or record.after is None:
            change = "added" if record.before is None else "removed"
        return cls(path=record.path, change=change, before=_show_side(record.before), after=_show_side(record.after))


def _show_side(file: models.ProjectFile | None) -> dict[str, Any] | None:
    if file is None:
        return None
    return FileOut.show(file).model_dump(mode="json", exclude={"path"})
