from __future__ import annotations

import os
import re
import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scaffolder.errors import UnsafePathError
from scaffolder.generation.merge import TreeChanges
from scaffolder.generation.paths import _look_closely, check_paths, find_flaw, fold
from scaffolder.generation.repository import ProjectRepository
from tests.factories import describe_commit, make_file
from tests.profile import examples

DEPTH = 32

FINE = [
    "README.md",
    "src/my_service/app.py",
    ".github/workflows/ci.yml",
    ".gitignore",
    ".gitattributes",
    ".gitkeep",
    "a b/c d.txt",
    "docs/größe.md",
    "日本語/ファイル.txt",
    "emoji-🎉.md",
    '"quoted".txt',
    "com10/console/nullable",
    "git~/x",
    "/".join(["d"] * DEPTH),
    "x" * 255,
    "é" * 127,
]

UNSAFE = {
    "": "is empty",
    "/etc/passwd": "is absolute",
    "//host/share": "is absolute",
    "C:/x": "begins with a drive",
    "c:x": "begins with a drive",
    "..": "part '..'",
    "a/../b": "part '..'",
    "a/..": "part '..'",
    ".": "part '.'",
    "./a": "part '.'",
    "a//b": "an empty part",
    "a/": "an empty part",
    "a\\b": "a backslash",
    "a\\..\\b": "a backslash",
    "\\\\host\\share": "a backslash",
    "a\0b": "a control character",
    "a\nb": "a control character",
    "a\x7fb": "a control character",
    "a\x85b": "a control character",
    "a\u2028b": "a control character",
    "a\u202eb": "a bidirectional control",
    "a\u2066b": "a bidirectional control",
    "a\u200cb": "an invisible character",
    "a\u00adb": "an invisible character",
    "a\ufeffb": "an invisible character",
    "a\ufe0fb": "an invisible character",
    "a\u3164b": "an invisible character",
    "a\ud800b": "a lone surrogate",
    "a\u0378b": "an unassigned character",
    ".git": "git keeps",
    ".git/config": "git keeps",
    "a/.git/hooks/post-checkout": "git keeps",
    ".GIT/config": "git keeps",
    ".g\u200cit/config": "an invisible character",
    ".ｇｉｔ/config": "git keeps",
    "git~1/config": "git keeps",
    "GIT~2": "git keeps",
    ".gitmodules": "git keeps",
    ".GitModules": "git keeps",
    "gitmod~1": "git keeps",
    "GI7EBA~1": "git keeps",
    ".git.": "ends with a dot or a space",
    ".git ": "ends with a dot or a space",
    ".git::$INDEX_ALLOCATION": "a colon",
    "file:stream": "a colon",
    "-rf": "begins with '-'",
    "a/--upload-pack=x": "begins with '-'",
    "a.": "ends with a dot or a space",
    "a /b": "ends with a dot or a space",
    "CON": "a device name",
    "a/nul.txt": "a device name",
    "Com1": "a device name",
    "lpt9.tar.gz": "a device name",
    "com¹": "a device name",
    "aux .txt": "a device name",
    "x" * 256: "a part longer than 255 bytes",
    "é" * 128: "a part longer than 255 bytes",
    "/".join(["d"] * (DEPTH + 1)): "deeper than 32 parts",
    "/".join(["x" * 200] * 21): "longer than 4096 bytes",
}


@pytest.mark.parametrize("path", FINE)
def test_accepts(path: str) -> None:
    assert find_flaw(path, max_depth=DEPTH) is None


@pytest.mark.parametrize(("path", "reason"), list(UNSAFE.items()), ids=[ascii(path)[:40] for path in UNSAFE])
def test_refuses(path: str, reason: str) -> None:
    flaw = find_flaw(path, max_depth=DEPTH)
    assert flaw is not None
    assert reason in flaw


COLLISIONS = [
    (["a", "a"], "is there twice"),
    (["README", "readme"], "differs from 'README' only in spelling"),
    (["straße", "STRASSE"], "only in spelling"),
    (["caf\u00e9", "cafe\u0301"], "only in spelling"),
    (["a", "a/b"], "both a file and a directory"),
    (["A", "a/b"], "both a file and a directory"),
    (["a/b/c", "a/b"], "both a file and a directory"),
    (["Docs/a", "docs/b"], "a directory that differs from 'Docs' only in spelling"),
    (["x/Docs/a", "x/docs/b/c"], "a directory that differs from 'x/Docs' only in spelling"),
]


