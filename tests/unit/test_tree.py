from __future__ import annotations

import pytest

from scaffolder.errors import AgentAnswerError
from scaffolder.generation.tree import parse_files


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
        ([{"path": "a"}], r"files\[0\]: content is missing, accepted is text"),
        ([{"path": "a", "content": b"x"}], r"files\[0\]: content is bytes, accepted is text"),
        ([{"path": 7, "content": "x"}], r"files\[0\]: path is int, accepted is text"),
        ([{"path": "a", "content": "x", "executable": 1}], r"files\[0\]: executable is int, accepted is true and"),
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
