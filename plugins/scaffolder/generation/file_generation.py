"""One ``file_generation`` step: templates are rendered, files are scanned, and all becomes one commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from scaffolder.config import Settings
from scaffolder.errors import InvalidParametersError, SecretFoundError
from scaffolder.generation.merge import AGENT_ORIGIN, TreeEdits
from scaffolder.generation.step_commit import StepCommit, commit_step
from scaffolder.generation.tree import GeneratedFile
from scaffolder.observability import metrics, traces
from scaffolder.records.models import GeneratedProject
from scaffolder.records.store import ProjectRecords

if TYPE_CHECKING:
    from scaffolder.generation.git_remote import GitRemote
    from scaffolder.generation.templates.contract import Template


@dataclass(frozen=True, kw_only=True)
class TemplateUse:
    """One template of a step. `reference` is a name or a git URL; `into` is the directory that its files go to."""

    reference: str
    values: Mapping[str, Any]
    into: str = ""


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """What a step asks for. The templates' files are written before `edits.files`.

    `trust` lets templates run code, where the settings allow it too. `allow_secrets_in` holds patterns as in
    .gitignore, for paths that are not scanned for secrets.
    """

    edits: TreeEdits
    templates: Sequence[TemplateUse] = ()
    trust: bool = False
    allow_secrets_in: Sequence[str] = ()


def generate_files(
    records: ProjectRecords,
    generated_project: GeneratedProject,
    *,
    step_id: str,
    request: GenerationRequest,
    settings: Settings,
    remote: GitRemote | None = None,
) -> StepCommit:
    """Do the step: its effect on the tree is one commit, or nothing is written. Safe to repeat.

    `remote` has the credentials for templates in private repositories. Raises TemplateError, SecretFoundError,
    InvalidParametersError (the step brings nothing) and the errors of `commit_step`.
    """
    from scaffolder.generation.templates.sources import find_template

    templates = [(find_template(use.reference, settings=settings, remote=remote), use) for use in request.templates]
    run = describe_run(generated_project)
    files: list[GeneratedFile] = []
    for template, use in templates:
        # The name of one from git is its URL.
        name = "git" if "://" in template.name else template.name
        with traces.span("scaffolder.render_template", template=name, version=template.version) as span:
            rendered = template.render(use.values, run=run, trust=request.trust, settings=settings)
            span.set(files=len(rendered))
        files += _move_into(use.into, rendered)
    files += request.edits.files
    if not files and not request.edits.move and not request.edits.delete:
        raise InvalidParametersError(
            f"step {step_id!r} has no files: accepted are a template, files, move or delete that bring some"
        )
    edits = replace(request.edits, files=files)
    refuse_secrets(files, allow_in=request.allow_secrets_in, settings=settings)
    return commit_step(
        records,
        generated_project.id,
        step_id=step_id,
        subject=_describe(step_id, edits, templates=[template for template, _ in templates]),
        edits=edits,
        trailers=_list_trailers(edits, templates=[template for template, _ in templates]),
        settings=settings,
    )


def describe_run(generated_project: GeneratedProject) -> dict[str, Any]:
    """Return what templates and expressions may know of the run; plain data, the same for every try."""
    return {
        "id": generated_project.run_id,
        "dag_id": generated_project.dag_id,
        "at": generated_project.run_at.isoformat(),
        "year": generated_project.run_at.year,
        "user": generated_project.created_by,
        "generated_project_id": str(generated_project.id),
    }


def refuse_secrets(files: Sequence[GeneratedFile], *, allow_in: Sequence[str] = (), settings: Settings) -> None:
    """Raise SecretFoundError where a file has a secret in it and no pattern of `allow_in` has its path."""
    from scaffolder.generation.secret_scan import find_secrets

    allowed: set[str] = set()
    if allow_in:
        import pathspec

        allowed = set(pathspec.GitIgnoreSpec.from_lines(allow_in).match_files(file.path for file in files))
    findings = find_secrets([file for file in files if file.path not in allowed], settings=settings)
    for finding in findings:
        metrics.count(metrics.SECRETS_FOUND, kind=finding.kind)
    if findings:
        raise SecretFoundError((finding.path, finding.line, finding.kind) for finding in findings)


def _move_into(into: str, files: Sequence[GeneratedFile]) -> list[GeneratedFile]:
    directory = into.strip("/")
    if directory in {"", "."}:
        return list(files)
    return [replace(file, path=f"{directory}/{file.path}") for file in files]


def _describe(step_id: str, edits: TreeEdits, *, templates: Sequence[Template]) -> str:
    count = len(edits.files)
    sources = ["template"] if templates else []
    origins = {file.origin for file in edits.files} - {template.origin for template in templates}
    if any(origin.startswith(AGENT_ORIGIN) for origin in origins):
        sources.append("agent call")
    if any(origin.startswith("step:") for origin in origins):
        sources.append("inline files")
    parts = [f"{count} files from {' and '.join(sources)}"] if count else []
    parts += [f"{len(edits.move)} moves"] if edits.move else []
    parts += [f"{len(edits.delete)} deletions"] if edits.delete else []
    return f"{step_id}: {', '.join(parts)}"


def _list_trailers(edits: TreeEdits, *, templates: Sequence[Template]) -> tuple[tuple[str, str], ...]:
    calls = {
        call
        for origin in {file.origin for file in edits.files}
        if origin.startswith(AGENT_ORIGIN)
        for call in origin.removeprefix(AGENT_ORIGIN).split(",")
    }
    return (
        *(("Scaffolder-Template", template.origin.partition(":")[2]) for template in templates),
        *(("Scaffolder-Agent-Call", call) for call in sorted(calls)),
    )
