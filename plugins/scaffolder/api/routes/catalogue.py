"""What there is to work with: workflows, step types, templates, agents and their endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import JSONResponse

from scaffolder.api.links import Root
from scaffolder.api.paging import MOST_VALUES, Page, PageRequest, as_filters, dump, page_of
from scaffolder.api.permissions import CallerDep, MayUse
from scaffolder.api.problems import describe_answers
from scaffolder.api.records import open_records
from scaffolder.api.resources import Resource
from scaffolder.api.runs import find_workflows
from scaffolder.api.schemas.catalogue import AgentOut, EndpointOut, StepTypeOut, TemplateOut, WorkflowOut
from scaffolder.api.schemas.values import PRINTABLE, Value, hide_directories
from scaffolder.config import get_settings
from scaffolder.errors import RecordNotFoundError, ScaffolderError
from scaffolder.generation.templates.sources import find_directory, find_kind, find_template, list_templates
from scaffolder.records import listing
from scaffolder.records.endpoints import DescriptionKind
from scaffolder.workflows.definition import WorkflowDefinition
from scaffolder.workflows.step_types import STEP_TYPES, StepDefinition

router = APIRouter(tags=["catalogue"], dependencies=[Depends(MayUse(Resource.CATALOGUE))])

WorkflowId = Annotated[str, Path(pattern="^[a-z][a-z0-9_]{0,62}$", examples=["openapi_service"])]
TemplateName = Annotated[str, Path(min_length=1, max_length=250, pattern=PRINTABLE, examples=["fastapi_service"])]
Connection = Annotated[str, Path(min_length=1, max_length=250, pattern=PRINTABLE, examples=["demo_agent"])]


@router.get("/workflows", response_model=Page[WorkflowOut], responses=describe_answers())
def list_workflows(
    caller: CallerDep,
    request: Request,
    page: Annotated[PageRequest, Depends(page_of(WorkflowOut, sort=("id",)))],
) -> JSONResponse:
    """List the workflows whose DAGs the caller sees. Broken ones are Airflow's import errors."""
    workflows = [one for one in find_workflows(get_settings()).values() if caller.may_read_dag(one.id)]
    return page.answer(page.cut(workflows, key=lambda one: str(one.id)), request=request, show=_show_workflow)


@router.get("/workflows/{workflow}", response_model=WorkflowOut, responses=describe_answers(404))
def read_workflow(workflow: WorkflowId, caller: CallerDep) -> JSONResponse:
    """Show a workflow: its parameters and steps."""
    found = find_workflows(get_settings()).get(workflow)
    if found is None or not caller.may_read_dag(workflow):
        raise RecordNotFoundError(f"there is no workflow {workflow!r}")
    return JSONResponse(dump(_show_workflow(found)))


@router.get("/step-types", response_model=Page[StepTypeOut], responses=describe_answers())
def list_step_types(
    request: Request,
    page: Annotated[PageRequest, Depends(page_of(StepTypeOut, sort=("name",)))],
) -> JSONResponse:
    """List the types of steps and what they accept in a workflow."""
    found = page.cut(list(STEP_TYPES.items()), key=lambda item: str(item[0]))
    return page.answer(found, request=request, show=lambda item: _show_step_type(*item))


@router.get("/templates", operation_id="list_templates", response_model=Page[TemplateOut], responses=describe_answers())
def list_templates_of_directory(
    request: Request,
    page: Annotated[PageRequest, Depends(page_of(TemplateOut, sort=("name",)))],
) -> JSONResponse:
    """List the templates of the templates directory."""
    found = page.cut(list_templates(get_settings()), key=str)
    return page.answer(found, request=request, show=_show_template)


@router.get("/templates/{name}", response_model=TemplateOut, responses=describe_answers(404))
def read_template(name: TemplateName) -> JSONResponse:
    """Show a template and the values it takes."""
    if name not in list_templates(get_settings()):
        raise RecordNotFoundError(f"there is no template {name!r}")
    return JSONResponse(dump(_show_template(name)))


@router.get("/agents", response_model=Page[AgentOut], responses=describe_answers())
def list_agents(
    request: Request,
    root: Root,
    page: Annotated[PageRequest, Depends(page_of(AgentOut, sort=("connection",)))],
    kind: Annotated[list[DescriptionKind] | None, Query(max_length=MOST_VALUES, description="Any of these.")] = None,
) -> JSONResponse:
    """List the agents that the registry knows."""
    with open_records() as records:
        found = page.read(records, listing.AGENTS, filters=as_filters(kind=kind))
    return page.answer(found, request=request, show=lambda one: AgentOut.show(one, root=root))


@router.get("/agents/{connection}", response_model=AgentOut, responses=describe_answers(404))
def read_agent(connection: Connection, root: Root) -> JSONResponse:
    """Show an agent."""
    with open_records() as records:
        found = records.endpoints.get_description(connection)
    return JSONResponse(dump(AgentOut.show(found, root=root)))


@router.get("/agents/{connection}/endpoints", response_model=Page[EndpointOut], responses=describe_answers(404))
def list_endpoints(
    connection: Connection,
    request: Request,
    root: Root,
    page: Annotated[PageRequest, Depends(page_of(EndpointOut, sort=("operation_id", "path")))],
    method: Annotated[
        list[Value] | None, Query(max_length=MOST_VALUES, description="Any of these, such as POST, SKILL or TOOL.")
    ] = None,
    *,
    gone: Annotated[bool | None, Query(description="Whether its description no longer has it.")] = None,
) -> JSONResponse:
    """List what an agent offers, each with the page that documents it."""
    with open_records() as records:
        records.endpoints.get_description(connection)
        found = page.read(
            records,
            listing.ENDPOINTS,
            within={"connection": connection},
            filters=as_filters(method=method, gone=gone),
        )
    return page.answer(found, request=request, show=lambda one: EndpointOut.show(one, root=root))


def _show_workflow(definition: WorkflowDefinition) -> WorkflowOut:
    steps: list[Mapping[str, Any]] = [
        {"id": step.id, "type": step.type, "title": step.title, "needs": definition.needs(index)}
        for index, step in enumerate(definition.steps)
    ]
    return WorkflowOut(
        id=definition.id,
        title=definition.title,
        description=definition.description,
        params={name: dict(schema) for name, schema in definition.params.items()},
        steps=[dict(step) for step in steps],
    )


def _show_step_type(name: str, kind: tuple[type[StepDefinition], str]) -> StepTypeOut:
    model, operator = kind
    return StepTypeOut(
        name=name,
        operator=operator,
        description=(model.__doc__ or "").strip().partition("\n")[0],
        definition=model.model_json_schema(),
    )


def _show_template(name: str) -> TemplateOut:
    settings = get_settings()
    try:
        kind = find_kind(find_directory(name, settings=settings))
        template = find_template(name, settings=settings)
        schema = getattr(template, "values_schema", None)
        return TemplateOut(
            name=name,
            kind=kind,
            version=template.version,
            description=template.description,
            values=dict(schema) if schema is not None else None,
            problem=None,
        )
    except ScaffolderError as error:
        return TemplateOut(
            name=name, kind="", version=None, description="", values=None, problem=hide_directories(str(error))
        )
