from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scaffolder.errors import LimitExceededError, TemplateError
from scaffolder.generation.isolation import IsolatedProcess, Limits, run_isolated

MIB = 1024 * 1024

Start = Callable[..., IsolatedProcess]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Make an isolated process out of the body of its main()."""

    def make(body: str, **options: object) -> IsolatedProcess:
        limits = {"timeout_seconds": 20, "cpu_seconds": 20, "memory_size": 256 * MIB}
        limits |= {name: options.pop(name) for name in list(options) if name in Limits.__dataclass_fields__}
        module = f"isolated_{len(list(tmp_path.glob('isolated_*.py')))}"
        source = "import os, sys\n\ndef main():\n" + textwrap.indent(textwrap.dedent(body), "    ")
        (tmp_path / f"{module}.py").write_text(source)
        monkeypatch.syspath_prepend(str(tmp_path))
        return IsolatedProcess(module, limits=Limits(**limits), describe=lambda: "the work", **options)

    return make


def run(process: IsolatedProcess, request: bytes = b"") -> bytes:
    return run_isolated(process, request=request, answer_size=64 * MIB)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def test_answers_what_it_was_asked(start: Start) -> None:
    process = start("sys.stdout.buffer.write(sys.stdin.buffer.read()[::-1] + sys.argv[1].encode())", arguments=["!"])
    assert run(process, b"abc") == b"cba!"


def test_both_directions_move_at_once(start: Start) -> None:
    process = start("""
        while piece := sys.stdin.buffer.read(4096):
            sys.stdout.buffer.write(piece)
    """)
    sent = [bytes([number]) * 1_000_000 for number in range(40)]
    with process:
        assert b"".join(process.exchange(sent)) == b"".join(sent)


def test_an_empty_chunk_waits_for_an_answer(start: Start) -> None:
    process = start("""
        for _ in range(3):
            line = sys.stdin.buffer.readline()
            sys.stdout.buffer.write(b"got " + line)
            sys.stdout.flush()
    """)
    received: list[bytes] = []

    def chunks() -> Iterator[bytes]:
        for number in range(3):
            while len(received) < number:
                yield b""
            yield b"%d\n" % number

    with process:
        received.extend(process.exchange(chunks()))
    assert received == [b"got 0\n", b"got 1\n", b"got 2\n"]


def test_inherits_no_environment_and_no_files(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_SECRET", "s3cret")
    process = start(
        "print(sorted(os.environ), os.getcwd(), len(os.listdir('/proc/self/fd')))", environment={"LANG": "C"}
    )
    # Standard streams, the lifeline, and the listing's own.
    assert run(process).decode().strip() == "['LANG', 'LC_ALL', 'PYTHONHASHSEED'] / 5"


@pytest.mark.parametrize(
    ("body", "limits", "message"),
    [
        (
            "while True: pass",
            {"cpu_seconds": 1},
            r"the work took more than 1 seconds of processor time \(SCAFFOLDER_RENDER_CPU_SECONDS\)",
        ),
        (
            "import time; time.sleep(60)",
            {"timeout_seconds": 0.5},
            r"the work took longer than 0.5 seconds \(SCAFFOLDER_RENDER_TIMEOUT_SECONDS\)",
        ),
        (
            "x = 'a' * 500_000_000",
            {},
            r"the work needs more than 268435456 bytes of memory \(SCAFFOLDER_RENDER_MEMORY_SIZE\)",
        ),
        ("os.kill(os.getpid(), 9)", {}, "the work was killed, as a machine does that has no memory left"),
        (
            "open('big', 'wb', buffering=0).write(b'x')",
            {"directory": "tmp"},
            r"the work writes a file of more than 0 bytes \(SCAFFOLDER_MAX_FILE_SIZE\)",
        ),
        (
            "f = open('big', 'wb'); f.write(b'x' * 101); f.close()",
            {"directory": "tmp", "file_size": 100},
            "the work writes a file of more than 100 bytes",
        ),
        (
            "import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
            {"cpu_seconds": 1},
            "the work was killed",
        ),
    ],
)
def test_names_the_limit_that_was_reached(
    start: Start, tmp_path: Path, body: str, limits: dict[str, object], message: str
) -> None:
    options = limits | ({"directory": tmp_path} if "directory" in limits else {})
    with pytest.raises(LimitExceededError, match=message):
        run(start(body, **options))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("os.kill(os.getpid(), 11)", r"the work crashed its process \(SIGSEGV\)"),
        ("raise ValueError('it\\x1b[31m broke')", r"the work failed in its process: ValueError: it \[31m broke"),
        ("os._exit(7)", "the work failed in its process: status 7"),
        ("print('x' * 70_000_000)", "the work answered with more than 67108864 bytes"),
    ],
)
def test_a_process_that_fails_is_an_error_of_the_template(start: Start, body: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        run(start(body))


def test_may_write_files_up_to_the_limit_where_it_is_told_so(start: Start, tmp_path: Path) -> None:
    run(start("open('a', 'wb').write(b'x' * 100)", directory=tmp_path, file_size=100))
    assert (tmp_path / "a").read_bytes() == b"x" * 100


FORKS = """
    import time
    child = os.fork()
    if child == 0:
        {detach}
        time.sleep(60)
    print(child, flush=True)
    {then}
