"""A ledger in memory: it records each part, and answers from what it has recorded."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from scaffolder.agents.contract import Answer, Usage


@dataclass
class RecordingLedger:
    """`recorded` are the answers by name and request, as JSON; `sent` the names of the parts that were asked for."""

    recorded: dict[str, str] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)
    requests: list[Any] = field(default_factory=list)
    usages: list[Usage | None] = field(default_factory=list)

    async def part(self, name: str, request: Any, send: Callable[[], Awaitable[Answer]]) -> Answer:
        key = json.dumps([name, request], sort_keys=True, allow_nan=False)
        if key not in self.recorded:
            self.sent.append(name)
            self.requests.append(request)
            answer = await send()
            self.usages.append(answer.usage)
            self.recorded[key] = json.dumps(answer.data, allow_nan=False)
        return Answer(data=json.loads(self.recorded[key]))
