"""`FileGenerationOperator`: templates' and agents' files become one commit of the generated project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from scaffolder.errors import InvalidParametersError
from scaffolder.operators.names import SHARED_FIELDS
from scaffolder.operators.step import Step, StepOperator, resolve_output

if TYPE_CHECKING:
    from airflow.sdk import Context

    from scaffolder.generation.tree import GeneratedFile


class FileGenerationOperator(StepOperator):
    """Write files into the generated project: from a template, from an agent's answer, or both.

    Every path is checked before anything is written; the whole batch becomes one commit, or nothing does. XCom gets
    ``{"commit", "files", "bytes"}``.

    :param template: the name of a template in the templates directory. (templated)
    :param values: the template's values. (templated)
    :param files: a list of ``{path, content, encoding?, executable?}``, or the output of an `AgentApiCallOperator`
        whose response has such a list as ``files``. (templated)
    """

    template_fields: Sequence[str] = (*SHARED_FIELDS, "template", "values", "files")
    template_fields_renderers: ClassVar[dict[str, str]] = {"values": "json", "files": "json"}

    def __init__(
        self,
        *,
        template: str | None = None,
        values: Mapping[str, Any] | None = None,
        files: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.template = template
        self.values = values or {}
        self.files = files

    def execute_step(self, step: Step, context: Context) -> dict[str, Any]:
        """Build the files in memory and commit them. See `scaffolder.generation.step_commit.commit_step`."""
        from scaffolder.generation.step_commit import commit_step

        files, sources = self._collect(step, context)
        if not files:
            raise InvalidParametersError(f"step {step.id!r} has no files: give it a template, files, or both")
        self.log.info("Committing %d files from %s", len(files), " and ".join(sources.values()))
        result = commit_step(
            step.records,
            step.generated_project.id,
            step_id=step.id,
            subject=f"{step.id}: {len(files)} files from {' and '.join(sources)}",
            files=files,
            trailers=tuple(
                (f"Scaffolder-{kind.replace(' ', '-').title()}", name) for kind, name in sources.items() if name
            ),
            settings=step.settings,
        )
        self.log.info("Commit %s: %d files, %d bytes", result.commit, result.file_count, result.size_bytes)
        return {"commit": result.commit, "files": result.file_count, "bytes": result.size_bytes}

    def _collect(self, step: Step, context: Context) -> tuple[list[GeneratedFile], dict[str, str]]:
        """Return the files and where they come from: kind of source -> its name."""
        from scaffolder.generation.template import find_template
        from scaffolder.generation.tree import parse_files

        files: list[GeneratedFile] = []
        sources: dict[str, str] = {}
        template_name = self.evaluate(self.template, step, context)
        if template_name:
            template = find_template(str(template_name), templates_dir=step.settings.templates_dir)
            values = self.evaluate(self.values, step, context)
            files += template.render(values, settings=step.settings)
            sources["template"] = f"{template.name}@{template.version}"
        if self.files is not None:
            entries, call_id = self._read_files(step, context)
            origin = f"agent_call:{call_id}" if call_id else f"step:{step.id}"
            files += parse_files(entries, origin=origin)
            sources["agent call" if call_id else "inline files"] = call_id or step.id
        return files, sources

    def _read_files(self, step: Step, context: Context) -> tuple[Any, str | None]:
        """Return the entries of `files`, and the agent call they come from."""
        call_id = self._find_agent_call(context)
        entries = self.evaluate(self.files, step, context)
        if isinstance(entries, Mapping) and "agent_call_id" in entries:
            call_id = str(entries["agent_call_id"])
            response = resolve_output(step, entries)
            entries = response.get("files") if isinstance(response, Mapping) else None
        return entries, call_id

    def _find_agent_call(self, context: Context) -> str | None:
        """Return the agent call that the expression `files` refers to, where it refers to one step alone."""
        from scaffolder.operators.expressions import find_expressions

        step_ids = {name for found in find_expressions(self.files) for name in found.references.get("steps", ())}
        outputs = [context["ti"].xcom_pull(task_ids=step_id) for step_id in sorted(step_ids)]
        calls = [
            output["agent_call_id"] for output in outputs if isinstance(output, Mapping) and "agent_call_id" in output
        ]
        return calls[0] if len(calls) == 1 and len(outputs) == 1 else None
