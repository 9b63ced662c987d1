"""Bodies of answers as they come over the wire: decoded piece by piece, never more than asked for in memory.

httpx2's own decoders take a compressed body that breaks off for a whole one, drop what follows a first gzip member,
and undo up to five encodings of one body; none of that is wanted of an agent.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Final, Protocol

ACCEPT_ENCODING: Final = "gzip, deflate"
_PIECE_BYTES: Final = 65_536
_ALIASES: Final = {"x-gzip": "gzip"}  # RFC 9110, section 8.4.1.3


class EncodingError(ValueError):
    """A body that cannot be decoded; says why."""


class Decoder(Protocol):
    """Undoes one encoding."""

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Yield the decoded pieces of `data`, each of a bounded size."""
        ...

    def finish(self) -> None:
        """Raise EncodingError where the body has broken off."""
        ...


def open_decoder(codings: Sequence[str]) -> Decoder:
    """Return the decoder for the values of Content-Encoding. Raises EncodingError for unknown and for stacked ones."""
    names = [_ALIASES.get(name, name) for name in (coding.strip().lower() for coding in codings)]
    names = [name for name in names if name not in {"", "identity"}]
    if len(names) > 1:
        raise EncodingError(f"encoded {len(names)} times over; accepted is once")
    if not names:
        return _Identity()
    if names[0] not in {"gzip", "deflate"}:
        raise EncodingError("in an encoding that was not asked for; accepted are gzip and deflate")
    return _Inflate(gzip=names[0] == "gzip")


class _Identity:
    def decode(self, data: bytes) -> Iterator[bytes]:
        yield data

    def finish(self) -> None:
        pass


class _Inflate:
    """gzip, also of several members (RFC 1952, section 2.2), and deflate with or without its zlib frame."""

    def __init__(self, *, gzip: bool) -> None:
        self._gzip = gzip
        self._inflater = zlib.decompressobj(wbits=31 if gzip else 15)
        self._started = False

    def decode(self, data: bytes) -> Iterator[bytes]:
        try:
            if data and not self._started:
                self._started = True
                # Some servers send deflate without its frame; the first byte of a frame says 8 in its low half.
                if not self._gzip and data[0] & 0x0F != 8:
                    self._inflater = zlib.decompressobj(wbits=-15)
            while data:
                if self._inflater.eof:
                    self._inflater = self._next_member()
                yield self._inflater.decompress(data, _PIECE_BYTES)
                data = self._inflater.unused_data if self._inflater.eof else self._inflater.unconsumed_tail
            yield from self._drain()
        except zlib.error as error:
            raise EncodingError("with a broken encoding") from error

    def finish(self) -> None:
        if self._started and not self._inflater.eof:
            raise EncodingError("with an encoded body that breaks off")

    def _next_member(self) -> zlib._Decompress:
        if not self._gzip:
            raise EncodingError("with something behind its encoded body")
        return zlib.decompressobj(wbits=31)

    def _drain(self) -> Iterator[bytes]:
        """Yield what the inflater has still inside although its input is used up."""
        while not self._inflater.eof and (piece := self._inflater.decompress(b"", _PIECE_BYTES)):
            yield piece