"""


IGNORING = (
    "import signal; [signal.signal(one, signal.SIG_IGN) for one in (signal.SIGIO, signal.SIGHUP, signal.SIGTERM)]"
)


@pytest.mark.parametrize("then", ["", "time.sleep(60)", "os._exit(3)", "os.kill(os.getpid(), 9)"])
def test_no_process_of_its_group_is_left(start: Start, then: str) -> None:
    process = start(FORKS.format(detach=IGNORING, then=then), timeout_seconds=1)
    output = b""
    try:
        with process:
            for piece in process.exchange([]):
                output += piece
    except (LimitExceededError, TemplateError):
        pass
    wait_until(lambda: not is_alive(int(output)))


def test_does_not_wait_for_a_process_that_left_the_group_with_the_output_open(start: Start) -> None:
    process = start(FORKS.format(detach="os.setsid()", then=""), timeout_seconds=30)
    begin = time.monotonic()
    daemon = int(run(process))
    assert time.monotonic() - begin < 10
    os.kill(daemon, signal.SIGKILL)


def test_an_error_of_the_caller_ends_it(start: Start) -> None:
    process = start("print(os.getpid(), flush=True); import time; time.sleep(60)")
    pid = 0
    with pytest.raises(KeyboardInterrupt), process:
        for piece in process.exchange([]):
            pid = int(piece)
            raise KeyboardInterrupt
    assert pid
    assert not is_alive(pid)


def test_what_the_watch_raises_ends_it(start: Start) -> None:
    process = start("import time; time.sleep(60)")

    def watch() -> None:
        raise LimitExceededError("too many files")

    with pytest.raises(LimitExceededError, match="too many files"), process:
        list(process.exchange([], watch=watch))


@pytest.mark.parametrize("work", ["while True: pass", "import subprocess; subprocess.run(['/bin/sleep', '60'])"])
def test_ends_with_a_parent_that_is_killed(start: Start, tmp_path: Path, work: str) -> None:
    process = start(f"print(os.getpid(), flush=True)\n{work}")
    program = f"""
import sys
sys.path[:] = {sys.path!r}
from scaffolder.generation.isolation import IsolatedProcess, Limits
limits = Limits(timeout_seconds=60, cpu_seconds=60, memory_size=256 * 2**20)
with IsolatedProcess({process._module!r}, limits=limits, describe=str) as process:
    for piece in process.exchange([]):
        print(int(piece), flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        parent.kill()
    wait_until(lambda: not is_alive(pid))
