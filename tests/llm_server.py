"""A server of language models in the words of OpenAI's Responses and Chat Completions APIs and of Anthropic's.

It is as strict as they are: keys, models and the shape of requests are checked against the types that the providers
publish in their libraries, and so are its own answers.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

API_KEY = "sk-test-8c1d7f2b9e"
MODELS = ("gpt-test", "claude-test", "claude-sonnet-5")
CHARACTERS_PER_TOKEN = 4

#: Headers that the providers' own clients need; whatever else arrives has come from somewhere it should not.
EXPECTED_HEADERS = frozenset(
    {"host", "accept", "accept-encoding", "connection", "content-length", "content-type", "user-agent"}
    | {"authorization", "x-api-key", "anthropic-version", "anthropic-beta"}
)


@dataclass
class Asked:
    """What a request asks, whichever API it came by. `schema` is the one that the answer is to fit."""

    api: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    system: str
    turns: list[str]
    schema: dict[str, Any] | None
    max_tokens: int | None

    @property
    def prompt(self) -> str:
        return self.turns[-1]


@dataclass
class Said:
    """What the model says. It is cut off where the request allows fewer tokens."""

    text: str
    finish: str = "stop"


Brain = Callable[[Asked], "Said | str | Mapping[str, Any]"]


@dataclass
class LlmServer:
    """`brain` answers what is asked; `failures` come before it: each is (status, headers, body)."""

    url: str = ""
    brain: Brain = field(default=lambda _: "ok")
    failures: list[Any] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    def reset(self) -> None:
        self.brain, self.failures, self.asked = lambda _: "ok", [], []


class _RefusalError(Exception):
    def __init__(self, status: int, kind: str, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.kind, self.code = status, kind, code

    def body(self, api: str) -> dict[str, Any]:
        if api == "anthropic":
            return {"type": "error", "error": {"type": self.kind, "message": str(self)}, "request_id": "req_1"}
        return {"error": {"message": str(self), "type": self.kind, "param": None, "code": self.code}}


@contextmanager
def serve_models() -> Iterator[LlmServer]:
    # Importing the providers' libraries takes seconds, which are not the first request's.
    for api in _READERS:
        _request_type(api)
    models = LlmServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"models": models}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    models.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield models
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: apart they wait for each other's acknowledgement
    models: LlmServer

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.models.failures:
            self._send(*self.models.failures.pop(0))
            return
        api = _APIS.get(self.path, "")
        try:
            asked = _read(api, self.path, {name.lower(): value for name, value in self.headers.items()}, content)
            self.models.asked.append(asked)
            self._answer(asked, _cut(_say(self.models.brain(asked)), asked))
        except _RefusalError as refusal:
            self._send_json(refusal.status, refusal.body(api))

    def _answer(self, asked: Asked, said: Said) -> None:
        data = _WRITERS[asked.api](asked, said)
        if not asked.body.get("stream"):
            self._send_json(200, data)
            return
        events = (f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in _make_events(data))
        self._send(200, {"Content-Type": "text/event-stream"}, "".join(events).encode())

    def _send_json(self, status: int, data: Any) -> None:
        self._send(status, {"Content-Type": "application/json"}, json.dumps(data).encode())

    def _send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


# Requests

_APIS = {
    "/v1/responses": "responses",
    "/v1/chat/completions": "chat",
    "/v1/messages": "anthropic",
    "/v1/messages?beta=true": "anthropic",
}


def _read(api: str, path: str, headers: dict[str, str], content: bytes) -> Asked:
    if not api:
        raise _RefusalError(404, "not_found_error", f"no such path: {path}")
    _check_key(api, headers)
    body = json.loads(content)
    _check_shape(api, body)
    if body["model"] not in MODELS:
        raise _RefusalError(404, "not_found_error", f"model: {body['model']}", code="model_not_found")
    system, turns = _READERS[api](body)
    return Asked(
        api=api,
        path=path,
        headers=headers,
        body=body,
        system=system,
        turns=turns,
        schema=_find_schema(api, body),
        max_tokens=body.get("max_tokens") or body.get("max_completion_tokens") or body.get("max_output_tokens"),
    )


def _check_key(api: str, headers: dict[str, str]) -> None:
    if api == "anthropic":
        if not re.fullmatch(r"20\d\d-\d\d-\d\d", headers.get("anthropic-version", "")) or "authorization" in headers:
            raise _RefusalError(400, "invalid_request_error", "anthropic-version: header is required")
        right = headers.get("x-api-key") == API_KEY
    else:
        right = headers.get("authorization") == f"Bearer {API_KEY}" and "x-api-key" not in headers
    if not right:
        given = headers.get("x-api-key") or headers.get("authorization", "")
        raise _RefusalError(401, "authentication_error", f"Incorrect API key provided: {given}", code="invalid_api_key")


def _check_shape(api: str, body: dict[str, Any]) -> None:
    from pydantic import ValidationError

    adapter, names = _request_type(api)
    try:
        _consume(adapter.validate_python({name: value for name, value in body.items() if name != "stream"}))
    except ValidationError as error:
        raise _RefusalError(400, "invalid_request_error", str(error)) from error
    if unknown := sorted(set(body) - names):
        raise _RefusalError(400, "invalid_request_error", f"unknown parameters {unknown}")
    if body.get("stream") and api != "anthropic":
        raise _RefusalError(400, "invalid_request_error", "this server streams for Anthropic's API only")


@cache
def _request_type(api: str) -> tuple[Any, frozenset[str]]:
    from typing import get_type_hints

    from anthropic.types.beta import message_create_params as anthropic
    from openai.types.chat import completion_create_params as chat
    from openai.types.responses import response_create_params as responses
    from pydantic import TypeAdapter

    kind: Any = {
        "responses": responses.ResponseCreateParamsNonStreaming,
        "chat": chat.CompletionCreateParamsNonStreaming,
        "anthropic": anthropic.MessageCreateParamsNonStreaming,
    }[api]
    return TypeAdapter(kind), frozenset(get_type_hints(kind)) | {"stream"}


def _consume(value: Any) -> None:
    # Pydantic checks what is declared as Iterable only while somebody goes through it.
    if isinstance(value, Mapping):
        value = value.values()
    if not isinstance(value, str | bytes) and hasattr(value, "__iter__"):
        for item in value:
            _consume(item)


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _read_responses(body: dict[str, Any]) -> tuple[str, list[str]]:
    turns = [item for item in body["input"] if item["role"] not in {"system", "developer"}]
    others = [_text(item["content"]) for item in body["input"] if item not in turns]
    return "\n".join(filter(None, [body.get("instructions"), *others])), [_text(turn["content"]) for turn in turns]


def _read_chat(body: dict[str, Any]) -> tuple[str, list[str]]:
    turns = [message for message in body["messages"] if message["role"] not in {"system", "developer"}]
    others = [_text(message["content"]) for message in body["messages"] if message not in turns]
    return "\n".join(others), [_text(turn["content"]) for turn in turns]


def _read_anthropic(body: dict[str, Any]) -> tuple[str, list[str]]:
    turns = [_text(message["content"]) for message in body["messages"]]
    if not all(turn.strip() for turn in turns):
        raise _RefusalError(400, "invalid_request_error", "messages: text content blocks must be non-empty")
    return _text(body.get("system", "")), turns


def _find_schema(api: str, body: dict[str, Any]) -> dict[str, Any] | None:
    if api == "anthropic":
        native = (body.get("output_config") or {}).get("format")
        return native["schema"] if native else next((tool["input_schema"] for tool in body.get("tools", [])), None)
    if api == "chat":
        native = (body.get("response_format") or {}).get("json_schema")
        tools = [tool["function"]["parameters"] for tool in body.get("tools", [])]
    else:
        native = (body.get("text") or {}).get("format")
        tools = [tool["parameters"] for tool in body.get("tools", [])]
    return native["schema"] if native else next(iter(tools), None)


_READERS: dict[str, Callable[[dict[str, Any]], tuple[str, list[str]]]] = {
    "responses": _read_responses,
    "chat": _read_chat,
    "anthropic": _read_anthropic,
}


# Answers


def _say(said: Said | str | Mapping[str, Any]) -> Said:
    if isinstance(said, Said):
        return said
    return Said(said if isinstance(said, str) else json.dumps(said))


def _cut(said: Said, asked: Asked) -> Said:
    limit = (asked.max_tokens or 1_000_000) * CHARACTERS_PER_TOKEN
    return said if len(said.text) <= limit else Said(said.text[:limit], finish="length")


def _tokens(text: str) -> int:
    return max(1, len(text) // CHARACTERS_PER_TOKEN)


def _count(asked: Asked, said: Said) -> tuple[int, int]:
    return sum(_tokens(turn) for turn in [asked.system, *asked.turns]), _tokens(said.text)


def _write_responses(asked: Asked, said: Said) -> dict[str, Any]:
    from openai.types.responses import Response

    inputs, outputs = _count(asked, said)
    reason = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(said.finish)
    status = "incomplete" if reason else "completed"
    if asked.body.get("tools"):
        name = asked.body["tools"][0]["name"]
        item = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": name, "arguments": said.text}
    else:
        content = [{"type": "output_text", "text": said.text, "annotations": []}]
        item = {"type": "message", "id": "msg_1", "role": "assistant", "content": content}
    data = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_700_000_000,
        "model": f"{asked.body['model']}-2026-01-01",
        "status": status,
        "incomplete_details": {"reason": reason} if reason else None,
        "output": [item | {"status": status}],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": inputs,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": outputs,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": inputs + outputs,
        },
    }
    Response.model_validate(data)
    return data


def _write_chat(asked: Asked, said: Said) -> dict[str, Any]:
    from openai.types.chat import ChatCompletion

    inputs, outputs = _count(asked, said)
    message: dict[str, Any] = {"role": "assistant", "content": said.text, "refusal": None}
    finish = said.finish
    if asked.body.get("tools"):
        function = {"name": asked.body["tools"][0]["function"]["name"], "arguments": said.text}
        call = {"id": "call_1", "type": "function", "function": function}
        message |= {"content": None, "tool_calls": [call]}
        finish = "tool_calls" if finish == "stop" else finish
    data = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": asked.body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
        "usage": {"prompt_tokens": inputs, "completion_tokens": outputs, "total_tokens": inputs + outputs},
    }
    ChatCompletion.model_validate(data)
    return data


def _write_anthropic(asked: Asked, said: Said) -> dict[str, Any]:
    from anthropic.types.beta import BetaMessage
    from pydantic_core import from_json

    inputs, outputs = _count(asked, said)
    stop = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}[said.finish]
    if asked.body.get("tools") and said.finish != "content_filter":
        # What is cut off arrives as an object all the same, its last text perhaps only half.
        found = from_json(said.text, allow_partial="trailing-strings") if said.text.strip()[:1] == "{" else {}
        block = {"type": "tool_use", "id": "toolu_1", "name": asked.body["tools"][0]["name"], "input": found}
        stop = "tool_use" if stop == "end_turn" else stop
    else:
        block = {"type": "text", "text": said.text}
    data = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": asked.body["model"],
        "content": [] if said.finish == "content_filter" else [block],
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": inputs, "output_tokens": outputs},
    }
    BetaMessage.model_validate(data)
    return data


def _make_events(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the events of Anthropic's streams that make `message`."""
    usage = message["usage"]
    start = message | {"content": [], "stop_reason": None, "usage": usage | {"output_tokens": 1}}
    yield {"type": "message_start", "message": start}
    for index, block in enumerate(message["content"]):
        if block["type"] == "text":
            empty, delta = block | {"text": ""}, {"type": "text_delta", "text": block["text"]}
        else:
            text = json.dumps(block["input"])
            empty, delta = block | {"input": {}}, {"type": "input_json_delta", "partial_json": text}
        yield {"type": "content_block_start", "index": index, "content_block": empty}
        yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    stop = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield {"type": "message_delta", "delta": stop, "usage": {"output_tokens": usage["output_tokens"]}}
    yield {"type": "message_stop"}


_WRITERS: dict[str, Callable[[Asked, Said], dict[str, Any]]] = {
    "responses": _write_responses,
    "chat": _write_chat,
    "anthropic": _write_anthropic,
}
