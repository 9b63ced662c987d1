from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from scaffolder.config import Settings
from scaffolder.generation.templates.native import compiled
from scaffolder.generation.templates.native.compiled import CompiledTemplates, make_key
from scaffolder.generation.templates.native.definition import NativeTemplate
from tests.native_templates import render, write_template

FILES = {f"{{{{ name }}}}/{number}.jinja": f"{number} {{{{ name }}}}\r\n" for number in range(3)}
RESULT = {f"x/{number}": f"{number} x\r\n".encode() for number in range(3)}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return replace(Settings(), cache_dir=tmp_path / "cache")


@pytest.fixture
def template(tmp_path: Path) -> NativeTemplate:
    return write_template(tmp_path, FILES)


def entries(settings: Settings) -> dict[str, tuple[int, int]]:
    return {
        path.name: (path.stat().st_ino, path.stat().st_size) for path in (settings.cache_dir / "compiled").iterdir()
    }


def test_the_second_run_reads_what_the_first_compiled(template: NativeTemplate, settings: Settings) -> None:
    assert render(template, settings, name="x") == RESULT
    first = entries(settings)
    assert len(first) == 2  # parts of paths, and files
    assert render(template, settings, name="x") == RESULT
    assert entries(settings) == first


def test_what_is_kept_is_what_is_run(tmp_path: Path, settings: Settings) -> None:
    """An entry in the place of another shows that the second run does not compile."""
    one, other = (write_template(tmp_path / str(number), {"a.jinja": f"{number} {{{{ 1 }}}}"}) for number in range(2))
    render(one, settings)
    (name,) = entries(settings)
    render(other, settings)
    (added,) = entries(settings).keys() - {name}
    (settings.cache_dir / "compiled" / added).replace(settings.cache_dir / "compiled" / name)
    assert render(one, settings) == {"a": b"1 1"}


def test_the_cache_is_private(template: NativeTemplate, settings: Settings) -> None:
    render(template, settings, name="x")
    assert (settings.cache_dir / "compiled").stat().st_mode & 0o777 == 0o700


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 20)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


@pytest.mark.parametrize("damage", [cut, flip, empty, lengthen])
def test_a_damaged_entry_is_made_again(
    template: NativeTemplate, settings: Settings, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    render(template, settings, name="x")
    for name in entries(settings):
        damage(settings.cache_dir / "compiled" / name)
    damaged = entries(settings)
    assert render(template, settings, name="x") == RESULT
    assert caplog.text.count("are damaged; they are made again") == 2
    assert all(entries(settings)[name] != damaged[name] for name in damaged)
    caplog.clear()
    assert render(template, settings, name="x") == RESULT
    assert not caplog.text


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([("a", b"x"), ("b", b"y")], [("a", b"x"), ("by", b"")]),
        ([("a", b"x"), ("b", b"y")], [("b", b"y"), ("a", b"x")]),
        ([("a", b"x")], [("b", b"x")]),
        ([("a", b"x")], [("a", b"x"), ("", b"")]),
    ],
)
def test_other_sources_have_another_key(one: list[tuple[str, bytes]], other: list[tuple[str, bytes]]) -> None:
    assert make_key(one, stand_in="") == make_key(one, stand_in="")
    assert make_key(one, stand_in="") != make_key(other, stand_in="")
    assert make_key(one, stand_in="") != make_key(one, stand_in="x")


def test_a_cache_that_cannot_be_written_stops_nothing(
    template: NativeTemplate, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.cache_dir.write_text("in the way")
    assert render(template, settings, name="x") == RESULT
    assert "Compiled templates are not kept" in caplog.text


def test_a_failed_rendering_keeps_nothing(tmp_path: Path, settings: Settings) -> None:
    template = write_template(tmp_path, {"a.jinja": "{{ 1 }}", "b.jinja": "{{ nope }}"})
    with pytest.raises(Exception, match="'nope' is undefined"):
        render(template, settings)
    assert entries(settings) == {}


def test_many_at_once_do_no_harm(template: NativeTemplate, settings: Settings) -> None:
    results: list[dict[str, bytes]] = []
    threads = [threading.Thread(target=lambda: results.append(render(template, settings, name="x"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [RESULT] * 4
    assert len(entries(settings)) == 2


def test_the_oldest_entries_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "MAX_ENTRIES", 3)
    cache = CompiledTemplates(tmp_path)
    abandoned, current = tmp_path / "a.1.unfinished", tmp_path / "b.2.unfinished"
    for path in (abandoned, current):
        path.touch()
    os.utime(abandoned, (1, 1))
    for number in range(5):
        writer = cache.create(str(number))
        assert writer is not None
        writer.add(b"frame")
        writer.finish()
        os.utime(tmp_path / str(number), (1_000_000 + number, 1_000_000 + number))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3", "4", "b.2.unfinished"]
    entry = cache.open("2", count=1)
    assert entry is not None
    assert b"".join(entry.read()) == b"frame"
    entry.close()
    assert (tmp_path / "2").stat().st_mtime > time.time() - 60
