"""Generates `models.py` with datamodel-code-generator and lets only declarations through.

Text of the document must not become code. The generator quotes it; the check here does not rely on that.
"""

import ast
import json
import warnings
from dataclasses import dataclass

from demo_agent.model_input import ModelInput

_HEADER = '"""Data models of the service, one class for each schema of the OpenAPI document."""'

_IMPORTS = {
    "__future__": {"annotations"},
    "typing": {"Annotated", "Any", "Literal", "Optional", "Union", "TypeAlias", "Dict", "List"},
    "typing_extensions": {"TypeAliasType", "TypeAlias"},
    "collections.abc": {"Mapping", "Sequence"},
    "datetime": {"date", "datetime", "time", "timedelta"},
    "decimal": {"Decimal"},
    "uuid": {"UUID"},
    "ipaddress": {"IPv4Address", "IPv6Address", "IPv4Network", "IPv6Network"},
    "pathlib": {"Path"},
    "pydantic": {
        "AnyUrl", "AwareDatetime", "Base64Str", "Base64Bytes", "BaseModel", "ConfigDict", "EmailStr", "Field",
        "NaiveDatetime", "PastDate", "FutureDate", "RootModel", "SecretStr", "confloat", "conint", "constr", "conlist",
        "UUID1", "UUID2", "UUID3", "UUID4", "UUID5", "UUID6", "UUID7", "UUID8", "StrictBool", "StrictInt", "StrictStr",
        "StrictFloat", "Json", "PastDatetime", "FutureDatetime", "StringConstraints",
    },
}  # fmt: skip
_BUILTINS = frozenset(("str", "int", "float", "bool", "bytes", "list", "dict", "set", "frozenset", "tuple", "object"))
_CALLS = frozenset(("Field", "ConfigDict", "StringConstraints", "confloat", "conint", "constr", "conlist"))
_NODES = (
    ast.Constant, ast.Name, ast.Subscript, ast.Tuple, ast.List, ast.Set, ast.Dict, ast.BinOp, ast.BitOr, ast.UnaryOp,
    ast.USub, ast.Call, ast.keyword, ast.Load, ast.Lambda, ast.arguments, ast.Attribute,
)  # fmt: skip

_MOST_TRIES = 60


class UnsafeModelsError(ValueError):
    """Generated code contains something that is no declaration."""


@dataclass(frozen=True)
class Models:
    """The source of `models.py` and the names it defines."""

    source: str
    names: frozenset[str]


def generate_models(model_input: ModelInput) -> Models:
    """Generate the classes for every schema in `model_input`.

    Raises:
        UnsafeModelsError: the result has code in it that is no declaration.
        Exception: whatever the generator raises for schemas it cannot do; callers try a plainer input.
    """
    from datamodel_code_generator import generate
    from datamodel_code_generator.enums import DataModelType, InputFileType, OpenAPIScope
    from datamodel_code_generator.format import Formatter, PythonVersion
    from datamodel_code_generator.parser import LiteralType

    if not model_input.schemas:
        return Models(_HEADER + "\n", frozenset())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = generate(
            json.dumps(model_input.spec()),
            input_filename="openapi.json",
            input_file_type=InputFileType.OpenAPI,
            openapi_scopes=[OpenAPIScope.Schemas],
            output_model_type=DataModelType.PydanticV2BaseModel,
            target_python_version=PythonVersion.PY_311,
            formatters=[Formatter.BUILTIN],
            custom_file_header=_HEADER,
            disable_timestamp=True,
            allow_remote_refs=False,
            enum_field_as_literal=LiteralType.All,
            use_annotated=True,
            use_standard_collections=True,
            use_union_operator=True,
            use_double_quotes=True,
            field_constraints=True,
            snake_case_field=True,
            allow_population_by_field_name=True,
            strict_nullable=True,
            use_schema_description=True,
            use_field_description=True,
        )
    if not isinstance(source, str):
        raise TypeError("the generator made several modules")
    return Models(source, _checked_names(source))


