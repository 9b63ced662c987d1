"""Templates of our own kind, written by tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from scaffolder.config import Settings
from scaffolder.generation.templates.native.definition import NativeTemplate, load_template

RUN: dict[str, Any] = {
    "id": "manual__1",
    "dag_id": "service",
    "at": "2031-05-06T07:08:09+00:00",
    "year": 2031,
    "user": "ada",
    "generated_project_id": "11111111-2222-3333-4444-555555555555",
}


def write_template(
    directory: Path, files: Mapping[str, bytes | str], *, name: str = "service", **definition: Any
) -> NativeTemplate:
    """Write a template below `directory` and load it; `directory` is the templates directory too."""
    root = directory / name
    root.mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
    full = {"name": name, "version": "1.2.0", "description": "A service"} | definition
    (root / "template.yaml").write_text(yaml.safe_dump(full, sort_keys=False))
    return load_template(root, directories=[directory])


def properties(**schemas: Any) -> dict[str, Any]:
    """Return a schema of values; a value that is no mapping is a default."""
    full = {name: one if isinstance(one, dict) else {"default": one} for name, one in schemas.items()}
    return {"type": "object", "properties": full}


def render(template: NativeTemplate, settings: Settings, **values: Any) -> dict[str, bytes]:
    """Return the content of each file by its path."""
    files = template.render(values, run=RUN, trust=False, settings=settings)
    return {file.path: file.content for file in files}
