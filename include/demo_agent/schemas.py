"""What the service's API takes and answers."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from demo_agent.generation import NAME_PATTERN


class GenerateModelsRequest(BaseModel):
    """An OpenAPI document and the name of the project made from it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    document: Annotated[str, Field(description="OpenAPI 3.0 or 3.1, as YAML or JSON text of at most 1 MiB in UTF-8")]
    name: Annotated[str, Field(pattern=NAME_PATTERN, description="Name of the project")]


class GeneratedFile(BaseModel):
    """One text file, by its path in the project."""

    path: str
    content: str
    executable: bool


class GeneratedOperation(BaseModel):
    """One operation of the document."""

    operation_id: str
    method: str
    path: str
    summary: str


class GenerateModelsResponse(BaseModel):
    """The generated files; equal requests get equal ones."""

    package: str
    title: str
    version: str
    files: list[GeneratedFile]
    operations: list[GeneratedOperation]
    warnings: list[str]


class Problem(BaseModel):
    """A problem (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str


class Health(BaseModel):
    """The service is up."""

    status: str = "ok"
