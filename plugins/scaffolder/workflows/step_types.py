"""The step types: which keys each accepts in a workflow, and which operator runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from scaffolder.agents.contract import JobRule, Method, OnInvalidResponse, Pages, Replay, Resend, find_flaw
from scaffolder.config import Settings
from scaffolder.errors import AgentConfigurationError, ExportTargetError, TemplateError
from scaffolder.json_schema import SchemaError, check_schema
from scaffolder.operators.expressions import Expression, compile_value, find_expressions

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator

StepId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


class StepDefinition(BaseModel):
    """What all steps have. Subclasses add the keys of their type."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    id: StepId
    type: str
    title: str | None = None
    needs: list[StepId] | None = None
    retries: Annotated[int, Field(ge=0, le=100)] | None = None
    pool: Annotated[str, Field(min_length=1, max_length=256)] | None = None

    @classmethod
    def accepted_keys(cls, location: tuple[str | int, ...]) -> list[str]:
        """Return the keys that are accepted at `location` (pydantic's ``loc`` of an unknown key)."""
        return sorted(cls.model_fields)

    def operator_arguments(self) -> dict[str, Any]:
        """Return the keys of this type as the operator's arguments, with expressions compiled."""
        own = type(self).model_fields.keys() - StepDefinition.model_fields.keys()
        return {name: compile_value(getattr(self, name)) for name in sorted(own)}

    def expressions(self) -> list[Expression]:
        """Return the expressions in this step's values. Raises ExpressionError."""
        return list(find_expressions(self.operator_arguments()))

    def check(self, settings: Settings) -> None:
        """Raise a ScaffolderError where a value can't work in any run."""


class BudgetEntry(BaseModel):
    """What one step may use, all tries together."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tokens: Annotated[int, Field(ge=1)] | None = None
    cost: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


class ApiCallStep(StepDefinition):
    """Have an agent do work: one of `operation`, `method` with `path`, `prompt` and `message`."""

    model_config = ConfigDict(protected_namespaces=())

    type: Literal["api_call"]
    agent: str
    operation: str | None = None
    method: Method | None = None
    path: str | None = None
    parameters: dict[str, Any] = {}
    body: Any = None
    pages: Pages | None = None
    job: JobRule | None = None
    on_invalid_response: OnInvalidResponse = "warn"
    prompt: str | None = None
    system_prompt: str | None = None
    model: str | None = None
    model_settings: dict[str, Any] = {}
    files: bool = False
    message: str | dict[str, Any] | None = None
    output_schema: dict[str, Any] | None = None
    replay: Replay | None = None
    resend: Resend = "auto"
    budget: BudgetEntry | None = None
    timeout: Annotated[int, Field(ge=1, le=86_400)] | None = None

    @classmethod
    def accepted_keys(cls, location: tuple[str | int, ...]) -> list[str]:
        """See the base class."""
        if len(location) == 1:
            return super().accepted_keys(location)
        if location[0] == "budget":
            return sorted(BudgetEntry.model_fields)
        return sorted(one.name for one in fields(Pages if location[0] == "pages" else JobRule))

    def operator_arguments(self) -> dict[str, Any]:
        """See the base class; the agent is the operator's connection."""
        arguments = super().operator_arguments()
        renamed = {"agent_conn_id": arguments.pop("agent"), "timeout_seconds": arguments.pop("timeout")}
        return {**arguments, **renamed, "budget": self.budget and self.budget.model_dump(exclude_none=True)}

    def check(self, settings: Settings) -> None:
        """See the base class."""
        if flaw := find_flaw(dict(self)):
            raise AgentConfigurationError(flaw)
        if self.output_schema is not None:
            try:
                check_schema(self.output_schema)
            except SchemaError as error:
                raise AgentConfigurationError(f"output_schema is no JSON Schema: {error}") from error


class TemplateEntry(BaseModel):
    """One of several templates of a step."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    template: str
    values: dict[str, Any] = {}
    into: str = ""


class MoveEntry(BaseModel):
    """One file or directory that gets another path."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str = Field(alias="from")
    target: str = Field(alias="to")


class FileGenerationStep(StepDefinition):
    """Write files of templates and agents, move and delete."""

    type: Literal["file_generation"]
    template: str | list[TemplateEntry] | None = None
    values: dict[str, Any] = {}
    files: str | list[str | dict[str, Any]] | None = None
    into: str = ""
    on_conflict: Literal["fail", "ours", "theirs", "skip"] = "fail"
    move: list[MoveEntry] = []
    delete: list[str] = []
    allow_ci_files: bool = False
    allow_secrets_in: list[str] = []
    trust: bool = False
    template_connection: str | None = None

    @classmethod
    def accepted_keys(cls, location: tuple[str | int, ...]) -> list[str]:
        """See the base class."""
        nested = {"template": ["into", "template", "values"], "move": ["from", "to"]}
        return nested[str(location[0])] if len(location) > 1 else super().accepted_keys(location)

    def operator_arguments(self) -> dict[str, Any]:
        """See the base class; the connection is that of the templates."""
        arguments = super().operator_arguments()
        if isinstance(self.template, list):
            arguments["template"] = compile_value([one.model_dump(exclude_unset=True) for one in self.template])
        arguments["move"] = compile_value([one.model_dump(by_alias=True) for one in self.move])
        return {"template_conn_id": arguments.pop("template_connection"), **arguments}

    def check(self, settings: Settings) -> None:
        """See the base class."""
        from scaffolder.generation.templates.sources import check_reference

        if not self.template and self.files is None and not self.move and not self.delete:
            raise TemplateError("the step does nothing; accepted is at least one of template, files, move, delete")
        references = (
            [self.template] if isinstance(self.template, str) else [one.template for one in self.template or ()]
        )
        for reference in references:
            if not isinstance(compile_value(reference), Expression):
                check_reference(reference, settings=settings)


class RepoCreationStep(StepDefinition):
    """Export the generated project."""

    type: Literal["repo_creation"]
    target: str
    connection: str | None = None
    options: dict[str, Any] = {}
    identity: str | None = None
    rollback: bool = False

    def operator_arguments(self) -> dict[str, Any]:
        """See the base class; the connections are the target's and the commit identity's."""
        arguments = super().operator_arguments()
        renamed = {"target_conn_id": arguments.pop("connection"), "identity_conn_id": arguments.pop("identity")}
        return {**renamed, **arguments}

    def check(self, settings: Settings) -> None:
        """See the base class."""
        from scaffolder.exports.registry import get_exporter

        if isinstance(compile_value(self.target), Expression):
            return
        exporter = get_exporter(self.target)
        if not list(find_expressions(compile_value(self.options))):
            exporter.check_options(self.options)
        if exporter.needs_connection and not self.connection:
            raise ExportTargetError(f"target {self.target!r} needs a connection: add the key 'connection'")


STEP_TYPES: Final[Mapping[str, tuple[type[StepDefinition], str]]] = {
    "api_call": (ApiCallStep, "AgentApiCallOperator"),
    "file_generation": (FileGenerationStep, "FileGenerationOperator"),
    "repo_creation": (RepoCreationStep, "RepoCreationOperator"),
}


def get_operator(step_type: str) -> type[BaseOperator]:
    """Return the operator class of a step type; only that one is imported."""
    import scaffolder.operators

    operator: type[BaseOperator] = getattr(scaffolder.operators, STEP_TYPES[step_type][1])
    return operator