@pytest.mark.parametrize(("batch", "reason"), COLLISIONS)
def test_refuses_paths_that_collide(batch: list[str], reason: str) -> None:
    with pytest.raises(UnsafePathError, match=re.escape(reason)):
        check_paths(batch, max_depth=DEPTH)


def test_names_every_offender_of_a_batch() -> None:
    with pytest.raises(UnsafePathError) as caught:
        check_paths(["ok", "../a", "b", "B", ".git/x", "/c"], max_depth=DEPTH)
    assert {path for path, _ in caught.value.offenders} == {"../a", "B", ".git/x", "/c"}
    assert "4 unsafe path(s)" in str(caught.value)


def test_accepts_a_tree() -> None:
    check_paths(["a/b/c", "a/b/d", "a/e", "f", "a.b", "a-b/c"], max_depth=DEPTH)


PARTS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["..", ".", "", ".git", ".GIT", "git~1", "~", "C:", "con", "a", "b ", "\\", "\0", "\u200c", "-x", "\ud800"]
    ),
)
PATHS = st.builds(
    lambda lead, parts: lead + "/".join(parts), st.sampled_from(["", "/", "\\"]), st.lists(PARTS, max_size=8)
)


@settings(max_examples=examples(5_000), deadline=None)
@given(PATHS)
def test_what_is_accepted_stays_inside_the_root_and_out_of_git(path: str) -> None:
    if find_flaw(path, max_depth=DEPTH) is not None:
        return
    root = Path("/root/project")
    joined = os.path.normpath(root / path)
    assert joined.startswith("/root/project/")
    assert joined == f"/root/project/{path}"
    assert not any(unicodedata.category(character) in {"Cc", "Cf", "Cs"} for character in path)
    assert ".git" not in fold(path).split("/")


@settings(max_examples=examples(500), deadline=None)
@given(st.lists(st.text("aAbBéE\u0301/", min_size=1, max_size=6), max_size=8))
def test_an_accepted_batch_has_one_file_for_each_path_of_a_case_blind_disk(batch: list[str]) -> None:
    try:
        check_paths(batch, max_depth=DEPTH)
    except UnsafePathError:
        return
    folded = [fold(path) for path in batch]
    assert len(set(folded)) == len(batch)
    parents = {"/".join(path.split("/")[:index]) for path in folded for index in range(1, path.count("/") + 1)}
    assert not parents & set(folded)


PLAIN = st.from_regex(
    r"(?:[A-Za-z0-9_.-]{1,6}|con|PRN|aux|nUl|com1|lpt9|git)(?:[./](?:[A-Za-z0-9_.-]{1,6}|con|AUX|com1|nul)){0,4}",
    fullmatch=True,
)


@settings(max_examples=examples(2_000), deadline=None)
@given(PLAIN)
def test_the_short_way_to_yes_says_what_the_long_one_says(path: str) -> None:
    assert find_flaw(path, max_depth=DEPTH) == _look_closely(path, max_depth=DEPTH)


@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(PATHS, PLAIN, st.text(min_size=1, max_size=20)), min_size=1, max_size=12))
def test_an_accepted_batch_becomes_exactly_its_files_in_git_and_on_disk(batch: list[str]) -> None:
    fine = [path for path in batch if find_flaw(path, max_depth=DEPTH) is None]
    try:
        check_paths(fine, max_depth=DEPTH)
    except UnsafePathError:
        return
    with tempfile.TemporaryDirectory() as root:
        outside = Path(root)
        repository = ProjectRepository.create(outside / "project")
        files = [make_file(path, path) for path in fine]
        [head] = repository.commit(TreeChanges(written=files), info=describe_commit("files"), parent=None)
        with repository.checking_out(head):
            pass
        assert {entry.path: repository.read(head, entry.path).decode() for entry in repository.files(head)} == {
            path: path for path in fine
        }
        on_disk = {
            found.relative_to(repository.directory).as_posix(): found.read_text()
            for found in repository.directory.rglob("*")
            if found.is_file() and found.relative_to(repository.directory).parts[0] != ".git"
        }
        assert on_disk == {path: path for path in fine}
        assert [found.name for found in outside.iterdir()] == ["project"]
