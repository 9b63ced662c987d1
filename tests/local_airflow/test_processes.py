from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from local_airflow.processes import ProcessTable, RecordedProcess

SLEEPER = (sys.executable, "-c", "import time; time.sleep(60)")
PARENT_CODE = (
    "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']); "
    "print('started', flush=True); time.sleep(60)"
)
PARENT = (sys.executable, "-c", PARENT_CODE)
DEAF = (
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('started', flush=True); time.sleep(60)",
)


@pytest.fixture
def new_table(tmp_path: Path) -> Iterator[Callable[[], ProcessTable]]:
    for name in ("processes", "work", "logs"):
        (tmp_path / name).mkdir()

    def new() -> ProcessTable:
        return ProcessTable(tmp_path / "processes", working_directory=tmp_path / "work", logs=tmp_path / "logs")

    yield new
    table = new()
    table.stop(table.names(), timeout_seconds=0)


@pytest.fixture
def table(new_table: Callable[[], ProcessTable]) -> ProcessTable:
    return new_table()


def start(table: ProcessTable, command: tuple[str, ...], *, name: str = "server") -> int:
    table.start(name, command=command, environment=os.environ, fingerprint="one")
    pid = table.pid(name)
    assert pid is not None
    return pid


def await_line(table: ProcessTable, text: str) -> None:
    deadline = time.monotonic() + 10
    while text not in table.log_of("server").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_another_starter_finds_and_ends_the_process(table: ProcessTable, new_table: Callable[[], ProcessTable]) -> None:
    pid = start(table, SLEEPER)
    other = new_table()
    assert other.pid("server") == pid
    assert other.stop(["server"], timeout_seconds=5) == ["server"]
    assert other.pid("server") is None
    assert table.pid("server") is None


def test_a_process_is_known_even_if_its_starter_is_killed_at_once(
    tmp_path: Path, new_table: Callable[[], ProcessTable]
) -> None:
    starter = (
        "import os, signal, subprocess; from pathlib import Path; from local_airflow.processes import ProcessTable\n"
        f"root = Path({str(tmp_path)!r})\n"
        "table = ProcessTable(root / 'processes', working_directory=root / 'work', logs=root / 'logs')\n"
        "table._await_record = lambda name, child: os.kill(os.getpid(), signal.SIGKILL)\n"
        f"table.start('server', command={SLEEPER!r}, environment=os.environ)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", starter], env=environment, check=False).returncode == -9
    table = new_table()
    deadline = time.monotonic() + 5
    while table.pid("server") is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert table.stop(["server"], timeout_seconds=5) == ["server"]


def test_a_stranger_who_got_the_pid_is_neither_running_nor_ended(table: ProcessTable, tmp_path: Path) -> None:
    stranger = subprocess.Popen(SLEEPER)
    try:
        time.sleep(0.05)  # births are told apart by clock ticks
        ours = start(table, SLEEPER)
        record = tmp_path / "processes" / "server.pid"
        text = record.read_text()
        table.stop(["server"], timeout_seconds=5)
        record.write_text(text.replace(str(ours), str(stranger.pid), 1))
        assert table.pid("server") is None
        assert table.stop(["server"], timeout_seconds=1) == []
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_pid_of_the_last_boot_counts_for_nothing(table: ProcessTable, tmp_path: Path) -> None:
    start(table, SLEEPER)
    record = tmp_path / "processes" / "server.pid"
    text = record.read_text()
    first, second, _boot = text.splitlines()
    record.write_text(f"{first}\n{second}\nanother-boot\n")
    assert table.pid("server") is None
    record.write_text(text)


def test_without_proc_the_time_of_birth_decides(tmp_path: Path) -> None:
    record = tmp_path / "server.pid"
    record.write_text(f"{os.getpid()}\n\n\n")
    born = psutil.Process().create_time()
    os.utime(record, (born, born))
    found = RecordedProcess.read(record)
    assert found is not None
    assert found.is_running()
    os.utime(record, (born - 60, born - 60))
    found = RecordedProcess.read(record)
    assert found is not None
    assert not found.is_running()


@pytest.mark.parametrize("text", ["", "x", "\n\n"])
def test_a_damaged_record_is_no_process(tmp_path: Path, text: str) -> None:
    (tmp_path / "server.pid").write_text(text)
    assert RecordedProcess.read(tmp_path / "server.pid") is None


def test_ends_what_the_process_started(table: ProcessTable) -> None:
    pid = start(table, PARENT)
    await_line(table, "started")
    (child,) = psutil.Process(pid).children()
    table.stop(["server"], timeout_seconds=5)
    assert not child.is_running()


def test_ends_what_a_crashed_process_left_behind(table: ProcessTable, new_table: Callable[[], ProcessTable]) -> None:
    pid = start(table, PARENT)
    await_line(table, "started")
    (child,) = psutil.Process(pid).children()
    table.kill("server")
    assert child.is_running()
    assert new_table().stop(["server"], timeout_seconds=5) == ["server"]
    assert not child.is_running()


def test_kills_what_does_not_listen(table: ProcessTable) -> None:
    start(table, DEAF)
    await_line(table, "started")
    table.stop(["server"], timeout_seconds=0.2)
    assert table.pid("server") is None


def test_tells_how_a_process_ended(table: ProcessTable) -> None:
    table.start("server", command=(sys.executable, "-c", "print('why'); raise SystemExit(7)"), environment=os.environ)
    await_line(table, "why")
    deadline = time.monotonic() + 5
    while table.exit_code("server") is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert table.exit_code("server") == 7
    assert table.pid("server") is None


def test_knows_what_a_process_was_started_with(table: ProcessTable) -> None:
    start(table, SLEEPER)
    assert table.has_fingerprint("server", fingerprint="one")
    assert not table.has_fingerprint("server", fingerprint="two")
    assert not table.has_fingerprint("other", fingerprint="one")


def test_starting_again_replaces_the_process_and_keeps_the_last_log(table: ProcessTable) -> None:
    first = start(table, DEAF)
    await_line(table, "started")
    assert start(table, SLEEPER) != first
    assert not psutil.pid_exists(first)
    assert table.log_of("server").with_suffix(".previous.log").read_text() == "started\n"
