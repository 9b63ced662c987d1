from __future__ import annotations

from dataclasses import replace

import pytest

from scaffolder.config import Settings
from scaffolder.errors import AgentAnswerError, FileConflictError, LimitExceededError, UnsafePathError
from scaffolder.generation.tree import check_files, parse_files
from tests.factories import make_file

MIB = 1024 * 1024
SMALL = replace(Settings(), max_file_size=10, max_project_files=3, max_project_size=25)


def test_reads_text_base64_and_the_executable_bit() -> None:
    files = parse_files(
        [
            {"path": "a", "content": "é\r\n"},
            {"path": "b", "content": "AP8=", "encoding": "base64", "executable": True},
        ],
        origin="agent_call:1",
    )
    assert [(file.path, file.content, file.mode, file.origin) for file in files] == [
        ("a", b"\xc3\xa9\r\n", 0o100644, "agent_call:1"),
        ("b", b"\x00\xff", 0o100755, "agent_call:1"),
    ]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"path": "a"}, "files of agent are dict; accepted is a list"),
        ("text", "files of agent are str; accepted is a list"),
        (None, "files of agent are NoneType; accepted is a list"),
        (["a"], r"files\[0\]: is str, accepted is an object"),
        ([{"path": "a"}], r"files\[0\]: needs path and content as strings"),
        ([{"path": "a", "content": b"x"}], r"files\[0\]: needs path and content as strings"),
        ([{"path": "a", "content": "x", "executable": 1}], r"files\[0\]: needs path and content"),
        ([{"path": "a", "content": "x", "mode": 1}], r"files\[0\]: has unknown keys \['mode'\]"),
        ([{"path": "a", "content": "?", "encoding": "base64"}], r"files\[0\]: content is no base64"),
        ([{"path": "a", "content": "\ud800"}], r"files\[0\]: content is no utf-8"),
        ([{"path": "a", "content": "x", "encoding": "latin-1"}], r"encoding 'latin-1'; accepted are"),
        ([{}, {}], r"2 file\(s\) of agent cannot be read: files\[0\].*files\[1\]"),
    ],
)
def test_refuses_what_is_no_list_of_files(entries: object, message: str) -> None:
    with pytest.raises(AgentAnswerError, match=message):
        parse_files(entries, origin="agent")


def test_a_file_of_exactly_the_limit_passes_and_one_byte_more_does_not() -> None:
    settings = Settings()
    assert settings.max_file_size == 10 * MIB
    check_files([make_file("a", b"x" * 10 * MIB)], existing=[], settings=settings)
    with pytest.raises(LimitExceededError, match="'a' has 10485761 bytes"):
        check_files([make_file("a", b"x" * (10 * MIB + 1)), make_file("b")], existing=[], settings=settings)


def test_every_large_file_is_named() -> None:
    with pytest.raises(LimitExceededError, match="'a' has 11 bytes; 'c' has 12 bytes"):
        check_files(
            [make_file("a", b"x" * 11), make_file("b", b""), make_file("c", b"x" * 12)], existing=[], settings=SMALL
        )


def test_files_and_bytes_of_the_whole_project_are_limited() -> None:
    existing = [("x", 10, "step:one")]
    check_files([make_file("a", b"x" * 10), make_file("b", b"x" * 5)], existing=existing, settings=SMALL)
    with pytest.raises(LimitExceededError, match="would have 26 bytes, accepted are 25"):
        check_files([make_file("a", b"x" * 10), make_file("b", b"x" * 6)], existing=existing, settings=SMALL)
    with pytest.raises(LimitExceededError, match="would have 4 files, accepted are 3"):
        check_files([make_file(name, b"") for name in "abc"], existing=existing, settings=SMALL)


def test_every_conflict_names_both_origins() -> None:
    with pytest.raises(FileConflictError) as caught:
        check_files(
            [make_file("a"), make_file("b"), make_file("b"), make_file("c")],
            existing=[("a", 1, "template:x@1"), ("d", 1, "template:x@1")],
            settings=SMALL,
        )
    assert caught.value.conflicts == (("a", "template:x@1", "step:files"), ("b", "step:files", "step:files"))


def test_paths_are_checked_against_those_of_other_steps() -> None:
    with pytest.raises(UnsafePathError, match="both a file and a directory"):
        check_files([make_file("a/b")], existing=[("a", 1, "step:one")], settings=Settings())
