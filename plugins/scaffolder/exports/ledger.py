"""`ExportLedger`: an export's record while it is worked on; each thing made somewhere is noted at once."""

from __future__ import annotations

from typing import Any

from scaffolder.records.exports import ExportRecords
from scaffolder.records.models import RepositoryExport


class ExportLedger:
    """What is known of one export. `note` writes through: a try that is killed leaves all it noted to the next."""

    def __init__(self, records: ExportRecords, export: RepositoryExport) -> None:
        self.records = records
        self.export = export

    def note(self, **values: Any) -> None:
        """Keep `values`: see `ExportRecords.note`."""
        self.records.note(self.export.id, **values)
        self.export = self.records.get(self.export.id)

    def reload(self) -> None:
        """Look what another try of the same export has noted meanwhile."""
        self.export = self.records.get(self.export.id)

    def is_done(self, step: str) -> bool:
        """Say whether a step was noted as done by this try or an earlier one."""
        return step in self.export.steps_done

    def mark_done(self, step: str) -> None:
        """Note that `step` is done."""
        self.note(step_done=step)

    def find_own_commits(self, remote_id: str) -> set[str]:
        """Return what other exports of the same generated project were to push into the repository `remote_id`."""
        key = self.export.generated_project_id
        others = (one for one in self.find_others(remote_id) if one.generated_project_id == key)
        return {one.exported_commit for one in others if one.exported_commit}

    def find_others(self, remote_id: str) -> tuple[RepositoryExport, ...]:
        """Return other exports of the same project into the repository `remote_id`, the newest first."""
        return self.records.list_others(self.export, remote_id=remote_id)
