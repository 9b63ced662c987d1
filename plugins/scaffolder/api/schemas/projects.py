"""Projects and their members."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import ConfigDict, StringConstraints

from scaffolder.api.paging import Resource, with_example
from scaffolder.api.permissions import SLUG_PATTERN
from scaffolder.api.schemas.values import AT, Body, Line, Text
from scaffolder.records import models
from scaffolder.records.models import MemberRole, Visibility


class ProjectOut(Resource):
    """A project."""

    model_config = with_example(
        slug="payments",
        name="Payments",
        description="Services around payments.",
        visibility="private",
        generated_count=12,
        created_by="ada",
        created_at=AT,
        updated_at=AT,
    )

    slug: str
    name: str
    description: str
    visibility: Visibility
    generated_count: int
    created_by: str | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def show(cls, record: models.Project) -> ProjectOut:
        """Return what is shown of a record."""
        return cls(**vars(record))


class ProjectIn(Body):
    """A project to be made; whoever makes it becomes its owner."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"slug": "payments", "name": "Payments", "visibility": "private"}]}
    )

    slug: Annotated[str, StringConstraints(pattern=SLUG_PATTERN)]
    name: Line | None = None
    description: Text = ""
    visibility: Visibility = Visibility.PRIVATE


class ProjectChanges(Body):
    """What is to be different; the rest stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"visibility": "public"}]})

    name: Line | None = None
    description: Text | None = None
    visibility: Visibility | None = None


class MemberOut(Resource):
    """A member of a project."""

    model_config = with_example(username="grace", role="member", created_at=AT)

    username: str
    role: MemberRole
    created_at: datetime

    @classmethod
    def show(cls, record: models.ProjectMember) -> MemberOut:
        """Return what is shown of a record."""
        return cls(**vars(record))


class MemberIn(Body):
    """The role somebody is to have."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"role": "member"}]})

    role: MemberRole
