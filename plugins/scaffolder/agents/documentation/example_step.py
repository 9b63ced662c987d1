"""A step of a workflow that calls one endpoint, as YAML to copy below ``steps:``."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from scaffolder.agents.documentation.example_values import ExampleValues
from scaffolder.agents.documentation.operation import (
    DescribedOperation,
    get_parameter_schema,
    is_idempotency_key,
    is_required,
    list_contents,
    list_examples,
)
from scaffolder.agents.documentation.references import as_list
from scaffolder.agents.documentation.remote_text import clean, clean_line
from scaffolder.agents.openapi.bodies import as_mapping
from scaffolder.errors import PermanentError

if TYPE_CHECKING:
    import yaml

    from scaffolder.records.models import Endpoint

_MAX_CHARACTERS: Final = 6_000
_MAX_ID: Final = 63
_MAX_PROBLEM: Final = 500
_MAX_MESSAGE: Final = 300
_JINJA: Final = re.compile(r"\{[{%#]")


@dataclass(frozen=True, kw_only=True)
class ExampleStep:
    """The step's `yaml`, empty where there can be none; `problem` says why, or what has to be adapted."""

    yaml: str
    problem: str = ""


class ExampleSteps:
    """Makes the example steps of one page.

    What is proposed is held against the description, in its own time for each, until `check_seconds` are used up:
    descriptions can have rules that take long.
    """

    def __init__(self, *, check_seconds: float = 10.0) -> None:
        self._seconds_left = check_seconds

    def make(self, endpoint: Endpoint) -> ExampleStep:
        """Return an example for `endpoint`; its values fit the description, as far as that can be made out."""
        if endpoint.gone_at is not None:
            return ExampleStep(yaml="", problem="The agent no longer offers this.")
        if "tool" in endpoint.definition:
            return ExampleStep(yaml="", problem="Tools (MCP) are listed for information: steps can't call them.")
        if "skill" in endpoint.definition:
            return _make_skill_step(endpoint)
        return self._make_operation_step(endpoint)

    def _make_operation_step(self, endpoint: Endpoint) -> ExampleStep:
        problem, shown = "The example is too long to show.", ""
        for arguments in _propose(DescribedOperation(document=endpoint.definition)):
            # Writing YAML takes long, so what is too long isn't even written.
            if len(json.dumps(arguments, default=str)) > _MAX_CHARACTERS:
                continue
            text = _dump(_begin_step(endpoint) | {"operation": endpoint.operation_id} | arguments)
            if len(text) > _MAX_CHARACTERS:
                continue
            flaw = self._find_flaw(endpoint, arguments)
            if not flaw:
                return ExampleStep(yaml=text)
            if not shown:
                shown, problem = text, flaw
        return ExampleStep(yaml=shown, problem=problem)

    def _find_flaw(self, endpoint: Endpoint, arguments: Mapping[str, Any]) -> str:
        """Return why a request with `arguments` would be refused before it is sent; empty where it would not be."""
        from scaffolder.agents.openapi import OperationDefinition

        if self._seconds_left <= 0:
            return "they are not checked, as checking what comes before them has taken long"
        begin = time.monotonic()
        try:
            OperationDefinition.of(endpoint).build(arguments.get("parameters", {}), arguments.get("body"))
        except PermanentError as error:
            return clean_line(error, _MAX_PROBLEM)
        finally:
            self._seconds_left -= time.monotonic() - begin
        return ""


def _make_skill_step(endpoint: Endpoint) -> ExampleStep:
    examples = as_list(as_mapping(endpoint.definition["skill"]).get("examples"))
    texts = [clean(one, _MAX_MESSAGE) for one in examples if isinstance(one, str)]
    message = texts[0] if texts else "Say here what is wanted."
    return ExampleStep(yaml=_dump(_begin_step(endpoint) | {"message": message}))


def _begin_step(endpoint: Endpoint) -> dict[str, Any]:
    return {"id": _make_id(endpoint.operation_id), "type": "api_call", "agent": endpoint.connection}


def _propose(operation: DescribedOperation) -> Iterator[dict[str, Any]]:
    """Yield arguments of a request: first as the description shows them, then as its rules alone ask for them."""
    for given in (True, False):
        values = ExampleValues(operation.document, given=given)
        parameters = {
            parameter["name"]: _make_parameter(parameter, values, operation, given=given)
            for parameter in operation.parameters
            if is_required(parameter) and not is_idempotency_key(parameter)
        }
        arguments = {"parameters": parameters} if parameters else {}
        bodies = list(_propose_bodies(operation, values, given=given))
        yield from ({**arguments, "body": body} for body in bodies)
        if not operation.request_body.get("required") or not bodies:
            yield arguments


def _make_parameter(
    parameter: Mapping[str, Any], values: ExampleValues, operation: DescribedOperation, *, given: bool
) -> Any:
    examples = list_examples(parameter, operation.document) if given else iter(())
    for example in examples:
        return example
    return values.make(get_parameter_schema(parameter), name=parameter["name"])


def _propose_bodies(operation: DescribedOperation, values: ExampleValues, *, given: bool) -> Iterator[Any]:
    for content in list_contents(operation.request_body)[:1]:
        if given:
            yield from list_examples(content.data, operation.document)
        yield values.make(content.schema)


def _make_id(operation_id: str) -> str:
    """Return the operation's id as a step may be called (``repos/listForOrg`` -> ``repos_list_for_org``)."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", operation_id)
    name = re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")[:_MAX_ID].strip("_")
    return name if name[:1].isalpha() else f"call_{name}"[:_MAX_ID].strip("_")


def _dump(step: Mapping[str, Any]) -> str:
    """Return `step` as an item of a list, indented as below ``steps:``, without anything that isn't printable."""
    import yaml

    literal = {key: value if key in {"id", "type"} else _make_literal(value) for key, value in step.items()}
    for allow_unicode in (True, False):
        text = yaml.dump(
            {"steps": [literal]}, Dumper=_dumper(), sort_keys=False, allow_unicode=allow_unicode, width=100
        )
        if text.replace("\n", "").isprintable():
            break
    return text.partition("\n")[2]


@cache
def _dumper() -> type[yaml.SafeDumper]:
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes lists indented, texts of several lines as blocks, and no aliases."""

        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: FBT001, FBT002  # PyYAML's
            super().increase_indent(flow, False)  # noqa: FBT003  # the same

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)

    Dumper.add_representer(str, represent_text)
    return Dumper


def _make_literal(value: Any) -> Any:
    """Return `value` so that a workflow takes it for what it is: the description's text is no expression of ours."""
    if isinstance(value, str):
        return _JINJA.sub(lambda mark: '{{ "' + mark.group() + '" }}', value)
    if isinstance(value, Mapping):
        return {str(key): _make_literal(item) for key, item in value.items()}
    return [_make_literal(item) for item in value] if isinstance(value, list) else value
