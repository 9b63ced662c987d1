"""Documents the tests send: small, and each made for one difficulty."""

from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TOKEN = "a-token-for-tests"
HOSTILE_TEXT = 'x"""\'\'\'\n{{7*7}}{% raw %}\\N{BULLET}\\"""); import os; os.abort() #\u202e\x07'


def document(paths: dict[str, Any], *, version: str = "3.1.0", **components: Any) -> dict[str, Any]:
    """Return a document with these paths and components."""
    return {
        "openapi": version,
        "info": {"title": "Things", "version": "1"},
        "paths": paths,
        "components": components,
    }


def answer(schema: Any, *, media_type: str = "application/json", status: str = "200") -> dict[str, Any]:
    """Return the responses of an operation that has one."""
    return {status: {"description": "fine", "content": {media_type: {"schema": schema}}}}


def operation(schema: Any, **more: Any) -> dict[str, Any]:
    """Return an operation that answers `schema` as JSON."""
    return {"responses": answer(schema), **more}


def hostile_document() -> dict[str, Any]:
    """Return a document that has hostile text in every place that takes text."""
    text = HOSTILE_TEXT
    return {
        "openapi": "3.1.0",
        "info": {"title": text, "version": text, "description": text},
        "paths": {
            "/a": {
                "post": {
                    "operationId": text,
                    "summary": text,
                    "description": text,
                    "tags": [text],
                    "parameters": [
                        {
                            "name": text,
                            "in": "query",
                            "schema": {"type": "string", "enum": [text], "default": text},
                        },
                        {
                            "name": "class",
                            "in": "query",
                            "schema": {"type": "string", "pattern": '^"""{{7*7}}'},
                        },
                    ],
                    "requestBody": {
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing%20'x'"}}}
                    },
                    "responses": answer({"$ref": "#/components/schemas/Thing%20'x'"}),
                }
            },
            f"/b{text}": {"get": operation({"type": "string", "const": text})},
        },
        "components": {
            "schemas": {
                "Thing 'x'": {
                    "title": text,
                    "description": text,
                    "type": "object",
                    "x-python-type": "os.system",
                    "customTypePath": "os.system",
                    "required": [text, "kind", "model_config", "__class__"],
                    "properties": {
                        text: {"type": "string", "description": text, "default": text, "title": text},
                        "kind": {"enum": [text, "plain"], "description": text},
                        "pattern": {"type": "string", "pattern": "^\"\"\"\\n'''{1}$", "description": text},
                        "model_config": {"type": "string"},
                        "__class__": {"type": "integer"},
                        "json": {"type": "boolean"},
                        "def": {"const": text},
                    },
                }
            }
        },
    }
