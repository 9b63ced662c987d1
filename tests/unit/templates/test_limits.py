from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from scaffolder.config import Settings
from scaffolder.errors import LimitExceededError, TemplateError
from scaffolder.generation.templates.native import rendering
from scaffolder.generation.templates.native.frames import HEADER, FrameError, Tell, pack, read_frames
from tests.native_templates import properties, render, write_template

MIB = 1024 * 1024


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return replace(
        Settings(),
        cache_dir=tmp_path / "cache",
        render_memory_size=192 * MIB,
        render_cpu_seconds=1,
        render_timeout_seconds=10,
    )


# A template that takes too much

CPU = r"took more than 1 seconds of processor time \(SCAFFOLDER_RENDER_CPU_SECONDS\)"
MEMORY = r"needs more than 201326592 bytes of memory \(SCAFFOLDER_RENDER_MEMORY_SIZE\)"
SIZE = r"grew past 10485760 bytes, which are accepted \(SCAFFOLDER_MAX_FILE_SIZE\)"
LOOPS = (
    "{% for a in range(9999) %}{% for b in range(9999) %}{% for c in range(9999) %}{% endfor %}{% endfor %}{% endfor %}"
)
REGEX = "{{ ('a' * 40) | regex_replace('(a+)+$', '', 1) ~ ('a' * 40 ~ 'b') | regex_replace('^(a+)+$', '') }}"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ 'a' * 500000000 }}", MEMORY),
        ("{{ ('a' * many) | length }}", MEMORY),
        ("{% set x = namespace(s='x') %}{% for i in range(99) %}{% set x.s = x.s ~ x.s %}{% endfor %}", MEMORY),
        ("{{ 'a' * 10485761 }}", SIZE),
        ("{% for i in range(99999) %}{{ 'a' * 1000 }}{% endfor %}", SIZE),
        ("{{ 'é' * 5242881 }}", SIZE),
        (LOOPS, CPU),
        (REGEX, CPU),
        ("{{ 9 ** (9 ** 9) }}", CPU),
        ("{% macro m(n) %}{{ m(n - 1) ~ m(n - 1) if n }}{% endmacro %}{{ m(100) }}", CPU),
    ],
)
def test_a_file_that_takes_too_much_is_named_with_the_limit(
    tmp_path: Path, settings: Settings, source: str, message: str
) -> None:
    template = write_template(tmp_path, {"0.jinja": "{{ 1 }}", "a.jinja": source, "b.jinja": "{{ 1 }}"})
    with pytest.raises(LimitExceededError, match=f"template 'service': 'a.jinja' {message}"):
        render(template, settings, many=500_000_000)


@pytest.mark.parametrize(
    ("source", "size"), [("{{ 'a' * 10485760 }}", 10485760), ("{{ 'é' * 5242880 }}", 10485760), ("{{ 'a' * 9 }}", 9)]
)
def test_a_file_of_exactly_the_limit_passes(tmp_path: Path, settings: Settings, source: str, size: int) -> None:
    template = write_template(tmp_path, {"a.jinja": source})
    assert len(render(template, settings)["a"]) == size


def test_waiting_is_limited_too(tmp_path: Path, settings: Settings) -> None:
    template = write_template(tmp_path, {"a.jinja": LOOPS})
    patient = replace(settings, render_cpu_seconds=60, render_timeout_seconds=1)
    with pytest.raises(
        LimitExceededError, match=r"'a.jinja' took longer than 1 seconds \(SCAFFOLDER_RENDER_TIMEOUT_SECONDS\)"
    ):
        render(template, patient)


@pytest.mark.parametrize(
    ("files", "definition", "message"),
    [
        ({"{{ 'a' * 500000000 }}": ""}, {}, ": its path needs more than"),
        ({f"{LOOPS}": ""}, {}, "its path took more than"),
        ({"a" * 200: ""}, {"exclude": ["*a*a*a*a*a*a*b"]}, "its patterns took more than"),
        ({"a": ""}, {"conditions": {"a": "9 ** (9 ** 9)"}}, "a condition took more than"),
        ({}, {"values": properties(x="{{ 9 ** (9 ** 9) }}")}, "the default of 'x' took more than"),
    ],
)
def test_all_that_an_author_writes_is_limited(
    tmp_path: Path, settings: Settings, files: dict[str, str], definition: dict[str, Any], message: str
) -> None:
    template = write_template(tmp_path, files, **definition)
    with pytest.raises(LimitExceededError, match=message):
        render(template, settings)


