"""Work that must not be trusted with time, memory, files or secrets runs in a process of its own, with limits.

The process is a fresh Python, not a fork: a worker's memory and environment hold tokens. It has a session and process
group of its own, no environment but what the caller gives, and ends with its parent, however that ends. What it says
is bytes: judging them is the caller's business. Linux, as Airflow's workers.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Final, Self

import scaffolder
from scaffolder.errors import LimitExceededError, TemplateError, TransientError
from scaffolder.generation.isolated import FILE_TOO_LARGE, OUT_OF_MEMORY

if TYPE_CHECKING:
    from scaffolder.config import Settings

_PROGRAM: Final = Path(__file__).with_name("isolated.py")
_PACKAGES: Final = str(Path(scaffolder.__file__).resolve().parent.parent)
# Bytecode of ours is used but never written; the site's hooks would cost time and are nobody's business there.
_OPTIONS: Final = ("-s", "-S", "-P", "-B", "-X", "utf8")
_ENVIRONMENT: Final[Mapping[str, str]] = {
    "LC_ALL": "C.UTF-8",
    "PYTHONHASHSEED": "0",  # sets iterate in the same order in every run
}
_CHUNK_BYTES: Final = 262_144
_PIPE_BYTES: Final = 1_048_576
_ERROR_BYTES: Final = 8_192
_ERROR_CHARACTERS: Final = 500
_TICK_SECONDS: Final = 0.1


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an isolated process may use. `file_size` is the largest file it may write, in bytes; 0 is none at all.

    `cpu_seconds` and `memory_size` (bytes of address space) hold for each of its processes, `timeout_seconds` for all.
    """

    timeout_seconds: float
    cpu_seconds: int
    memory_size: int
    file_size: int = 0
    open_files: int = 64

    @classmethod
    def from_settings(cls, settings: Settings, *, file_size: int = 0, open_files: int = 64) -> Self:
        """Return the limits that the settings give to the rendering of one template."""
        return cls(
            timeout_seconds=settings.render_timeout_seconds,
            cpu_seconds=settings.render_cpu_seconds,
            memory_size=settings.render_memory_size,
            file_size=file_size,
            open_files=open_files,
        )


class IsolatedProcess:
    """A process that runs ``main()`` of `module`, between ``with`` and its end; none of it is left afterwards.

    `describe` says what is being done and begins the message of every error. `arguments` are the module's
    ``sys.argv[1:]``; other users of the machine can see them. `environment` is all of its environment but the locale.
    `directory` is where it starts. `inherited` are file descriptors that it gets under the same numbers.

    Starting it raises TransientError where the machine has no process or memory left.
    """

    def __init__(
        self,
        module: str,
        *,
        limits: Limits,
        describe: Callable[[], str],
        arguments: Iterable[str] = (),
        environment: Mapping[str, str] | None = None,
        directory: str | Path = "/",
        inherited: Iterable[int] = (),
    ) -> None:
        self._module = module
        self._limits = limits
        self.describe = describe
        self._arguments = tuple(arguments)
        self._environment = {**_ENVIRONMENT, **(environment or {})}
        self._directory = directory
        self._inherited = tuple(inherited)
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline: IO[bytes] | None = None
        self._deadline = 0.0
        self._errors = b""

    def __enter__(self) -> Self:
        reading, writing = os.pipe()
        self._lifeline = open(writing, "wb", buffering=0)  # noqa: PTH123 - a descriptor; closed by kill()
        try:
            self._process = subprocess.Popen(
                self._command(reading),
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self._directory,
                env=self._environment,
                pass_fds=(reading, *self._inherited),
                start_new_session=True,
            )
        except OSError as error:
            self._lifeline.close()
            raise TransientError(f"{self.describe()}: its process cannot be started: {error.strerror}") from error
        except BaseException:
            self._lifeline.close()
            raise
        finally:
            os.close(reading)
        self._deadline = time.monotonic() + self._limits.timeout_seconds
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()

    def _command(self, lifeline: int) -> list[str]:
        limits = self._limits
        numbers = (lifeline, limits.memory_size, limits.cpu_seconds, limits.file_size, limits.open_files)
        path = [entry for entry in sys.path if entry and Path(entry).is_absolute()]
        if _PACKAGES not in path:
            path.append(_PACKAGES)
        return [
            sys.executable,
            *_OPTIONS,
            str(_PROGRAM),
            *(str(number) for number in numbers),
            os.pathsep.join(path),
            self._module,
            *self._arguments,
        ]

    @property
    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the process was not started: use it with 'with'")
        return self._process

    @property
    def error_output(self) -> str:
        """The end of what it wrote to its standard error so far; may hold anything."""
        return self._errors.decode("utf-8", "replace")

    def exchange(
        self, chunks: Iterable[bytes], *, watch: Callable[[], None] | None = None
    ) -> Generator[bytes, None, None]:
        """Send `chunks` and yield what comes back, in pieces of any size, until the process ends.

        Both directions move at once, so neither side can wait for the other for ever. An empty chunk means that there
        is nothing to send before something comes back. `watch` is called at least ten times a second while waiting;
        what it raises ends the exchange. Raises LimitExceededError (a limit was reached) and TemplateError (the
        process failed) with what `describe` says.
        """
        process = self._running
        if process.stdin is None or process.stdout is None or process.stderr is None:
            raise RuntimeError("the process has no pipes")
        _widen(process.stdin, process.stdout)
        with selectors.DefaultSelector() as selector, _Outgoing(process.stdin, chunks, selector) as outgoing:
            for stream in (process.stdout, process.stderr):
                os.set_blocking(stream.fileno(), False)
                selector.register(stream, selectors.EVENT_READ)
            while selector.get_map():
                ready = self._wait(selector, watch)
                if ready is None:
                    break
                for stream in ready:
                    if stream is process.stdin:
                        outgoing.send()
                        continue
                    received = os.read(stream.fileno(), _CHUNK_BYTES)
                    if not received:
                        selector.unregister(stream)
                    elif stream is process.stderr:
                        self._errors = (self._errors + received)[-_ERROR_BYTES:]
                    else:
                        yield received
                        outgoing.resume()
        self.finish()

    def _wait(self, selector: selectors.BaseSelector, watch: Callable[[], None] | None) -> list[IO[bytes]] | None:
        """Return the streams that are ready, or None where the process has ended and a process it left is silent."""
        while True:
            remaining = self._check_deadline()
            events = selector.select(min(remaining, _TICK_SECONDS))
            if watch is not None:
                watch()
            if events:
                return [key.fileobj for key, _ in events]  # type: ignore[misc]
            if self._has_ended():
                return None

    def finish(self) -> None:
        """Wait for the process to end by itself, and end those it left. Raises as `exchange` does."""
        pause = 0.0005
        while not self._has_ended():
            time.sleep(min(pause, self._check_deadline()))
            pause = min(pause * 2, 0.05)
        status = self.kill()
        if status == 0:
            return
        raise self._explain(status)

    def kill(self) -> int:
        """End it and all processes of its group, at once. Return the status as `subprocess.Popen.returncode` has it."""
        process = self._running
        if process.returncode is None:
            # It is not reaped yet, so its number is still its own.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for stream in (process.stdin, process.stdout, process.stderr, self._lifeline):
            if stream is not None:
                stream.close()
        return process.returncode

    def _has_ended(self) -> bool:
        if self._running.returncode is not None:
            return True
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._running.pid, options) is not None

    def _check_deadline(self) -> float:
        """Return the seconds that are left, more than none. Raises LimitExceededError."""
        remaining = self._deadline - time.monotonic()
        if remaining > 0:
            return remaining
        what = self.describe()
        self.kill()
        raise LimitExceededError(
            f"{what} took longer than {self._limits.timeout_seconds} seconds (SCAFFOLDER_RENDER_TIMEOUT_SECONDS)"
        )

    def _explain(self, status: int) -> LimitExceededError | TemplateError:
        what, limits = self.describe(), self._limits
        if status == -signal.SIGXCPU:
            return LimitExceededError(
                f"{what} took more than {limits.cpu_seconds} seconds of processor time (SCAFFOLDER_RENDER_CPU_SECONDS)"
            )
        if status == OUT_OF_MEMORY:
            return LimitExceededError(
                f"{what} needs more than {limits.memory_size} bytes of memory (SCAFFOLDER_RENDER_MEMORY_SIZE)"
            )
        if status == FILE_TOO_LARGE:
            return LimitExceededError(
                f"{what} writes a file of more than {limits.file_size} bytes (SCAFFOLDER_MAX_FILE_SIZE)"
            )
        if status == -signal.SIGKILL:
            return LimitExceededError(
                f"{what} was killed, as a machine does that has no memory left; its own limits are "
                f"{limits.memory_size} bytes (SCAFFOLDER_RENDER_MEMORY_SIZE) and {limits.cpu_seconds} seconds of "
                "processor time (SCAFFOLDER_RENDER_CPU_SECONDS)"
            )
        if status < 0:
            return TemplateError(f"{what} crashed its process ({_signal_name(-status)})")
        return TemplateError(f"{what} failed in its process: {_last_line(self.error_output) or f'status {status}'}")