def unusable_schemas(model_input: ModelInput) -> list[str]:
    """Find the schemas without which `generate_models` succeeds, by halving; empty where that finds none."""
    everything = dict(model_input.schemas)
    culprits: list[str] = []
    waiting = [sorted(everything)]
    for _ in range(_MOST_TRIES):
        if not waiting:
            break
        part = waiting.pop()
        model_input.schemas = {name: schema if name in part else {} for name, schema in everything.items()}
        try:
            generate_models(model_input)
        except Exception:  # noqa: BLE001 - the generator fails in many ways, and each is an answer here
            half = len(part) // 2
            if half:
                waiting += [part[half:], part[:half]]
            else:
                culprits += part
    model_input.schemas = everything
    return culprits


def _checked_names(source: str) -> frozenset[str]:
    tree = ast.parse(source)
    names = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    names |= {target.id for node in tree.body for target in _targets(node)}
    allowed = names | _BUILTINS
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            allowed |= _imported(node)
    for node in tree.body:
        if not isinstance(node, ast.ImportFrom):
            _Checker(allowed).statement(node, top=True)
    return frozenset(names)


def _targets(node: ast.stmt) -> list[ast.Name]:
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = list(node.targets)
    elif isinstance(node, ast.AnnAssign):
        targets = [node.target]
    return [target for target in targets if isinstance(target, ast.Name)]


def _imported(node: ast.ImportFrom) -> set[str]:
    known = _IMPORTS.get(node.module or "", set())
    for alias in node.names:
        if alias.name not in known or node.level:
            raise UnsafeModelsError(f"the generated models import {node.module}.{alias.name}")
    return {alias.asname or alias.name for alias in node.names}


class _Checker:
    def __init__(self, allowed: set[str]) -> None:
        self.allowed = allowed

    def statement(self, node: ast.stmt, *, top: bool) -> None:
        if isinstance(node, ast.ClassDef) and top and not node.decorator_list and not node.keywords:
            for base in node.bases:
                self.annotation(base)
            for below in node.body:
                self.statement(below, top=False)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            self.annotation(node.annotation)
            if node.value is not None:
                self.value(node.value)
        elif isinstance(node, ast.Assign) and all(isinstance(target, ast.Name) for target in node.targets):
            self._assigned(node.value, top=top)
        elif isinstance(node, ast.Expr):
            if not _is_docstring(node.value) and not _is_rebuild(node.value, top=top):
                raise _unsafe(node)
        elif not isinstance(node, ast.Pass):
            raise _unsafe(node)

    def _assigned(self, node: ast.expr, *, top: bool) -> None:
        if not top:
            self.value(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "TypeAliasType":
            if len(node.args) != 2 or node.keywords or not _is_docstring(node.args[0]):
                raise _unsafe(node)
            self.annotation(node.args[1])
        else:
            self.annotation(node)

    def annotation(self, node: ast.expr) -> None:
        """Check a type: a string in it would be evaluated as one, except as a `Literal` or an argument of a call."""
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "Literal":
            self.value(node.slice)
        elif isinstance(node, ast.Subscript):
            self.annotation(node.value)
            self.annotation(node.slice)
        elif isinstance(node, (ast.Tuple, ast.List)):
            for element in node.elts:
                self.annotation(element)
        elif isinstance(node, ast.BinOp):
            self.annotation(node.left)
            self.annotation(node.right)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            raise _unsafe(node)
        else:
            self.value(node)

    def value(self, node: ast.expr) -> None:
        for below in ast.walk(node):
            if not isinstance(below, _NODES):
                raise _unsafe(below)
            if isinstance(below, ast.Name) and below.id not in self.allowed:
                raise _unsafe(below)
            if isinstance(below, ast.Attribute) and below.attr != "model_validate":
                raise _unsafe(below)
            if isinstance(below, ast.Call) and not _is_declaration(below.func):
                raise _unsafe(below)


def _is_declaration(function: ast.expr) -> bool:
    if isinstance(function, ast.Attribute):
        return isinstance(function.value, ast.Name) and function.attr == "model_validate"
    return isinstance(function, ast.Name) and function.id in _CALLS


def _is_docstring(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _is_rebuild(node: ast.expr, *, top: bool) -> bool:
    return (
        top
        and isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.attr == "model_rebuild"
        and not node.args
        and not node.keywords
    )


def _unsafe(node: ast.AST) -> UnsafeModelsError:
    line = getattr(node, "lineno", 0)
    return UnsafeModelsError(f"the generated models have a {type(node).__name__} in line {line} that declares nothing")
