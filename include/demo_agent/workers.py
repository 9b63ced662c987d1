"""Runs generations in worker processes: few at once, each stopped at its deadline with everything it started."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from demo_agent.errors import AgentError, DocumentRefusedError, GenerationStoppedError
from demo_agent.settings import Settings

_PACKAGE_PARENT = str(Path(__file__).resolve().parents[1])


class OverloadedError(AgentError):
    """Too many generations wait already."""


class Workers:
    """Starts a worker process for each generation."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._slots = asyncio.Semaphore(settings.max_concurrent)
        self._present = 0

    async def generate(self, document: str, *, name: str) -> dict[str, Any]:
        """Generate in a worker process.

        Raises:
            DocumentRefusedError: the document is not acceptable.
            GenerationStoppedError: time or memory ran out.
            OverloadedError: too many generations wait already.
        """
        if self._present >= self._settings.max_concurrent + self._settings.max_waiting:
            raise OverloadedError(f"{self._present} generations are running or waiting already")
        self._present += 1
        try:
            async with self._slots:
                return await self._run(document, name)
        finally:
            self._present -= 1

    async def _run(self, document: str, name: str) -> dict[str, Any]:
        request = {
            "document": document,
            "name": name,
            "memory_mib": self._settings.memory_mib,
            "timeout_seconds": self._settings.timeout_seconds,
        }
        with tempfile.TemporaryDirectory(prefix="demo-agent-") as directory:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "demo_agent.worker",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={
                    "PYTHONPATH": _PACKAGE_PARENT,
                    "PYTHONHASHSEED": "0",
                    "PYTHONDONTWRITEBYTECODE": "1",
                    "LANG": "C.UTF-8",
                    "TMPDIR": directory,
                },
                cwd=directory,
                start_new_session=True,
            )
            try:
                async with asyncio.timeout(self._settings.timeout_seconds):
                    output, _ = await process.communicate(json.dumps(request).encode())
            except TimeoutError as exc:
                raise GenerationStoppedError(
                    f"it took longer than {self._settings.timeout_seconds} s; accepted are smaller documents"
                ) from exc
            finally:
                await _end(process)
        return _result(output, returncode=process.returncode)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill the worker's whole process group: a probe it started must not outlive it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _result(output: bytes, *, returncode: int | None) -> dict[str, Any]:
    if returncode != 0 or not output:
        raise GenerationStoppedError(f"its process ended with {returncode}; accepted are smaller documents")
    answer = json.loads(output)
    if "refused" in answer:
        raise DocumentRefusedError(answer["refused"])
    if "stopped" in answer:
        raise GenerationStoppedError(answer["stopped"])
    result: dict[str, Any] = answer["result"]
    return result
