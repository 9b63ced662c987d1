"""Chooses how each operation is typed: with a model only where real values pass through the model unharmed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from demo_agent.checking import SchemaChecker
from demo_agent.document import Document
from demo_agent.errors import GenerationStoppedError
from demo_agent.examples import Direction
from demo_agent.model_input import Level, ModelInput
from demo_agent.models import Models, generate_models, unusable_schemas
from demo_agent.naming import pascal
from demo_agent.operations import Content, Operation
from demo_agent.plans import Typing
from demo_agent.values import Values, body_values
from demo_agent.verification import ProbeFailedError, round_trips

_EMPTY = '"""Data models of the service: none could be generated from the OpenAPI document."""\n'


@dataclass
class Draft:
    """An operation with the values found for it and its typing so far."""

    operation: Operation
    request: Values | None
    response: Values
    typing: Typing = field(default_factory=Typing)
    reasons: list[str] = field(default_factory=list)


def draft_operations(operations: Sequence[Operation], *, checker: SchemaChecker, warnings: list[str]) -> list[Draft]:
    """Find values for every operation; what cannot be checked is added to `warnings`."""
    drafts = []
    for operation in operations:
        request = None
        if operation.body is not None:
            request = body_values(operation.body, checker=checker, direction="request")
        response = Values((None,))
        if operation.response is not None:
            response = body_values(operation.response, checker=checker, direction="response")
            if response.satisfiable and response.problem:
                warnings.append(f"{operation.id}: its response is not checked, the schema is none: {response.problem}")
        drafts.append(Draft(operation, request, response))
    return drafts


def choose_typing(drafts: Sequence[Draft], *, document: Document, checker: SchemaChecker) -> str:
    """Generate models and type each draft as far as its values pass; return the source of `models.py`."""
    causes: list[str] = []
    levels: tuple[Level, ...] = ("full", "plain")
    for level in levels:
        model_input = ModelInput(document, level=level)
        wanted = _annotations(drafts, model_input=model_input)
        try:
            models = _generated(model_input, causes=causes)
            _apply(drafts, wanted=wanted, models=models, checker=checker)
        except ProbeFailedError as exc:
            causes.append(exc.message)
        except GenerationStoppedError:
            raise
        except Exception as exc:  # noqa: BLE001 - the generator fails in many ways; plainer input may succeed
            causes.append(_one_line(exc))
        else:
            if causes:
                document.warnings.append(f"the models were simplified: {causes[0]}")
            return models.source
    for draft in drafts:
        draft.typing = replace(draft.typing, request=None, response=None)
    document.warnings.append(f"there are no models, all bodies are plain JSON: {causes[-1]}")
    return _EMPTY


def _generated(model_input: ModelInput, *, causes: list[str]) -> Models:
    """Generate the models, if need be without the schemas that stop the generator."""
    try:
        return generate_models(model_input)
    except Exception as exc:
        names = unusable_schemas(model_input)
        if not names:
            raise
        causes.append(f"{', '.join(names)} can be anything: {_one_line(exc)}")
    model_input.set_aside(names)
    return generate_models(model_input)


def _one_line(exc: Exception) -> str:
    return " ".join(f"{type(exc).__name__}: {exc}".split())[:200]


@dataclass(frozen=True)
class _Wanted:
    draft: Draft
    direction: Direction
    annotation: str
    values: Values


def _annotations(drafts: Sequence[Draft], *, model_input: ModelInput) -> list[_Wanted]:
    wanted = []
    for draft in drafts:
        operation = draft.operation
        parts: tuple[tuple[Direction, Content | None, Values | None], ...] = (
            ("request", operation.body, draft.request),
            ("response", operation.response, draft.response),
        )
        for direction, content, values in parts:
            if content is None or content.schema is None or content.kind != "json" or values is None:
                continue
            hint = pascal(operation.id, fallback="Operation") + direction.capitalize()
            annotation = model_input.annotation(content.schema, hint=hint)
            wanted.append(_Wanted(draft, direction, annotation, values))
    return wanted


def _apply(drafts: Sequence[Draft], *, wanted: Sequence[_Wanted], models: Models, checker: SchemaChecker) -> None:
    usable = [w for w in wanted if all(name in models.names for name in _models_in(w.annotation))]
    checks: list[Mapping[str, Any]] = [
        {"annotation": w.annotation, "direction": w.direction, "values": list(w.values.values)} for w in usable
    ]
    files = {"models_probe/__init__.py": "", "models_probe/models.py": models.source}
    for draft in drafts:
        draft.typing, draft.reasons = Typing(), []
    for item, result in zip(usable, round_trips(files, package="models_probe", checks=checks), strict=True):
        passed = [
            value
            for value, outcome in zip(item.values.values, result["outcomes"], strict=False)
            if "error" not in outcome and _survives(outcome["value"], item=item, checker=checker)
        ]
        if not passed:
            item.draft.reasons.append(f"its {item.direction} is untyped: {_reason(result)}")
            continue
        values = replace(item.values, values=(passed[0],))
        if item.direction == "request":
            item.draft.request = values
            item.draft.typing = replace(item.draft.typing, request=item.annotation)
        else:
            item.draft.response = values
            item.draft.typing = replace(item.draft.typing, response=item.annotation)


def _reason(result: Mapping[str, Any]) -> str:
    errors = [result, *result["outcomes"]]
    if len(errors) == 1 and "error" not in result:
        return "no value was found for it"
    found = next((str(outcome["error"]) for outcome in errors if "error" in outcome), "the model changes the example")
    return " ".join(found.split())[:200]


def _models_in(annotation: str) -> list[str]:
    words = annotation.replace("[", " ").replace("]", " ").split()
    return [word.removeprefix("models.") for word in words if word.startswith("models.")]


def _survives(value: Any, *, item: _Wanted, checker: SchemaChecker) -> bool:
    if item.direction == "request" or item.values.schema is None:
        return True
    return checker.problem_of(value, schema=checker.schema_at(item.values.schema)) is None
