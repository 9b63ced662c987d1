"""The agent over HTTP: who may call it, what it takes, what it refuses and how."""

import json
import os
import subprocess
import sys
from typing import Any

import httpx2
import pytest

from tests.demo_agent.agent_documents import ROOT, TOKEN, document, operation

MIB = 1024 * 1024
PLAIN = json.dumps(document({"/things": {"get": operation({"type": "string"})}}))


def generate(client: httpx2.Client, text: str, *, name: str = "things") -> httpx2.Response:
    return client.post("/v1/models", json={"document": text, "name": name})


def problem(response: httpx2.Response) -> str:
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body.keys() == {"type", "title", "status", "detail"}
    assert body["status"] == response.status_code
    return str(body["detail"])


def test_health_needs_no_token(agent_url: str) -> None:
    assert httpx2.get(f"{agent_url}/health").json() == {"status": "ok"}


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x"])
@pytest.mark.parametrize(("method", "path"), [("GET", "/openapi.json"), ("POST", "/v1/models")])
def test_refuses_a_missing_or_wrong_token(agent_url: str, method: str, path: str, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    response = httpx2.request(method, agent_url + path, headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert "Authorization" in problem(response)


def test_describes_itself(client: httpx2.Client) -> None:
    description = client.get("/openapi.json").json()
    generate_models = description["paths"]["/v1/models"]["post"]
    assert generate_models["operationId"] == "generateModels"
    body = generate_models["requestBody"]["content"]["application/json"]["schema"]
    assert body["required"] == ["document", "name"]
    assert set(generate_models["responses"]) == {"200", "401", "413", "415", "422", "503"}


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/nothing"])
def test_has_no_other_pages(client: httpx2.Client, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 404
    problem(response)


def test_does_not_start_without_a_token() -> None:
    environment = {"PYTHONPATH": str(ROOT / "include"), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-m", "demo_agent", "--port", "0"]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert finished.returncode == 2
    assert "DEMO_AGENT_TOKEN is not set" in finished.stderr


def test_answers_equal_requests_with_equal_bytes(client: httpx2.Client) -> None:
    text = (ROOT / "examples" / "openapi" / "media-library.yaml").read_text()
    assert generate(client, text).content == generate(client, text).content


def test_takes_a_document_of_exactly_one_mebibyte(client: httpx2.Client) -> None:
    text = PLAIN + " " * (MIB - len(PLAIN) - 2) + "\u00e9"
    # The two bytes of the last character are not JSON, so the document is read, and refused for what it says.
    assert len(text.encode()) == MIB
    assert generate(client, text).status_code == 422
    assert generate(client, PLAIN + " " * (MIB - len(PLAIN))).status_code == 200


def test_refuses_a_document_of_one_byte_more(client: httpx2.Client) -> None:
    response = generate(client, PLAIN + " " * (MIB - len(PLAIN) - 1) + "\u00e9")
    assert response.status_code == 413
    assert f"{MIB + 1} bytes" in problem(response)


def test_stops_reading_a_request_that_is_too_large(client: httpx2.Client) -> None:
    response = client.post("/v1/models", content=b'"' + b"x" * 7 * MIB, headers={"Content-Type": "application/json"})
    assert response.status_code == 413
    problem(response)


BAD_REQUESTS = [
    (b"", "Invalid JSON"),
    (b"[]", "request"),
    (b"[" * 100_000, "Invalid JSON"),
    (b'{"document": "x"}', "name"),
    (b'{"document": 1, "name": "things"}', "document"),
    (b'{"document": "x", "name": "Things"}', "name"),
    (b'{"document": "x", "name": "x"}', "name"),
    (b'{"document": "x", "name": "things\\n"}', "name"),
    (b'{"document": "x", "name": "things", "more": 1}', "more"),
    (b'{"document": "\\ud800", "name": "things"}', "Invalid JSON"),
]


@pytest.mark.parametrize(("body", "expected"), BAD_REQUESTS)
def test_refuses_a_request_of_another_shape(client: httpx2.Client, body: bytes, expected: str) -> None:
    response = client.post("/v1/models", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert expected in problem(response)


def test_refuses_a_request_that_is_not_json(client: httpx2.Client) -> None:
    response = client.post("/v1/models", content=b"a: 1", headers={"Content-Type": "text/yaml"})
    assert response.status_code == 415
    assert "application/json" in problem(response)


REFUSED = [
    ("Swagger", "swagger: '2.0'\npaths: {}\n", "Swagger '2.0', not OpenAPI 3"),
    ("truncated", PLAIN[:-20], "ends before it is complete"),
    ("alias bomb", "a: &a [1, 1]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 10)}]\n" for n in range(9)
    ), "too many values"),
    ("deep JSON", '{"a":' * 100_000, "nested too deep"),
    ("deep YAML", "a: " + "[" * 100_000, "nested too deep"),
    ("no operations", json.dumps(document({"/a": {}})), "has no operations"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_refuses_a_document_it_cannot_use(client: httpx2.Client, text: str, expected: str) -> None:
    response = generate(client, text)
    assert response.status_code == 422
    assert expected in problem(response)
