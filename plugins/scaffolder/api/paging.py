"""Pages of lists: size, order, what to continue after, and which fields of each record are wanted."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Generic, TypeVar
from urllib.parse import quote, unquote

from fastapi import Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from scaffolder.config import get_settings
from scaffolder.errors import InvalidParametersError
from scaffolder.records.listing import List, Order, PageOf
from scaffolder.records.store import ProjectRecords

Item = TypeVar("Item", bound=BaseModel)
_LONGEST_CURSOR: Final = 8_000  # a path, as base64
_LONGEST_FIELDS: Final = 1_000
UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")  # in Postgres: NUL, and halves of characters
_MOST: Final = 10_000
MOST_VALUES: Final = 50  # of one filter


class Resource(BaseModel):
    """Something the API shows. No field is promised: whoever asks for some `fields` gets no others."""

    model_config = ConfigDict(json_schema_extra=lambda schema: schema.pop("required", None))


def with_example(**example: Any) -> ConfigDict:
    """Return the configuration of a resource that looks like `example`."""
    return ConfigDict(json_schema_extra=_Example(example))


class _Example:
    """Puts an example into a JSON Schema, and takes out what fields it promises."""

    def __init__(self, example: dict[str, Any]) -> None:
        self.example = example

    def __call__(self, schema: dict[str, Any]) -> None:
        schema.pop("required", None)
        schema["examples"] = [self.example]


class Page(Resource, Generic[Item]):
    """Some records, and where the next ones begin."""

    items: list[Item]
    next_cursor: str | None = None


def get_example(model: type[BaseModel]) -> dict[str, Any]:
    """Return the example of a resource."""
    extra = model.model_config.get("json_schema_extra")
    return extra.example if isinstance(extra, _Example) else {}


@dataclass(frozen=True, kw_only=True)
class PageRequest:
    """Which page somebody wants. `after` is the key that it begins after."""

    limit: int
    order: Order
    after: tuple[str, str] | None
    fields: frozenset[str] | None

    def answer(
        self,
        page: PageOf[Any],
        *,
        request: Request,
        show: Callable[[Any], BaseModel],
    ) -> JSONResponse:
        """Return a page of records, each as `show` makes it."""
        items = [dump(show(item), fields=self.fields) for item in page.items]
        cursor = encode_cursor(self.order, page.after) if page.after else None
        headers = {}
        if cursor is not None:
            following = request.url.include_query_params(cursor=cursor)
            headers["Link"] = f'<{quote(unquote(following.path))}?{following.query}>; rel="next"'
        return JSONResponse({"items": items, "next_cursor": cursor}, headers=headers)

    def read(
        self,
        records: ProjectRecords,
        what: List,
        *,
        within: Mapping[str, Any] | None = None,
        filters: Mapping[str, Any] | None = None,
    ) -> PageOf[Any]:
        """Return this page of a list of the records; see `RecordListing.list`."""
        return records.listing.list(
            what, order=self.order, limit=self.limit, after=self.after, within=within, filters=filters
        )

    def cut(self, items: Sequence[Any], *, key: Callable[[Any], str]) -> PageOf[Any]:
        """Return the page of a list that is in memory, whose items `key` tells apart and sorts."""
        ordered = sorted(items, key=key, reverse=self.order.descending)
        if self.after is not None:
            last = self.after[0]
            ordered = [item for item in ordered if (key(item) < last if self.order.descending else key(item) > last)]
        more = len(ordered) > self.limit
        return PageOf(items=ordered[: self.limit], after=(key(ordered[self.limit - 1]), "") if more else None)


def page_of(model: type[BaseModel], *, sort: Sequence[str]) -> Callable[..., PageRequest]:
    """Return the dependency that reads a page's parameters; the first of `sort` is the default order."""
    keys = sorted({key.removeprefix("-") for key in sort})
    choices = [prefix + key for key in keys for prefix in ("", "-")]
    names = "|".join(sorted(model.model_fields))

    # As defaults: annotations cannot speak of what is local here.
    sort_query: Any = Query(
        sort[0],
        alias="sort",
        description="What to sort by; with a minus, backwards.",
        json_schema_extra={"enum": choices},
    )
    fields_query: Any = Query(
        None,
        description="Comma-separated: the fields that are wanted.",
        pattern=f"^({names})(,({names}))*$",
        max_length=_LONGEST_FIELDS,
        examples=[",".join(sorted(model.model_fields)[:2])],
    )

    def read_page(
        limit: Annotated[int | None, Query(ge=1, le=_MOST, description="Records in one answer.")] = None,
        cursor: Annotated[
            str | None,
            Query(
                max_length=_LONGEST_CURSOR,
                description="`next_cursor` of the answer before. Good for the same order.",
                pattern="^[A-Za-z0-9_-]+$",
            ),
        ] = None,
        sort_by: str = sort_query,
        fields: str | None = fields_query,
    ) -> PageRequest:
        settings = get_settings()
        if sort_by not in choices:
            raise _refuse("sort", f"it is {sort_by!r}; accepted are {choices}")
        if limit is not None and limit > settings.api_max_page_size:
            raise _refuse("limit", f"it is {limit}; accepted are up to {settings.api_max_page_size}")
        order = Order(key=sort_by.removeprefix("-"), descending=sort_by.startswith("-"))
        return PageRequest(
            limit=limit or min(settings.api_page_size, settings.api_max_page_size),
            order=order,
            after=decode_cursor(cursor, order) if cursor else None,
            fields=frozenset(fields.split(",")) if fields else None,
        )

    return read_page


def dump(item: BaseModel, *, fields: Iterable[str] | None = None) -> Any:
    """Return what is shown of a record as JSON data."""
    return item.model_dump(mode="json", include=set(fields) if fields is not None else None)


def _refuse(parameter: str, sentence: str) -> InvalidParametersError:
    return InvalidParametersError(sentence, parameter=parameter)


def encode_cursor(order: Order, after: tuple[str, str]) -> str:
    """Return the key that the next page begins after as text for URLs."""
    text = json.dumps([order.key, order.descending, *after], ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode("utf-8", "surrogatepass")).decode().rstrip("=")


def decode_cursor(cursor: str, order: Order) -> tuple[str, str]:
    """Return the key of a cursor. Raises InvalidParametersError where it is none, or one of another order."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        found = json.loads(base64.urlsafe_b64decode(padded).decode())
    except (ValueError, binascii.Error, RecursionError):
        found = None
    if not isinstance(found, list) or len(found) != 4 or not all(isinstance(part, str) for part in found[2:]):
        raise _refuse("cursor", "it is none of ours; accepted is the next_cursor of an answer")
    if found[:2] != [order.key, order.descending]:
        raise _refuse("cursor", "it belongs to another order; accepted is the sort that it was made with")
    if any(UNSTORABLE.search(part) for part in found[2:]):
        raise _refuse("cursor", "it is none of ours; accepted is the next_cursor of an answer")
    return str(found[2]), str(found[3])


def as_filters(**given: Any) -> dict[str, Any]:
    """Return the filters that were asked for, enumerations by their values."""
    return {
        name: [getattr(one, "value", one) for one in value] if isinstance(value, list) else value
        for name, value in given.items()
        if value is not None
    }
