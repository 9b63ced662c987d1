"""What one template's source uses: names, filters, tests and other files. Only programs in isolation import this."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from jinja2 import meta, nodes

from scaffolder.generation.templates.native.environment import REFUSED_NAMES, TemplateEnvironment

_GUARDING_TESTS: Final = frozenset({"defined", "undefined"})
_GUARDING_FILTERS: Final = frozenset({"default", "d"})


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Files that a source includes, imports or extends: the first of `paths` that is there."""

    paths: tuple[str, ...]
    line: int
    is_optional: bool
    with_context: bool


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a source uses.

    `names` are those it expects to be given, with the line of the first use; `guarded` those of them whose absence it
    deals with; `stored` the names it sets. `is_dynamic`: it includes files whose names it computes. `problems` are
    pairs of line and sentence.
    """

    names: dict[str, int]
    guarded: frozenset[str]
    stored: frozenset[str]
    references: tuple[Reference, ...]
    is_dynamic: bool
    problems: tuple[tuple[int, str], ...]


def analyse(environment: TemplateEnvironment, text: str, name: str | None) -> Source:
    """Return what `text` uses. Raises TemplateSyntaxError."""
    tree = environment.parse(text, name)
    references, is_dynamic = _find_references(tree)
    return Source(
        names=_find_names(text, name, tree),
        guarded=frozenset(_find_guarded(tree)),
        stored=frozenset(_find_stored(tree)),
        references=tuple(references),
        is_dynamic=is_dynamic,
        problems=tuple(_find_problems(environment, tree)),
    )


def find_unknown_names(source: Source, known: set[str]) -> list[str]:
    """Return the names that `source` expects, that are not in `known` and whose absence it does not deal with."""
    return sorted(source.names.keys() - source.guarded - known)


def _find_names(text: str, name: str | None, tree: nodes.Template) -> dict[str, int]:
    undeclared = meta.find_undeclared_variables(_lenient_environment().parse(text, name))
    lines: dict[str, int] = {}
    for node in tree.find_all(nodes.Name):
        if node.name in undeclared and node.ctx == "load":
            lines[node.name] = min(node.lineno, lines.get(node.name, node.lineno))
    return lines


def _find_guarded(tree: nodes.Template) -> Iterator[str]:
    for test in tree.find_all(nodes.Test):
        if test.name in _GUARDING_TESTS and isinstance(test.node, nodes.Name):
            yield test.node.name
    for one in tree.find_all(nodes.Filter):
        if one.name in _GUARDING_FILTERS and isinstance(one.node, nodes.Name):
            yield one.node.name


def _find_stored(tree: nodes.Template) -> Iterator[str]:
    for name in tree.find_all(nodes.Name):
        if name.ctx != "load":
            yield name.name
    for macro in tree.find_all(nodes.Macro):
        yield macro.name
    for whole in tree.find_all(nodes.Import):
        yield whole.target
    for some in tree.find_all(nodes.FromImport):
        for one in some.names:
            yield one if isinstance(one, str) else one[1]


def _find_references(tree: nodes.Template) -> tuple[list[Reference], bool]:
    references: list[Reference] = []
    is_dynamic = False
    kinds: tuple[type[Any], ...] = (nodes.Extends, nodes.Include, nodes.Import, nodes.FromImport)
    for node in tree.find_all(kinds):
        paths = list(_find_paths(node.template))
        is_dynamic = is_dynamic or None in paths
        references.append(
            Reference(
                paths=tuple(path for path in paths if path is not None),
                line=node.lineno,
                # Where one of the names is computed, nobody can say that none is there.
                is_optional=getattr(node, "ignore_missing", False) or None in paths,
                with_context=getattr(node, "with_context", True),
            )
        )
    return references, is_dynamic


def _find_paths(node: nodes.Expr) -> Iterator[str | None]:
    """Yield the paths of an include; None stands for one that is computed."""
    if isinstance(node, nodes.Const):
        for path in node.value if isinstance(node.value, list | tuple) else [node.value]:
            yield path if isinstance(path, str) else None
    elif isinstance(node, nodes.List | nodes.Tuple):
        for item in node.items:
            yield from _find_paths(item)
    elif isinstance(node, nodes.CondExpr):
        yield from _find_paths(node.expr1)
        if node.expr2 is not None:
            yield from _find_paths(node.expr2)
    else:
        yield None


def _find_problems(environment: TemplateEnvironment, tree: nodes.Template) -> Iterator[tuple[int, str]]:
    for one in tree.find_all(nodes.Filter):
        if one.name in REFUSED_NAMES:
            yield one.lineno, f"uses {one.name!r}, which is not accepted: it gives something else each time"
        elif one.name not in environment.filters:
            yield one.lineno, f"uses the filter {one.name!r}, which does not exist"
    for test in tree.find_all(nodes.Test):
        if test.name not in environment.tests:
            yield test.lineno, f"uses the test {test.name!r}, which does not exist"


class _AnyName(dict[str, Any]):
    """Has every name, so that one that is unknown does not hide what else is wrong."""

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name, _pass)


def _pass(value: Any, *_arguments: Any, **_keywords: Any) -> Any:
    return value


@cache
def _lenient_environment() -> TemplateEnvironment:
    environment = TemplateEnvironment(find_file=lambda _path, _parent: None, find_source=str)
    environment.filters = _AnyName(environment.filters)
    environment.tests = _AnyName(environment.tests)
    for name in REFUSED_NAMES & environment.globals.keys():
        del environment.globals[name]
    return environment
