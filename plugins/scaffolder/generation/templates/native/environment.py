"""The Jinja environment of templates. Only programs that run in isolation import this: sources are hostile."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from types import BuiltinFunctionType, FunctionType, GeneratorType, MethodType
from typing import Any, Final

from jinja2 import BaseLoader, Environment, Template, TemplateNotFound, TemplateRuntimeError

from scaffolder.generation.templates.native.filters import FILTERS
from scaffolder.sandbox import DataEnvironment

# They give something else each time.
REFUSED_NAMES: Final = frozenset({"lipsum", "random"})

# What these print is an address in memory, another one in every run.
_UNPRINTABLE: Final = (BuiltinFunctionType, FunctionType, GeneratorType, MethodType)
_PRINTABLE: Final = frozenset({str, int, float, bool, type(None), list, dict})
# What an include may name and no file has: Jinja tries the next of its names, or says that all are missing.
_NOWHERE: Final = "?:"

FindSource = Callable[[str], str]
FindFile = Callable[[str, str], str | None]


class TemplateEnvironment(DataEnvironment):
    """Renders templates: with our filters, and without what gives something else each time.

    Templates are named ``<layer>:<path>``. `find_file` turns the path of an include and the name of the template that
    has it into a name, or into None where there is no such file; `find_source` returns the source of a name, with
    nothing but newlines at the ends of its lines.
    """

    def __init__(self, *, find_file: FindFile, find_source: FindSource) -> None:
        super().__init__()
        self.filters.update({name: one.function for name, one in FILTERS.items()})
        for name in REFUSED_NAMES:
            for names in (self.filters, self.globals):
                if name in names:
                    names[name] = _make_refusal(name)
        self.finalize = _check_printable
        self.loader = _Loader(find_source)
        self._find_file = find_file

    def join_path(self, template: str, parent: str) -> str:
        """Return the name of the file that `parent` includes as `template`, or one that no file has.

        Raises TemplateRuntimeError where the path leads out of the template.
        """
        if not isinstance(template, str) or template.startswith("/") or ".." in template.split("/"):
            raise TemplateRuntimeError(f"includes {template!r}; accepted is a path from the template's root")
        return self._find_file(template, parent) or f"{_NOWHERE}{template}"


class IncludableFiles:
    """Files by layer and path, as includes see them: a template's own, then those of the templates it extends.

    `visible` are the layers that each layer sees, its own first.
    """

    def __init__(self, files: Sequence[tuple[int, str]], *, visible: Sequence[Sequence[int]]) -> None:
        self._visible = visible
        self._numbers = {(layer, path): number for number, (layer, path) in enumerate(files)}

    def find(self, path: str, including: str) -> str | None:
        """Return the name of the file that `including` means by `path`.

        What includes its own path means the file that it takes the place of, where there is one.
        """
        own_layer, _, own_path = including.partition(":")
        layers = [*self._visible[int(own_layer)]]
        if path == own_path:
            layers = [*layers[1:], int(own_layer)]
        return next((f"{layer}:{path}" for layer in layers if (layer, path) in self._numbers), None)

    def number(self, name: str) -> int:
        """Return the number of the file `name`."""
        layer, _, path = name.partition(":")
        return self._numbers[int(layer), path]


class _Loader(BaseLoader):
    def __init__(self, find_source: FindSource) -> None:
        self._find_source = find_source

    def load(
        self,
        environment: Environment,
        name: str,
        globals: MutableMapping[str, Any] | None = None,  # noqa: A002 - Jinja's name
    ) -> Template:
        if name.startswith(_NOWHERE):
            raise TemplateNotFound(name)
        code = environment.compile(self._find_source(name), name)
        return environment.template_class.from_code(environment, code, globals or {})


def describe_missing(error: TemplateNotFound) -> str:
    """Return what is wrong where an include names no file."""
    paths = [str(name).removeprefix(_NOWHERE) for name in error.templates]
    return f"includes {' or '.join(repr(path) for path in paths)}, which is not there"


def _make_refusal(name: str) -> Callable[..., Any]:
    def refuse(*_arguments: Any, **_keywords: Any) -> Any:
        raise TemplateRuntimeError(
            f"{name!r} is not accepted: it gives something else each time, and the same run gives the same files"
        )

    return refuse


def _check_printable(value: Any) -> Any:
    kind = type(value)
    if kind in _PRINTABLE:
        return value
    own_form: object = kind.__repr__
    if own_form is object.__repr__ or issubclass(kind, _UNPRINTABLE):
        raise TemplateRuntimeError(
            f"prints a {kind.__name__}; accepted is data: call what is a function, and make a list of what a filter "
            "gives piece by piece (| list, | join)"
        )
    return value