def test_a_project_over_its_limits_is_refused(tmp_path: Path, settings: Settings) -> None:
    template = write_template(
        tmp_path, {f"{number}.jinja": "{{ 'a' * 100 }}" for number in range(5)} | {"x": "a" * 100}
    )
    assert len(render(template, replace(settings, max_project_files=6, max_project_size=600))) == 6
    with pytest.raises(LimitExceededError, match=r"has 6 files, accepted are 5 \(SCAFFOLDER_MAX_PROJECT_FILES\)"):
        render(template, replace(settings, max_project_files=5))
    with pytest.raises(LimitExceededError, match=r"'4.jinja' makes the template's files more than 599 bytes"):
        render(template, replace(settings, max_project_size=599))


def test_the_memory_of_the_worker_stays_bounded(tmp_path: Path, settings: Settings) -> None:
    template = write_template(tmp_path, {f"{number}.jinja": "{{ 'a' * 1000000 }}" for number in range(60)})
    program = tmp_path / "program.py"
    program.write_text(f"""
import re, sys
sys.path[:] = {sys.path!r}
from dataclasses import replace
from pathlib import Path
from scaffolder.config import Settings
from scaffolder.errors import LimitExceededError
from scaffolder.generation.templates.native.definition import load_template
settings = replace(Settings(), cache_dir=Path({str(tmp_path)!r}), max_project_size=20_000_000)
template = load_template(Path({str(template.directory)!r}), directories=[Path({str(tmp_path)!r})])
try:
    template.render({{}}, run={{}}, trust=False, settings=settings)
except LimitExceededError:
    print(re.search(r"VmHWM:\\s+([0-9]+)", Path("/proc/self/status").read_text())[1])
""")
    finished = subprocess.run([sys.executable, str(program)], capture_output=True, check=True)
    assert int(finished.stdout) < 120 * 1024


def test_no_file_is_open_and_no_process_is_left(tmp_path: Path, settings: Settings) -> None:
    template = write_template(tmp_path, {"a.jinja": "{{ x }}"})
    before = len(list(Path("/proc/self/fd").iterdir()))
    children = set(psutil.Process().children(recursive=True))
    assert render(template, settings, x=1) == {"a": b"1"}
    with pytest.raises(TemplateError):
        render(template, settings)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert set(psutil.Process().children(recursive=True)) <= children


# A process that says what it should not


@limits(max_examples=300, deadline=None)
@given(
    st.lists(
        st.binary(max_size=40) | st.builds(pack, st.sampled_from(Tell), st.integers(0, 3), st.binary(max_size=9)),
        max_size=8,
    ),
    st.integers(0, 20),
)
def test_frames_are_read_or_refused(chunks: list[bytes], limit: int) -> None:
    asked: list[int] = []

    def find_limit(kind: int, number: int) -> int:
        asked.append(kind)
        return limit

    try:
        frames = list(read_frames(chunks, find_limit=find_limit))
    except FrameError:
        return
    assert b"".join(HEADER.pack(kind, number, len(payload)) + payload for kind, number, payload in frames) == b"".join(
        chunks
    )
    assert all(len(payload) <= limit for _, _, payload in frames)


def test_a_frame_over_its_limit_is_refused_before_it_is_there() -> None:
    def chunks() -> Iterable[bytes]:
        yield HEADER.pack(Tell.TEXT, 0, 2**32 - 1)
        raise AssertionError("it asked for more")

    with pytest.raises(FrameError, match="a frame 7 of 4294967295 bytes"):
        list(read_frames(chunks(), find_limit=lambda _kind, _number: 100))


