"""Cookiecutter, in the child process: what a template asks for, and its rendering.

Cookiecutter's own environment runs whatever Python a template reaches. Without trust, one in a sandbox takes its place.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cookiecutter.prompt  # type: ignore[import-untyped]
import cookiecutter.utils  # type: ignore[import-untyped]
from cookiecutter.environment import StrictEnvironment  # type: ignore[import-untyped]
from cookiecutter.find import find_template  # type: ignore[import-untyped]
from cookiecutter.generate import generate_context, generate_files  # type: ignore[import-untyped]
from cookiecutter.hooks import find_hook, run_pre_prompt_hook  # type: ignore[import-untyped]
from cookiecutter.prompt import choose_nested_template, prompt_for_config, render_variable
from cookiecutter.utils import create_env_with_context, work_in
from jinja2.sandbox import SandboxedEnvironment

from scaffolder.generation.templates.foreign.child import ProblemError

_HOOKS = ("pre_prompt", "pre_gen_project", "post_gen_project")
_NESTED = ("template", "templates")


class SandboxedStrictEnvironment(StrictEnvironment, SandboxedEnvironment):  # type: ignore[misc]
    """Cookiecutter's environment, without what leads from values to Python's own."""


class _Given(str):
    """A value as it was given: Cookiecutter would render it, as it does its defaults."""

    __slots__ = ()


def run(request: dict[str, Any]) -> dict[str, Any]:
    """Render ``directory``, or the template that it chooses inside of itself, with ``values``."""
    trusted = request["trusted"]
    _take_values_as_given()
    if not trusted:
        _use_sandbox()
    levels = list(_descend(request))
    directory, demands, context = levels[-1]
    names = {name for _, _, values in levels for name in _public(values)}
    if request["inspect"]:
        return {"demands": demands, "names": sorted(names - {"templates"})}
    if demands and not trusted:
        return {"demands": demands}
    if unknown := sorted(set(request["values"]) - names):
        raise ProblemError(f"it has no values {unknown}; accepted are {sorted(names)}")
    return {"directory": _generate(directory, context, request)}


def _descend(request: dict[str, Any]) -> Iterator[tuple[str, list[str], dict[str, Any]]]:
    """Yield the template and, where it names others inside of itself, the chosen one: directory, demands, context.

    What a template demands is read before any of it is used, and without trust that is the end.
    """
    root = directory = os.path.realpath(request["directory"])
    demands: list[str] = []
    while True:
        demands += _list_demands(directory, root)
        if request["trusted"] and not request["inspect"]:
            directory = str(run_pre_prompt_hook(directory))
            sys.path.append(directory)
        context = _read_context(directory, request["values"])
        yield directory, demands, context
        # Choosing would load the extensions that it demands.
        if (demands and not request["trusted"]) or not set(_NESTED) & set(context["cookiecutter"]):
            return
        chosen = os.path.realpath(choose_nested_template(context, directory, no_input=True))
        if not Path(chosen).is_relative_to(directory) or chosen == directory:
            raise ProblemError(f"it chooses the template {chosen!r}; accepted is one inside of {directory!r}")
        directory = chosen


def _list_demands(directory: str, root: str) -> list[str]:
    inside = os.path.relpath(directory, root)
    prefix = "" if inside == "." else f"{inside}/"
    with work_in(directory):
        scripts = [path for hook in _HOOKS for path in find_hook(hook) or ()]
    file = Path(directory, "cookiecutter.json")
    extensions = generate_context(str(file))["cookiecutter"].get("_extensions", [])
    hooks = [f"{prefix}hooks/{os.path.basename(path)}" for path in scripts]  # noqa: PTH119 - they are text
    return hooks + [f"{prefix}cookiecutter.json: _extensions, {str(name)!r}" for name in extensions]


def _public(context: dict[str, Any]) -> set[str]:
    return {name for name in context["cookiecutter"] if not name.startswith("_")}


def _read_context(directory: str, values: dict[str, Any]) -> dict[str, Any]:
    file = str(Path(directory, "cookiecutter.json"))
    plain: dict[str, Any] = generate_context(file)
    defaults = plain["cookiecutter"]
    if not isinstance(defaults, dict):
        raise ProblemError("its cookiecutter.json holds no object")
    known = {name: value for name, value in values.items() if name in _public(plain) and name != "templates"}
    # A choice must be one of the template's own texts, which are rendered; all else is taken as it is.
    given = {name: value if isinstance(defaults[name], list) else _as_given(value) for name, value in known.items()}
    context: dict[str, Any] = generate_context(file, extra_context=given)
    return context


def _generate(directory: str, context: dict[str, Any], request: dict[str, Any]) -> str:
    values = context["cookiecutter"]
    context["_cookiecutter"] = {name: value for name, value in values.items() if not name.startswith("_")}
    values.update(prompt_for_config(context, no_input=True))
    values.update(
        _template=request["source"], _output_dir=request["output"], _repo_dir=directory, _checkout=request["ref"]
    )
    _check_directory_name(directory, context)
    made = generate_files(directory, context, output_dir=request["output"], accept_hooks=request["trusted"])
    return str(os.path.relpath(made, request["output"]))


def _check_directory_name(directory: str, context: dict[str, Any]) -> None:
    # Cookiecutter renders the project directory's name again with each directory below it.
    environment = create_env_with_context(context)
    name = environment.from_string(find_template(directory, environment).name).render(**context)
    marks = (environment.variable_start_string, environment.block_start_string, environment.comment_start_string)
    if any(mark in name for mark in marks) or not name.isprintable():
        raise ProblemError(f"the project's directory would be {name!r}; accepted is a name without marks of templates")


def _as_given(value: Any) -> Any:
    if isinstance(value, str):
        return _Given(value)
    if isinstance(value, dict):
        return {_as_given(key): _as_given(item) for key, item in value.items()}
    return [_as_given(item) for item in value] if isinstance(value, list) else value


def _take_values_as_given() -> None:
    def render(environment: Any, raw: Any, values: dict[str, Any]) -> Any:
        return str(raw) if isinstance(raw, _Given) else render_variable(environment, raw, values)

    cookiecutter.prompt.render_variable = render


def _use_sandbox() -> None:
    cookiecutter.utils.StrictEnvironment = SandboxedStrictEnvironment
    if not isinstance(create_env_with_context({}), SandboxedEnvironment):
        raise ProblemError("this version of Cookiecutter cannot be kept in a sandbox; accepted is cookiecutter>=2.7")
