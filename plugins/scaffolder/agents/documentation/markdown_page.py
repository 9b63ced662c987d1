"""The page of an agent as Markdown (CommonMark with GitHub's tables)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Final

from scaffolder.agents.documentation.budget import MAX_OPERATIONS_SIZE, MAX_PAGE_SIZE, describe_rest, fit, measure
from scaffolder.agents.documentation.content import (
    Content,
    Entry,
    OperationPage,
    Parameter,
    Response,
    describe_agent,
    describe_entry,
    describe_operation,
)
from scaffolder.agents.documentation.example_step import ExampleSteps
from scaffolder.agents.documentation.remote_text import (
    clean_line,
    escape_markdown,
    make_cell,
    make_code,
    make_fence,
    write_prose,
)
from scaffolder.page_layout import format_moment

if TYPE_CHECKING:
    from scaffolder.agents.documentation.outline import SchemaRow
    from scaffolder.records.models import AgentDescription, Endpoint

_HEAD_LINES: Final = 2


def render_markdown(description: AgentDescription, endpoints: Iterable[Endpoint]) -> str:
    """Return the page of one agent. Each of `endpoints` is let go before the next is taken."""
    entries: list[Entry] = []
    sections: list[str] = []
    steps, left = ExampleSteps(), MAX_OPERATIONS_SIZE
    for endpoint in endpoints:
        entries.append(describe_entry(endpoint))
        if left > 0:
            operation = describe_operation(endpoint, steps=steps)
            section = "\n\n".join(_write_operation(operation))
            # Prose can take long to read and leave nothing behind.
            left -= max(measure(section), operation.characters)
            if left > 0:
                sections.append(section)
    index = list(fit(_write_index(entries), MAX_PAGE_SIZE - sum(map(measure, sections))))
    begin = _write_agent(description, sum(entry.gone_at is None for entry in entries))
    listed = max(0, len(index) - _HEAD_LINES)
    rest = [f"Shortened: {note}." for note in describe_rest(len(entries), listed=listed, shown=len(sections))]
    return "\n\n".join([*begin, *rest, *filter(None, ["\n".join(index)]), *sections]) + "\n"


def _write_agent(description: AgentDescription, count: int) -> Iterator[str]:
    agent = describe_agent(description, count=count)
    yield f"# {_line(agent.title)}"
    facts = {
        "Connection": make_code(agent.connection),
        "Kind": agent.kind,
        "Version": make_code(agent.version),
        "Read from": make_code(agent.source),
        "Checked": format_moment(agent.checked_at),
        "Changed": format_moment(agent.changed_at),
    }
    yield "\n".join(f"- {name}: {text}" for name, text in facts.items() if text)
    if agent.description:
        yield write_prose(agent.description)
    for warning in agent.warnings:
        yield f"> Warning: {_line(warning)}"
    yield f"## {agent.offers}"


def _write_index(entries: list[Entry]) -> Iterator[str]:
    """Yield the lines of the index."""
    if entries:
        yield from _write_rows(
            ("Method", "Operation", "Path", "Summary"),
            (
                (
                    make_code(entry.method),
                    make_code(entry.id) + (" (gone)" if entry.gone_at else ""),
                    make_code(entry.path),
                    escape_markdown(entry.summary),
                )
                for entry in entries
            ),
        )


def _write_operation(operation: OperationPage) -> Iterator[str]:
    entry = operation.entry
    yield f"## {_line(operation.title)}"
    marks = [f"operation {make_code(entry.id)}"]
    if entry.gone_at:
        marks.append(f"**gone** since {format_moment(entry.gone_at)}")
    if operation.deprecated:
        marks.append("**deprecated**")
    yield " ".join(filter(None, (make_code(entry.method), make_code(entry.path)))) + ", " + ", ".join(marks)
    if operation.description:
        yield write_prose(operation.description)
    yield "### Example step"
    yield from _write_step(operation)
    if operation.parameters:
        yield "### Parameters"
        yield _write_parameters(operation.parameters)
    for part in operation.parts:
        yield f"### {part.title}{' (required)' if part.required else ''}"
        if part.description:
            yield write_prose(part.description)
        yield from _write_contents(part.contents)
    yield from _write_responses(operation.responses)
    if operation.shortened:
        yield f"Shortened: {operation.shortened}."


def _write_responses(responses: Iterable[Response]) -> Iterator[str]:
    if responses:
        yield "### Responses"
    for response in responses:
        yield f"#### {_line(response.status)}"
        if response.description:
            yield write_prose(response.description)
        yield from _write_contents(response.contents)


def _write_step(operation: OperationPage) -> Iterator[str]:
    step = operation.step
    if step.yaml:
        yield make_fence(step.yaml, "yaml")
    if step.problem:
        yield f"{'Adapt the values: ' if step.yaml else ''}{_line(step.problem)}"


def _write_parameters(parameters: Iterable[Parameter]) -> str:
    return _write_table(
        ("Name", "In", "Type", "Required", "Description"),
        (
            (
                make_code(one.name),
                escape_markdown(one.place),
                _write_type(one),
                "yes" if one.required else "",
                write_prose(one.description),
            )
            for one in parameters
        ),
    )


def _write_contents(contents: Iterable[Content]) -> Iterator[str]:
    for content in contents:
        whole, *rows = content.rows
        yield ": ".join(filter(None, (make_code(content.media_type), _write_type(whole))))
        if whole.description:
            yield write_prose(whole.description)
        if content.shown_at:
            yield f"What is inside is shown at {_line(content.shown_at)}."
        if rows:
            yield _write_table(
                ("Name", "Type", "Required", "Description"),
                (
                    (
                        make_code(row.path),
                        _write_type(row),
                        "yes" if row.required else "",
                        write_prose(row.description),
                    )
                    for row in rows
                ),
            )


def _write_type(row: SchemaRow | Parameter) -> str:
    facts = (" ".join(filter(None, (escape_markdown(one.words), make_code(one.value)))) for one in row.facts)
    return ", ".join((escape_markdown(row.type), *facts))


def _write_table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join(_write_rows(head, rows))


def _write_rows(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    for line in chain([head, ("---",) * len(head)], (tuple(map(make_cell, row)) for row in rows)):
        yield f"| {' | '.join(line)} |"


def _line(text: str) -> str:
    return escape_markdown(clean_line(text, len(text)))