DEFAULTS = pack(Tell.DEFAULTS, payload=b"{}")
PATHS = DEFAULTS + pack(Tell.RENDERED, 0, b"a") + pack(Tell.RENDERED, 1, b"b") + pack(Tell.PLANNED)
TEXTS = pack(Tell.TEXT, 0, b"x") + pack(Tell.TEXT, 1, b"y")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (b"", "no end"),
        (b"hello", "5 bytes of a cut frame"),
        (b"\x63" * 9, "a frame 99 with number"),
        (pack(Tell.TEXT, 0, b"x"), "a frame 7 with number 0 while it plans"),
        (pack(Tell.PLANNED), "a frame 4 with number 0 while it plans"),
        (pack(Tell.DEFAULTS, payload=b"{"), "no JSON"),
        (pack(Tell.DEFAULTS, payload=b"[" * 100_000), "no JSON"),
        (pack(Tell.DEFAULTS, payload=b'{"x": 1}'), "has defaults that were not rendered"),
        (DEFAULTS + DEFAULTS, "a frame 1 with number 0 while it plans"),
        (DEFAULTS + pack(Tell.COPIED, 3, b"a"), "a frame 2 with number 3 while it plans"),
        (DEFAULTS + pack(Tell.COPIED, 0, b"a") * 2, "a frame 2 with number 0 while it plans"),
        (DEFAULTS + pack(Tell.RENDERED, 2, b"a"), "a file 2 that is no template"),
        (DEFAULTS + pack(Tell.COPIED, 0, b"\xff"), "a path that is not UTF-8"),
        (DEFAULTS + pack(Tell.COPIED, 0, b"a" * 65_537), "a frame 2 of 65537 bytes"),
        (pack(Tell.NEEDED, 3), "a frame 5 with number 3"),
        (pack(Tell.NEEDED, 0, b"x"), "a frame 5 of 1 bytes"),
        (PATHS + pack(Tell.DONE), "a frame 9 with number 0 while it renders"),
        (PATHS + pack(Tell.TEXT, 1, b"x"), "a frame 7 with number 1 while it renders"),
        (PATHS + TEXTS + pack(Tell.TEXT, 2, b"x"), "a frame 7 with number 2 while it renders"),
        (PATHS + TEXTS + pack(Tell.DONE) * 2, "a frame 9 with number 0 while it renders"),
        (PATHS + pack(Tell.CODE, 1, b"x"), "a frame 6 with number 1 while it renders"),
        (PATHS + pack(Tell.CODE, 0, b"x") * 2, "a frame 6 with number 0 while it renders"),
        (PATHS + pack(Tell.TEXT, 0, b"x" * (10 * MIB + 1)), "a frame 7 of 10485761 bytes"),
        (PATHS + TEXTS, "no end"),
        (pack(Tell.FAILED, payload=b"[]"), "a failure that is none"),
        (pack(Tell.FAILED, payload=b"{}"), "a failure without a place"),
        (pack(Tell.FAILED, payload=b'{"layer": 7}'), "a failure without a place"),
    ],
)
def test_what_a_process_says_is_not_believed(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, said: bytes, message: str
) -> None:
    template = write_template(tmp_path, {"a.jinja": "{{ 1 }}", "b.jinja": "{{ 1 }}", "c": ""})
    (tmp_path / "said").write_bytes(said)
    (tmp_path / "hostile_child.py").write_text(
        f"import sys\ndef main():\n    sys.stdin.buffer.read(1)\n    sys.stdout.buffer.write(open({str(tmp_path / 'said')!r}, 'rb').read())\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(rendering, "_PROGRAM", "hostile_child")
    with pytest.raises(TemplateError, match=message):
        render(template, settings)
    assert not list((tmp_path / "cache" / "compiled").glob("*"))


def test_messages_of_a_process_are_cleaned(tmp_path: Path, settings: Settings) -> None:
    template = write_template(tmp_path, {"a.jinja": "{{ [1] | map(name) | list }}"})
    with pytest.raises(TemplateError) as caught:
        render(template, settings, name="\x1b[31m\n\u202e" + "x" * 10_000)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 700
