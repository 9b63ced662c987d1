"""``scaffolder discover`` as people run it: a process of its own, no connection, no database."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.description_server import DescriptionServer, serve_descriptions
from tests.servers import DESCRIPTION

COMMAND = str(Path(sys.executable).parent / "scaffolder")
CARD = {
    "name": "Reviewer",
    "version": "2",
    "skills": [{"id": "review", "name": "Review", "description": "Reviews files."}],
    "supportedInterfaces": [{"url": "https://a.example.com/a2a", "protocolBinding": "JSONRPC"}],
}


@pytest.fixture
def server() -> Iterator[DescriptionServer]:
    with serve_descriptions() as served:
        yield served


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "agent.json"
    path.write_text(json.dumps({**DESCRIPTION, "servers": [{"url": "https://anywhere.example.com"}]}))
    return path


def run(*arguments: object, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
    finished = subprocess.run(
        [COMMAND, "discover", *map(str, arguments)],
        env=os.environ | {"COLUMNS": "40"},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if check:
        assert (finished.returncode, finished.stderr) == (0, "")
    return finished


def test_a_file_is_shown_as_a_table_with_no_line_cut(document: Path) -> None:
    lines = run(document).stdout.splitlines()
    assert lines[0] == "Test agent 1"
    assert "  server   https://anywhere.example.com" in lines
    assert "Endpoints (2)" in lines
    assert "  generateModels  POST  /v1/models" in lines
    assert "  getItem         GET   /v1/items/{item}" in lines


def test_json_is_for_programs(document: Path) -> None:
    found = json.loads(run(document, "--json").stdout)
    assert (found["kind"], found["title"], found["servers"]) == (
        "openapi",
        "Test agent",
        ["https://anywhere.example.com"],
    )
    assert found["endpoints"][1] == {"operation": "getItem", "method": "GET", "path": "/v1/items/{item}", "summary": ""}


def test_documentation_is_printed_as_markdown_or_html(document: Path) -> None:
    markdown = run(document, "--markdown").stdout
    assert markdown.startswith("# Test agent\n")
    assert "agent: my_agent" in markdown
    html = run(document, "--html").stdout
    assert html.lower().startswith("<!doctype html>")
    assert "generateModels" in html


@pytest.mark.parametrize(
    ("path", "content", "kind"),
    [
        ("/docs/api.yaml", b"openapi: 3.0.0\npaths: {/a: {get: {}}}", "openapi"),
        ("/card", json.dumps(CARD).encode(), "a2a"),
    ],
)
def test_a_url_is_known_by_its_content(server: DescriptionServer, path: str, content: bytes, kind: str) -> None:
    server.serve(content, path, "text/plain")
    found = json.loads(run(f"{server.url}{path}", "--json").stdout)
    assert (found["kind"], len(found["endpoints"]), found["source"]) == (kind, 1, f"{server.url}{path}")
    assert all("authorization" not in headers for _, _, headers, _ in server.requests)


def test_an_mcp_server_is_known_by_answering(server: DescriptionServer) -> None:
    server.tools = [[{"name": "search", "description": "Finds."}]]
    assert "  search  TOOL    Finds." in run(f"{server.url}/mcp").stdout.splitlines()


def test_the_standard_input_is_read() -> None:
    assert "review  SKILL    Review" in run("-", stdin=json.dumps(CARD)).stdout


@pytest.mark.parametrize(
    ("arguments", "stdin", "message"),
    [
        (["missing.yaml"], "", "'missing.yaml' cannot be read: No such file or directory"),
        (["-"], '{"swagger": "2.0"}', "is Swagger 2.0; accepted is OpenAPI 3"),
        (["-"], "a: [", "'-' has a description that cannot be read, line 2: is no YAML"),
        (["-"], "hello", "'-' is neither an OpenAPI document nor an A2A card"),
        (["-", "--json", "--html"], "{}", "accepted is one of --json, --markdown and --html"),
        (["http://user:s3cret@127.0.0.1/x"], "", "the URL cannot be used"),
        (["http://127.0.0.1:9/x"], "", "AgentUnavailableError"),
    ],
)
def test_what_cannot_be_discovered_ends_with_one_sentence(arguments: list[str], stdin: str, message: str) -> None:
    finished = run(*arguments, stdin=stdin, check=False)
    assert (finished.returncode, message in finished.stderr) == (1, True), finished.stderr
    assert "Traceback" not in finished.stderr
    assert "s3cret" not in finished.stderr


def test_nothing_of_an_agents_text_controls_the_terminal() -> None:
    hostile = {**DESCRIPTION, "info": {"title": "\x1b]0;x\x07\u202e[bold]x[/bold]", "version": "1"}}
    hostile["paths"] = {"/a\x1b[2J": {"get": {"summary": "\x9b31m\nx", "operationId": "\x1b[31m"}}}
    output = run("-", stdin=json.dumps(hostile)).stdout
    assert "[bold]x[/bold]" in output
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", output)


def test_the_command_imports_no_airflow(document: Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-X", "importtime", COMMAND, "discover", str(document), "--markdown"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert re.search(r"\| +scaffolder\b", finished.stderr)
    assert not re.search(r"\| +(airflow|sqlalchemy)\b", finished.stderr)
