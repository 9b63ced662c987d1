"""The language between the process that renders and the one that asks it to: frames of kind, number and bytes.

Both import this module. The asking side trusts no frame: kinds, numbers and sizes are checked before anything is kept.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from typing import Any, Final

HEADER: Final = struct.Struct("<BII")
MAX_MESSAGE_BYTES: Final = 1_048_576
MESSAGE_CHARACTERS: Final = 500
PROGRESS: Final = struct.Struct("<II")
SUFFIX: Final = ".jinja"

# Jinja knows but one end of line, so one of these stands for carriage returns while it has the text. It takes them for
# space in its tags, and they end no line, neither for it nor for str.splitlines().
STAND_INS: Final = ("\x1f", *map(chr, range(0x2000, 0x200B)), "\u1680", "\u205f", "\u3000", "\xa0")


class Ask(IntEnum):
    """Frames to the process. Parts and files have numbers, in the order in which the plan or the job has them."""

    PLAN = 1  # JSON: values, defaults, files and rules
    JOB = 2  # JSON: the files to render, in the order in which they follow
    SOURCE = 3  # a file's source
    CODE = 4  # the compiled form of a part of the plan or a file of the job, as a process gave it earlier
    INCLUDED = 5  # the source that was asked for


class Tell(IntEnum):
    """Frames from the process."""

    DEFAULTS = 1  # JSON: the defaults that were templates
    COPIED = 2  # the path of a file of the plan, which stays as it is
    RENDERED = 3  # the path of a file of the plan, which is a template
    PLANNED = 4  # no more paths
    NEEDED = 5  # the source of a file of the plan is wanted, for an include
    CODE = 6  # the compiled form of a part of the plan or a file of the job
    TEXT = 7  # the content of a file of the job
    FAILED = 8  # JSON: what is wrong, and where
    DONE = 9


class Stage(IntEnum):
    """What the process is at; with a number it is what its progress says."""

    STARTING = 0
    DEFAULT = 1
    PATTERN = 2
    CONDITION = 3
    PATH = 4
    FILE = 5
    PART = 6


class FrameError(ValueError):
    """Bytes that are no frames."""


def pack(kind: IntEnum, number: int = 0, payload: bytes = b"") -> bytes:
    """Return one frame."""
    return HEADER.pack(kind, number, len(payload)) + payload


def read_frames(chunks: Iterable[bytes], *, find_limit: Callable[[int, int], int]) -> Iterator[tuple[int, int, bytes]]:
    """Yield kind, number and payload of each frame in `chunks`.

    `find_limit` gets kind and number and returns the bytes that the payload may have, or raises FrameError. It is
    asked before the payload is kept. Raises FrameError, also where the last frame is cut.
    """
    buffer = bytearray()
    for chunk in chunks:
        buffer += chunk
        offset, end = 0, len(buffer)
        while end - offset >= HEADER.size:
            kind, number, size = HEADER.unpack_from(buffer, offset)
            if size > find_limit(kind, number):
                raise FrameError(f"a frame {kind} of {size} bytes")
            start = offset + HEADER.size
            if end - start < size:
                break
            offset = start + size
            with memoryview(buffer) as view:
                payload = bytes(view[start:offset])
            yield kind, number, payload
        del buffer[:offset]
    if buffer:
        raise FrameError(f"{len(buffer)} bytes of a cut frame")


def parse(payload: bytes) -> Any:
    """Return what a frame of JSON says. Raises FrameError."""
    try:
        return json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise FrameError(f"no JSON: {payload[:100]!r}") from error


def clean(text: Any) -> str:
    """Return text of a stranger for a message: printable, and not too long."""
    printable = "".join(character if character.isprintable() else " " for character in str(text)[:MESSAGE_CHARACTERS])
    return printable.strip()
