from __future__ import annotations

import time
from pathlib import Path

import pytest

from scaffolder.yaml_document import MAX_BYTES, YamlDocumentError, parse_yaml, read_yaml


def test_knows_the_line_of_every_key_and_item() -> None:
    document = parse_yaml(b"a: 1\nb:\n  - x\n  - c: 2\n    d: {e: 3}\n")
    assert document.data == {"a": 1, "b": ["x", {"c": 2, "d": {"e": 3}}]}
    assert [document.line(place) for place in [("a",), ("b",), ("b", 0), ("b", 1, "d"), ("b", 1, "d", "e")]] == [
        1,
        2,
        3,
        5,
        5,
    ]
    assert document.line(("b", 1, "nope", "deeper")) == 4
    assert document.line(("nope",)) == 1


def test_tells_of_keys_that_stand_twice() -> None:
    document = parse_yaml(b"a: 1\nb: {c: 1, c: 2}\na: 2\n")
    assert document.duplicates == (("b", "c"), ("a",))
    assert document.line(("a",)) == 3


def test_an_alias_is_a_copy() -> None:
    assert parse_yaml(b"a: &x {b: 1}\nc: *x\n").data == {"a": {"b": 1}, "c": {"b": 1}}


BOMB = b"a: &a [x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (letter, letter, b",".join([b"*%c" % (letter - 1)] * 9)) for letter in range(ord("b"), ord("k"))
)


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"a: [1\nb: 2", 2, "is no YAML: did not find expected"),
        (b"a: 1\n---\nb: 1", 2, "is no YAML: but found another document"),
        (b"a: !!python/object:os.system x", 1, "is no YAML: could not determine a constructor"),
        (b"a: \xff\xfe", 1, "is no YAML"),
        (b"a: 2001-99-99", 1, "is no YAML"),
        (b"a: &x\n  b: *x", 1, "an alias leads back to where it stands"),
        (b"? [a]\n: b", 1, "a key is a list or mapping; accepted is text"),
        (BOMB, 1, "has more than 20000 values, aliases counted"),
        (b"- x\n" * 30_000, 20_000, "has more than 20000 values"),
        (b"a: 1\nb: " + b"[" * 500_000, 2, "is nested deeper than 64 levels"),
        (b"a: 1\nb: " + b"{a: " * 200_000, 2, "is nested deeper than 64 levels"),
        (b"- " * 400_000, 1, "is nested deeper than 64 levels"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_line_and_soon(content: bytes, line: int, message: str) -> None:
    begin = time.monotonic()
    with pytest.raises(YamlDocumentError, match=message) as caught:
        parse_yaml(content)
    assert time.monotonic() - begin < 5
    assert caught.value.line == line


def test_an_empty_document_is_nothing() -> None:
    assert parse_yaml(b"# nothing\n").data is None


def test_reads_no_more_than_it_may(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(YamlDocumentError, match="has more than 1048576 bytes"):
        read_yaml(tmp_path / "a.yaml")
    with pytest.raises(YamlDocumentError, match="cannot be read: No such file"):
        read_yaml(tmp_path / "b.yaml")
