"""Starts, finds and ends the processes of an instance, also those that a killed starter left behind.

Each process writes its own pid and birth mark to a file before it becomes the program: there is no moment
at which it runs and nothing knows of it. A recorded pid counts only together with the mark, so that a
process which got the pid later is never taken for ours.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from local_airflow.errors import LocalAirflowError

# The shell records itself and then turns into the program: same pid, same birth mark.
_RECORD_AND_BECOME = """
file=$1; shift
{ echo $$; cat /proc/$$/stat 2>/dev/null || echo; cat /proc/sys/kernel/random/boot_id 2>/dev/null || echo; } \
    > "$file.new" && mv "$file.new" "$file" && exec "$@"
"""
_RECORD_TIMEOUT_SECONDS = 10.0
_SAME_BIRTH_SECONDS = 5.0
_PATIENCE_SECONDS = 2.0
# Processes may outlive their table; this keeps Python from warning that one was left running.
_STARTED: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True)
class RecordedProcess:
    """What a process wrote about itself before it became the program."""

    pid: int
    mark: str | None
    """Boot and clock tick of birth; None where the system has no /proc."""
    recorded_at: float

    @classmethod
    def read(cls, path: Path) -> RecordedProcess | None:
        """Return the record in `path`, or None if there is none."""
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            pid = int(lines[0])
            recorded_at = path.stat().st_mtime
        except (OSError, ValueError, IndexError):
            return None
        stat, boot_id = (*lines[1:], "", "")[:2]
        return cls(pid, _mark(stat, boot_id=boot_id), recorded_at)

    def is_running(self) -> bool:
        """Say whether this very process still runs."""
        try:
            process = psutil.Process(self.pid)
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            if self.mark is not None:
                return self.mark == birth_mark(self.pid)
            since_birth: float = self.recorded_at - process.create_time()
            return abs(since_birth) < _SAME_BIRTH_SECONDS
        except psutil.Error:
            return False


def _is_alive(pid: int) -> bool:
    # A container's first process may never bury the dead.
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def birth_mark(pid: int) -> str | None:
    """Return what tells the process `pid` from all others that have or had this pid; None without /proc."""
    # The creation time that psutil computes moves with the system clock; ticks since boot do not.
    with contextlib.suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return _mark(stat, boot_id=Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8"))
    return None


def _mark(stat: str, *, boot_id: str) -> str | None:
    # proc(5): the second field is the name in parentheses and may hold anything; the start time is field 22.
    fields = stat.rpartition(")")[2].split()
    return f"{boot_id.strip()}:{fields[19]}" if len(fields) > 19 else None


class ProcessTable:
    """The processes of one instance; their records are in `directory`, all work in `working_directory`."""

    def __init__(self, directory: Path, *, working_directory: Path, logs: Path) -> None:
        self._directory = directory
        self._working_directory = working_directory
        self._logs = logs
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self, name: str, *, command: Sequence[str], environment: Mapping[str, str], fingerprint: str = ""
    ) -> None:
        """Start `command` in a session of its own; its output goes to the log of `name`.

        `fingerprint` says what it was started with: see `has_fingerprint`.
        """
        self.stop([name], timeout_seconds=0)
        log = self.log_of(name)
        if log.exists():
            log.replace(log.with_suffix(".previous.log"))
        self._fingerprint_file(name).write_text(fingerprint, encoding="utf-8")
        with log.open("wb") as output:
            child = subprocess.Popen(
                ("/bin/sh", "-c", _RECORD_AND_BECOME, "sh", str(self._record_file(name)), *command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._working_directory,
                env=dict(environment),
                # Ctrl-C at the terminal is for the starter; it decides what becomes of the processes.
                start_new_session=True,
            )
        self._children[name] = child
        _STARTED.append(child)
        self._await_record(name, child=child)

    def pid(self, name: str) -> int | None:
        """Return the pid of `name` if it runs."""
        child = self._children.get(name)
        if child is not None and child.poll() is not None:
            return None
        record = RecordedProcess.read(self._record_file(name))
        return record.pid if record is not None and record.is_running() else None

    def exit_code(self, name: str) -> int | None:
        """Return the exit code of `name`, if it was started by this object and has ended."""
        child = self._children.get(name)
        return child.poll() if child is not None else None

    def has_fingerprint(self, name: str, *, fingerprint: str) -> bool:
        """Say whether `name` was last started with `fingerprint`."""
        try:
            return self._fingerprint_file(name).read_text(encoding="utf-8") == fingerprint
        except FileNotFoundError:
            return False

    def log_of(self, name: str) -> Path:
        """Return the file that the output of `name` goes to."""
        return self._logs / f"{name}.log"

    def names(self) -> list[str]:
        """Return the names of all processes that are recorded, running or not."""
        return sorted(path.stem for path in self._directory.glob("*.pid"))

    def stop(self, names: Iterable[str], *, timeout_seconds: float) -> list[str]:
        """End `names` and everything they started, and return the names of those that ran.

        Asks first, and kills what is left after `timeout_seconds`; what a crashed process left behind is
        killed.
        """
        names = list(names)
        ran: list[str] = []
        families: list[psutil.Process] = []
        leaders: list[psutil.Process] = []
        for name in names:
            record = RecordedProcess.read(self._record_file(name))
            family = self._family(record) if record is not None else []
            if record is None or not family:
                continue
            ran.append(name)
            families += family
            if family[0].pid == record.pid:
                leaders.append(family[0])
            else:
                # Workers of a dead scheduler wait for work for ever and do not listen.
                _each(family, psutil.Process.kill)
        self._end(families, asked=leaders, timeout_seconds=timeout_seconds)
        for name in names:
            self._forget(name)
        return ran

    def kill(self, name: str) -> None:
        """Kill the process `name` alone, as a crash would: nothing it started is touched."""
        pid = self.pid(name)
        if pid is not None:
            process = psutil.Process(pid)
            process.kill()
            with contextlib.suppress(psutil.Error, psutil.TimeoutExpired):
                process.wait(timeout=5)

    def _family(self, record: RecordedProcess) -> list[psutil.Process]:
        """Return the recorded process, first, and all it started; without it, what it left behind."""
        if record.is_running():
            with contextlib.suppress(psutil.Error):
                leader = psutil.Process(record.pid)
                return [leader, *leader.children(recursive=True)]
        if _is_alive(record.pid):
            # Somebody else got the pid, which they could not while anything was left in the session of ours.
            return []
        return [process for process in psutil.process_iter() if self._is_orphan_of(process, record=record)]

    def _is_orphan_of(self, process: psutil.Process, *, record: RecordedProcess) -> bool:
        # A session keeps the pid of its dead leader, and the kernel gives that pid to nobody meanwhile. The
        # working directory is the second witness, should the session be a later one.
        try:
            return (
                os.getsid(process.pid) == record.pid
                and Path(process.cwd()).samefile(self._working_directory)
                and process.status() != psutil.STATUS_ZOMBIE
            )
        except (psutil.Error, OSError):
            return False

    def _end(self, families: list[psutil.Process], *, asked: list[psutil.Process], timeout_seconds: float) -> None:
        if timeout_seconds > 0:
            _each(asked, psutil.Process.terminate)
            _, waiting = psutil.wait_procs(asked, timeout=min(_PATIENCE_SECONDS, timeout_seconds))
            # Airflow's triggerer waits 10 s for a child that has long ended, unless it is asked twice.
            _each(waiting, psutil.Process.terminate)
            psutil.wait_procs(waiting, timeout=timeout_seconds)
        _, alive = psutil.wait_procs(families, timeout=0)
        for process in tuple(alive):
            with contextlib.suppress(psutil.Error):
                # Children of the last seconds.
                alive += process.children(recursive=True)
        _each(alive, psutil.Process.kill)
        psutil.wait_procs(alive, timeout=5)

    def _forget(self, name: str) -> None:
        child = self._children.pop(name, None)
        if child is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=5)
        self._record_file(name).unlink(missing_ok=True)
        self._fingerprint_file(name).unlink(missing_ok=True)

    def _await_record(self, name: str, *, child: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _RECORD_TIMEOUT_SECONDS
        while child.poll() is None:
            record = RecordedProcess.read(self._record_file(name))
            if record is not None and record.pid == child.pid:
                return
            if time.monotonic() > deadline:
                child.kill()
                raise LocalAirflowError(f"{name} did not start: {self._record_file(name)} cannot be written")
            time.sleep(0.005)

    def _record_file(self, name: str) -> Path:
        return self._directory / f"{name}.pid"

    def _fingerprint_file(self, name: str) -> Path:
        return self._directory / f"{name}.fingerprint"


def _each(processes: Iterable[psutil.Process], act: Callable[[psutil.Process], None]) -> None:
    """Do `act` to all that still are who they were: psutil compares the time of birth before a signal."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            act(process)
