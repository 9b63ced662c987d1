"""Turns an OpenAPI document into the files of a service: the one function behind `POST /v1/models`.

Equal input gives equal output. What it returns has been run: operations that failed are handled without models, and
those that cannot be answered at all are left out of the tests with the reason.
"""

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from demo_agent.checking import SchemaChecker
from demo_agent.document import Document, read_document
from demo_agent.errors import DocumentRefusedError
from demo_agent.naming import RESERVED, package_name, snake, unique
from demo_agent.operations import list_operations
from demo_agent.ordering import arrange
from demo_agent.plans import (
    MODULE_NAMES,
    Plan,
    Typing,
    example_entry,
    function_name,
    plan_route,
    test_entry,
    to_json,
)
from demo_agent.routes import EXAMPLES_MODULE, routers_module, routes_module
from demo_agent.typing_choice import Draft, choose_typing, draft_operations
from demo_agent.verification import ProbeFailedError, answer_problem, calls

NAME_PATTERN = "^[a-z][a-z0-9-]{1,38}$"
_MOST_ROUNDS = 12


def generate(text: str, *, name: str) -> dict[str, Any]:
    """Generate the files for the OpenAPI document in `text` and a project called `name`.

    Raises:
        DocumentRefusedError: the document or the name is not acceptable.
        GenerationStoppedError: generated code used more than this process may.
    """
    if re.fullmatch(NAME_PATTERN, name) is None:
        raise DocumentRefusedError(f"the name {name[:80]!r} is not acceptable: it must match {NAME_PATTERN}")
    document = read_document(text)
    operations = list_operations(document)
    checker = SchemaChecker(document)
    drafts = draft_operations(operations, checker=checker, warnings=document.warnings)
    service = _Service(package_name(name), document, checker, drafts)
    service.models = choose_typing(drafts, document=document, checker=checker)
    service.settle()
    return service.result()


@dataclass
class _Service:
    package: str
    document: Document
    checker: SchemaChecker
    drafts: list[Draft]
    models: str = ""
    # Operations that were tried and failed: by id, the reason. `dropped` ones have no route at all.
    failed: dict[str, str] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    plans: list[Plan] = field(default_factory=list)
    modules: dict[str, list[Plan]] = field(default_factory=dict)

    def settle(self) -> None:
        """Run the service until every operation answers as it should, or is set aside."""
        for _ in range(_MOST_ROUNDS):
            self._plan()
            entries = [test_entry(plan) for plan in self.plans if plan.excluded is None]
            try:
                results = calls(self.sources(), package=self.package, entries=entries)
            except ProbeFailedError as exc:
                self._demote(self._culprit(exc), exc.message)
                continue
            problems = {
                entry["operation_id"]: problem
                for entry, result in zip(entries, results, strict=True)
                if (problem := answer_problem(result, entry=entry, checker=self.checker)) is not None
            }
            if not problems:
                return
            for identifier, problem in problems.items():
                self._demote([identifier], problem)
        raise DocumentRefusedError("the document's operations could not be made to work together")

    def _plan(self) -> None:
        taken = set(MODULE_NAMES)
        self.plans = [
            plan_route(
                draft.operation,
                function=function_name(draft.operation, taken=taken),
                typing=draft.typing,
                request=draft.request,
                response=draft.response,
                checker=self.checker,
            )
            for draft in self.drafts
        ]
        for plan in self.plans:
            identifier = plan.operation.id
            if identifier in self.failed and not plan.typing.parameters:
                plan.excluded = plan.excluded or self.failed.get(f"{identifier}\0")
            plan.excluded = self.dropped.get(identifier, plan.excluded)
        routed = [plan for plan in self.plans if plan.operation.id not in self.dropped]
        tags = _module_names([plan.operation.tag for plan in routed])
        self.modules = arrange(routed, module_of=lambda plan: tags[plan.operation.tag])

    def _culprit(self, exc: ProbeFailedError) -> list[str]:
        """Find the operation whose handler holds the line that failed; all of them where it cannot be told."""
        tree = ast.parse(self.sources().get(exc.file or "", ""))
        functions = {
            node.name
            for node in tree.body
            if isinstance(node, ast.AsyncFunctionDef)
            and min(d.lineno for d in node.decorator_list) <= exc.line <= (node.end_lineno or 0)
        }
        found = [plan.operation.id for plan in self.plans if plan.function in functions]
        return found or [plan.operation.id for plan in self.plans]

    def _demote(self, identifiers: Sequence[str], problem: str) -> None:
        """Take models away, then types, then the test, then the route."""
        for draft in self.drafts:
            identifier = draft.operation.id
            if identifier not in identifiers:
                continue
            if identifier not in self.failed:
                self.failed[identifier] = problem
                draft.typing = Typing(parameters=False)
            elif f"{identifier}\0" not in self.failed:
                self.failed[f"{identifier}\0"] = problem
            else:
                self.dropped[identifier] = problem

    def sources(self) -> dict[str, str]:
        """Return the package's files as the probe needs them."""
        files = {path.removeprefix("src/"): content for path, content in self._package_files().items()}
        return {f"{self.package}/__init__.py": "", **files}

    def _package_files(self) -> dict[str, str]:
        below = f"src/{self.package}"
        files = {
            f"{below}/models.py": self.models,
            f"{below}/examples.py": EXAMPLES_MODULE,
            f"{below}/examples.json": to_json({plan.operation.id: example_entry(plan) for plan in self.plans}),
            f"{below}/routes/__init__.py": routers_module(list(self.modules), package=self.package),
        }
        for module, plans in self.modules.items():
            own = list(dict.fromkeys(plan.operation.tag for plan in plans))
            files[f"{below}/routes/{module}.py"] = routes_module(plans, tags=own, package=self.package)
        return files

    def result(self) -> dict[str, Any]:
        """Return the answer of `POST /v1/models`."""
        files = self._package_files()
        files[f"src/{self.package}/openapi.json"] = to_json(self.document.data)
        files["tests/operations.json"] = to_json([test_entry(plan) for plan in self.plans])
        return {
            "package": self.package,
            "title": self.document.title,
            "version": self.document.api_version,
            "files": [
                {"path": path, "content": content, "executable": False} for path, content in sorted(files.items())
            ],
            "operations": [
                {
                    "operation_id": plan.operation.id,
                    "method": plan.operation.method.upper(),
                    "path": plan.operation.path,
                    "summary": plan.operation.summary,
                }
                for plan in self.plans
            ],
            "warnings": self._warnings(),
        }

    def _warnings(self) -> list[str]:
        warnings = list(self.document.warnings)
        for plan in self.plans:
            if plan.excluded is not None:
                warnings.append(f"{plan.operation.id} is not tested: {plan.excluded}")
            elif plan.untyped:
                reasons = [
                    reason for draft in self.drafts if draft.operation is plan.operation for reason in draft.reasons
                ]
                cause = self.failed.get(plan.operation.id) or "; ".join(reasons) or "there is no model for it"
                warnings.append(f"{plan.operation.id} has an untyped body: {cause}")
        return list(dict.fromkeys(warnings))


def _module_names(tags: Sequence[str]) -> dict[str, str]:
    """Name a module for each tag; tags that differ only in case or punctuation share one."""
    names: dict[str, str] = {}
    taken = {"routers"}
    for tag in dict.fromkeys(tags):
        name = snake(tag, fallback="")
        if not name:
            name = unique("group", taken=taken)
        names[tag] = f"{name}_" if name in RESERVED or name == "routers" else name
    return names
