"""GitHub's own description of requests and answers, as githubkit's generated models.

A model ignores what it doesn't know and GitHub often does too. Here both are refused: a setting with a wrong name does
nothing.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any, Union

from pydantic import TypeAdapter, ValidationError

from tests.github_peer.refusals import RefusalError, describe_field, invalid


def read_body(models: tuple[str, ...], content: bytes, *, resource: str) -> Any:
    """Return the body where one of `models` describes it completely. Raises RefusalError as GitHub would."""
    try:
        data = json.loads(content or b"{}")
    except ValueError:
        raise RefusalError(400, "Problems parsing JSON") from None
    if not isinstance(data, dict) and not any(name.startswith("list[") for name in models):
        raise RefusalError(400, "Body should be a JSON object")
    adapter = _adapt(models)
    try:
        checked = adapter.validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        raise invalid(*_describe(error, resource)) from None
    if ignored := list(_find_ignored(data, _dump(adapter, checked))):
        raise invalid(*(describe_field(resource, name, "is not a permitted key", code="invalid") for name in ignored))
    return data


def find_flaws(model: str, data: Any) -> list[str]:
    """Return what GitHub's description says against an answer."""
    adapter = _adapt((model,))
    try:
        checked = adapter.validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        return [f"{model}: {'.'.join(map(str, detail['loc']))}: {detail['msg']}" for detail in error.errors()]
    return [f"{model}: {name} is not described" for name in _find_ignored(data, _dump(adapter, checked))]


def load_models() -> ModuleType:
    return importlib.import_module("githubkit_schemas.v2026_03_10.models")


@cache
def _adapt(names: tuple[str, ...]) -> TypeAdapter[Any]:
    union: Any = Union[tuple(_find_type(name) for name in names)]  # noqa: UP007  # the types are not known here
    return TypeAdapter(union)


def _find_type(name: str) -> Any:
    if name.startswith("list["):
        return list[_find_type(name[5:-1])]  # type: ignore[misc]  # known when it runs
    return str if name == "str" else getattr(load_models(), name)


def _dump(adapter: TypeAdapter[Any], checked: Any) -> Any:
    return adapter.dump_python(checked, mode="json", by_alias=True, exclude_unset=True)


def _find_ignored(given: Any, kept: Any, *, prefix: str = "") -> Iterator[str]:
    if isinstance(given, dict):
        for name, value in given.items():
            if not isinstance(kept, dict) or name not in kept:
                yield prefix + name
            else:
                yield from _find_ignored(value, kept[name], prefix=f"{prefix}{name}.")
    elif isinstance(given, list):
        for index, (value, other) in enumerate(zip(given, kept, strict=True)):
            yield from _find_ignored(value, other, prefix=f"{prefix}{index}.")


def _describe(error: ValidationError, resource: str) -> Iterator[dict[str, str]]:
    # A field that may be several types fails once for each, and what may be missing also for not being that.
    seen: set[str] = set()
    for detail in sorted(error.errors(), key=lambda detail: "<UNSET>" in detail["msg"]):
        # The names of a union's models stand among the names of fields.
        field = next((str(part) for part in detail["loc"] if not str(part)[:1].isupper()), "")
        if field not in seen:
            seen.add(field)
            code = "missing_field" if detail["type"] == "missing" else "invalid"
            yield describe_field(resource, field, detail["msg"], code=code)
