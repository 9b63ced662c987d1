"""Records and files that requests are about, made without Airflow."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from scaffolder.config import Settings
from scaffolder.generation.merge import TreeEdits
from scaffolder.generation.step_commit import commit_step, get_project_directory
from scaffolder.records.models import MemberRole, RunIdentity, Visibility
from scaffolder.records.retention import keep_days
from scaffolder.records.store import ProjectRecords
from tests.factories import make_file

# Who has which part in the project "secret": see tests/api_server.py for what they are in Airflow.
MEMBERS = {
    "olga": MemberRole.OWNER,
    "mel": MemberRole.MEMBER,
    "vera": MemberRole.VIEWER,
    "vic": MemberRole.OWNER,
}


@dataclass
class Scene:
    """A project and what belongs to it, with what is asked of it as `values` of a path."""

    records: ProjectRecords
    settings: Settings
    project: str = "secret"

    def make_project(self, slug: str | None = None, *, visibility: Visibility = Visibility.PRIVATE) -> str:
        """Make a project with all `MEMBERS`, which is not there yet."""
        slug = slug or f"p-{uuid4().hex[:12]}"
        self.records.projects.create(slug, name=slug, owner="olga", visibility=visibility)
        for username, role in MEMBERS.items():
            self.records.projects.set_member(slug, username=username, role=role)
        return slug

    def generate(
        self,
        *,
        project: str | None = None,
        status: str = "ready",
        files: dict[str, Any] | None = None,
        key: UUID | None = None,
    ) -> UUID:
        """Make a generated project with one commit."""
        run = RunIdentity(dag_id="plain", run_id=f"manual__{uuid4()}", run_at=datetime.now(UTC), triggered_by="olga")
        found = self.records.open_generated_project(
            key or uuid4(),
            project=project or self.project,
            name="plain",
            workflow="plain",
            params={"name": "plain"},
            run=run,
        )
        contents = files or {"README.md": "# plain\n", "src/main.py": "print()\n"}
        commit_step(
            self.records,
            found.id,
            step_id="files",
            subject="Files",
            edits=TreeEdits(files=[make_file(path, content) for path, content in contents.items()]),
            trailers=[],
            settings=self.settings,
        )
        if status == "ready":
            self.records.mark_ready(found.id, rules=keep_days(30))
        if status == "failed":
            self.records.mark_failed(found.id, error="it failed", rules=keep_days(7))
        return found.id

    def export(
        self, generated_id: UUID, *, status: str = "exported", content: bytes = b"archive", key: UUID | None = None
    ) -> UUID:
        """Make an export to an archive, with its manifest and bundle."""
        key = key or uuid4()
        archives = get_project_directory(generated_id, settings=self.settings) / "archives"
        archives.mkdir(parents=True, exist_ok=True)
        path = archives / f"plain-{key}.zip"
        path.write_bytes(content)
        result: dict[str, Any] = {"bundle_sha256": hashlib.sha256(b"bundle").hexdigest()}
        for kind in ("manifest", "bundle"):
            companion = archives / f"plain-{key}.{kind}"
            companion.write_bytes(kind.encode())
            result[f"{kind}_path"] = str(companion)
        found = self.records.get_generated_project(generated_id)
        self.records.exports.intend(
            key,
            generated_project_id=generated_id,
            step_id="publish",
            target="archive",
            options={},
            idempotency_key=str(key),
            commit=str(found.head_commit),
            dag_id=found.dag_id,
            run_id=found.run_id,
        )
        self.records.exports.mark_exporting(key)
        if status == "exported":
            digest = hashlib.sha256(content).hexdigest()
            self.records.exports.mark_exported(
                key, url=path.as_uri(), archive_path=str(path), archive_sha256=digest, result=result
            )
        if status == "failed":
            self.records.exports.mark_failed(key, error="it failed")
        return key