class _Outgoing:
    """The chunks on their way into a process: sent as it takes them."""

    def __init__(self, stream: IO[bytes], chunks: Iterable[bytes], selector: selectors.BaseSelector) -> None:
        self._stream = stream
        self._chunks: Iterator[bytes] = iter(chunks)
        self._selector = selector
        self._pending = memoryview(b"")
        self._open = True
        self._watched = False

    def __enter__(self) -> Self:
        os.set_blocking(self._stream.fileno(), False)
        self.resume()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close()

    def resume(self) -> None:
        """Watch for room again, after a pause."""
        if self._open and not self._watched:
            self._selector.register(self._stream, selectors.EVENT_WRITE)
            self._watched = True

    def _pause(self) -> None:
        if self._watched:
            self._selector.unregister(self._stream)
            self._watched = False

    def send(self) -> None:
        """Write what there is room for."""
        try:
            if not self._pending:
                chunk = next(self._chunks, None)
                if chunk is None:
                    self._close()
                    return
                if not chunk:
                    self._pause()
                    return
                self._pending = memoryview(chunk)
            self._pending = self._pending[os.write(self._stream.fileno(), self._pending) :]
        except BrokenPipeError:
            # It reads no more; why will show when it ends.
            self._close()

    def _close(self) -> None:
        if self._open:
            self._open = False
            self._pause()
            self._stream.close()


def run_isolated(process: IsolatedProcess, *, request: bytes, answer_size: int) -> bytes:
    """Start `process`, send `request` and return its whole answer.

    Raises what `IsolatedProcess.exchange` raises, and TemplateError for an answer of more than `answer_size` bytes.
    """
    answer = bytearray()
    with process:
        for received in process.exchange([request]):
            answer += received
            if len(answer) > answer_size:
                raise TemplateError(f"{process.describe()} answered with more than {answer_size} bytes")
    return bytes(answer)


def _widen(*streams: IO[bytes]) -> None:
    # A pipe that takes more at once saves switches between the processes; a machine may not grant it.
    import contextlib
    import fcntl

    for stream in streams:
        with contextlib.suppress(OSError):
            fcntl.fcntl(stream, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    printable = "".join(character if character.isprintable() else " " for character in lines[-1]) if lines else ""
    return printable[:_ERROR_CHARACTERS]
