"""`FileGenerationOperator`: templates' and agents' files become one commit of the generated project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from scaffolder.errors import InvalidParametersError
from scaffolder.operators.names import SHARED_FIELDS
from scaffolder.operators.step import Step, StepOperator, resolve_output

if TYPE_CHECKING:
    from airflow.sdk import Context

    from scaffolder.generation.file_generation import GenerationRequest, TemplateUse
    from scaffolder.generation.git_remote import GitRemote
    from scaffolder.generation.merge import Move
    from scaffolder.generation.step_commit import StepCommit
    from scaffolder.generation.tree import GeneratedFile

_TEMPLATE_KEYS = frozenset({"template", "values", "into"})


class FileGenerationOperator(StepOperator):
    """Change the generated project's files: write those of templates and agents, move, delete.

    Every path is checked before anything is written; the whole batch becomes one commit, or nothing does. XCom gets
    ``{"commit", "files", "bytes", "moved", "deleted", "conflicts"}``, the last four being counts.

    :param template: the name of a template in the templates directory, or a git URL with a pinned ref such as
        ``git+https://github.com/acme/templates.git@v1.2.0#subdirectory=service``; or a list of
        ``{template, values?, into?}``, written in that order. (templated)
    :param values: the template's values. (templated)
    :param files: a list of ``{path, content, encoding?, executable?}``; the output of an `AgentApiCallOperator` whose
        response has such a list as ``files``; or a list of both. (templated)
    :param into: the directory that the step works in; all its paths are below it. (templated)
    :param on_conflict: ``fail``, ``ours``, ``theirs`` or ``skip``, where a path is taken already. See
        `scaffolder.generation.merge.OnConflict`.
    :param move: a list of ``{from, to}``: files or directories that get another path. (templated)
    :param delete: patterns as in .gitignore of files that go. (templated)
    :param allow_ci_files: whether files of an agent may be ones that CI systems run.
    :param allow_secrets_in: patterns as in .gitignore of files that are not scanned for secrets. (templated)
    :param trust: whether Copier and Cookiecutter templates may run code of theirs on the worker; the setting
        ``SCAFFOLDER_ALLOW_TRUSTED_TEMPLATES`` must allow it too.
    :param template_conn_id: a connection of type ``git_remote`` for templates in private repositories. (templated)
    """

    template_fields: Sequence[str] = (
        *SHARED_FIELDS,
        "template",
        "values",
        "files",
        "into",
        "move",
        "delete",
        "allow_secrets_in",
        "template_conn_id",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"values": "json", "files": "json", "move": "json"}

    step_type = "file_generation"

    def __init__(
        self,
        *,
        template: str | Sequence[Mapping[str, Any]] | None = None,
        values: Mapping[str, Any] | None = None,
        files: Any = None,
        into: str = "",
        on_conflict: str = "fail",
        move: Sequence[Mapping[str, str]] = (),
        delete: Sequence[str] = (),
        allow_ci_files: bool = False,
        allow_secrets_in: Sequence[str] = (),
        trust: bool = False,
        template_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.template = template
        self.values = values or {}
        self.files = files
        self.into = into
        self.on_conflict = on_conflict
        self.move = move
        self.delete = delete
        self.allow_ci_files = allow_ci_files
        self.allow_secrets_in = allow_secrets_in
        self.trust = trust
        self.template_conn_id = template_conn_id

    def execute_step(self, step: Step, context: Context) -> dict[str, Any]:
        """Build the files in memory and commit them. See `scaffolder.generation.file_generation.generate_files`."""
        from scaffolder.generation.file_generation import generate_files

        request = self._read_request(step, context)
        sources = [use.reference for use in request.templates]
        self.log.info("Templates: %s; files: %d", ", ".join(sources) or "none", len(request.edits.files))
        result = generate_files(
            step.records,
            step.generated_project,
            step_id=step.id,
            request=request,
            settings=step.settings,
            remote=self._find_remote(step, context),
        )
        self._log_result(result)
        return {
            "commit": result.commit,
            "files": result.file_count,
            "bytes": result.size_bytes,
            "moved": result.moved_count,
            "deleted": result.deleted_count,
            "conflicts": len(result.conflicts),
        }

    def _log_result(self, result: StepCommit) -> None:
        for path, ours, theirs in result.conflicts:
            self.log.info("Conflict settled by on_conflict=%s: %r: %s and %s", self.on_conflict, path, ours, theirs)
        self.log.info(
            "Commit %s: wrote %d files (%d bytes), moved %d, deleted %d",
            result.commit,
            result.file_count,
            result.size_bytes,
            result.moved_count,
            result.deleted_count,
        )

    def _read_request(self, step: Step, context: Context) -> GenerationRequest:
        from scaffolder.generation.file_generation import GenerationRequest
        from scaffolder.generation.merge import OnConflict, TreeEdits

        try:
            on_conflict = OnConflict(self.on_conflict)
        except ValueError as error:
            accepted = [one.value for one in OnConflict]
            raise InvalidParametersError(f"on_conflict is {self.on_conflict!r}; accepted are {accepted}") from error
        edits = TreeEdits(
            files=self._read_files(step, context),
            move=[_read_move(entry) for entry in _as_list("move", self.evaluate(self.move, step, context))],
            delete=_as_strings("delete", self.evaluate(self.delete, step, context)),
            into=_as_string("into", self.evaluate(self.into, step, context)),
            on_conflict=on_conflict,
            allow_ci_files=self.allow_ci_files,
        )
        return GenerationRequest(
            edits=edits,
            templates=self._read_templates(step, context),
            trust=self.trust,
            allow_secrets_in=_as_strings("allow_secrets_in", self.evaluate(self.allow_secrets_in, step, context)),
        )

    def _read_templates(self, step: Step, context: Context) -> list[TemplateUse]:
        from scaffolder.generation.file_generation import TemplateUse

        template = self.evaluate(self.template, step, context)
        if not template:
            return []
        values = self.evaluate(self.values, step, context)
        if isinstance(template, str):
            return [TemplateUse(reference=template, values=values)]
        uses: list[TemplateUse] = []
        for index, entry in enumerate(_as_list("template", template)):
            if not isinstance(entry, Mapping) or "template" not in entry or entry.keys() - _TEMPLATE_KEYS:
                raise InvalidParametersError(
                    f"template[{index}] is {entry!r}; accepted is {{template, values, into}} with at least template"
                )
            uses.append(
                TemplateUse(
                    reference=_as_string(f"template[{index}].template", entry["template"]),
                    values=entry.get("values", values),
                    into=_as_string(f"template[{index}].into", entry.get("into", "")),
                )
            )
        return uses

    def _read_files(self, step: Step, context: Context) -> list[GeneratedFile]:
        """Return the files of the key `files`, each with where it comes from."""
        from scaffolder.generation.tree import parse_files

        if self.files is None:
            return []
        sources = self.files if isinstance(self.files, list) else [self.files]
        files: list[GeneratedFile] = []
        for source in sources:
            calls = self._find_agent_calls(source, context)
            entries = self.evaluate(source, step, context)
            if isinstance(entries, Mapping) and "agent_call_id" in entries:
                calls.add(str(entries["agent_call_id"]))
                response = resolve_output(step, entries)
                entries = response.get("files") if isinstance(response, Mapping) else None
            origin = f"agent_call:{','.join(sorted(calls))}" if calls else f"step:{step.id}"
            is_file = isinstance(entries, Mapping) and isinstance(self.files, list)
            files += parse_files([entries] if is_file else entries, origin=origin)
        return files

    def _find_agent_calls(self, source: Any, context: Context) -> set[str]:
        """Return the agent calls that the expressions in `source` refer to: what they bring comes from agents."""
        from scaffolder.operators.expressions import find_expressions

        step_ids = {name for found in find_expressions(source) for name in found.references.get("steps", ())}
        outputs = [context["ti"].xcom_pull(task_ids=step_id) for step_id in sorted(step_ids)]
        return {
            str(output["agent_call_id"])
            for output in outputs
            if isinstance(output, Mapping) and "agent_call_id" in output
        }

    def _find_remote(self, step: Step, context: Context) -> GitRemote | None:
        from scaffolder.exports.hook import GitRemoteHook

        conn_id = self.evaluate(self.template_conn_id, step, context)
        return GitRemoteHook(str(conn_id)).get_conn() if conn_id else None


def _read_move(entry: Any) -> Move:
    from scaffolder.generation.merge import Move

    if not isinstance(entry, Mapping) or entry.keys() != {"from", "to"}:
        raise InvalidParametersError(f"move is {entry!r}; accepted is {{from, to}}")
    source, target = _as_string("move from", entry["from"]), _as_string("move to", entry["to"])
    return Move(source=source.removesuffix("/"), target=target.removesuffix("/"))


def _as_list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise InvalidParametersError(f"{name} is {value!r}; accepted is a list")
    return list(value)


def _as_strings(name: str, value: Any) -> list[str]:
    return [_as_string(name, item) for item in _as_list(name, value)]


def _as_string(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidParametersError(f"{name} is {value!r}; accepted is text")
    return value
