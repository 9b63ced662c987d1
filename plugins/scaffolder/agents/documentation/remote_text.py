"""Text that agents wrote, made fit for pages of ours: printable, bounded, and nothing but text.

Descriptions are CommonMark (OpenAPI 3.1, section 4.5). Of its markup only what structures prose is kept; links and
images become their text and address, and HTML stays the characters it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from scaffolder.terminal import make_printable

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token
    from markupsafe import Markup

_MAX_PROSE: Final = 8_000
# An agent's operations say much the same again and again.
_CACHED: Final = 1_000
# How many times longer than the text its HTML may be.
_MAX_GROWTH: Final = 10
# What prose may be made of, by the name of the token; "heading" is shown as a strong paragraph.
_TAGS: Final = {
    "paragraph": "p",
    "bullet_list": "ul",
    "ordered_list": "ol",
    "list_item": "li",
    "blockquote": "blockquote",
    "em": "em",
    "strong": "strong",
    "s": "s",
    "table": "table",
    "thead": "thead",
    "tbody": "tbody",
    "tr": "tr",
    "th": "th",
    "td": "td",
}
_PLAIN: Final = re.compile(r"[^\W_](?:[^\W_]|[ ,;:'\"()/?=%@])*\.?")
_SPECIAL: Final = re.compile(r"[\\`*_\[\]<>&|~#$]")
_LINE_START: Final = re.compile(r"^(?:[-+=:]|\d{1,9}(?=[.)]))", re.MULTILINE)
# What some renderers turn into links or mentions wherever it stands, except in code.
_ADDRESS: Final = re.compile(r"://|@|(?:mailto|xmpp):|[^\W_]\.[^\W\d_]{2}", re.IGNORECASE)


def clean(text: object, limit: int) -> str:
    """Return `text` printable, in lines without trailing space, and cut at `limit` characters."""
    whole = text if isinstance(text, str) else str(text)
    cut = whole if len(whole) <= limit else f"{whole[:limit].rstrip()} …"
    if cut.isprintable():
        return cut.strip()
    return _clean_lines(cut)


@lru_cache(maxsize=_CACHED)
def _clean_lines(text: str) -> str:
    lines = re.split(r"\r\n|[\n\r\v\f\x85\u2028\u2029]", text)
    # Spaces of any width are no danger, and would be unreadable as escapes.
    return "\n".join(make_printable(re.sub(r"[^\S\n]", " ", line)).rstrip() for line in lines).strip("\n")


def clean_line(text: object, limit: int) -> str:
    """Return `text` as `clean` does, on one line."""
    return " ".join(clean(text, limit).split())


@lru_cache(maxsize=_CACHED)
def render_prose(text: str) -> Markup:
    """Return a description (CommonMark with tables) as HTML of paragraphs, lists, tables, emphasis and code only.

    What would become many times longer than the text is shown as the characters it is.
    """
    from markupsafe import Markup

    cleaned = clean(text, _MAX_PROSE)
    if _PLAIN.fullmatch(cleaned):
        # Most descriptions are a sentence, and a parser takes ten times as long to find that out.
        return Markup("<p>{}</p>").format(cleaned)
    html = "".join(_render(_parse(cleaned)))
    if len(html) > _MAX_GROWTH * (len(cleaned) + _MAX_GROWTH):
        return Markup("<pre>{}</pre>").format(cleaned)
    return Markup(html)  # noqa: S704  # escaped in `_render`


@lru_cache(maxsize=_CACHED)
def write_prose(text: str) -> str:
    """Return a description (CommonMark with tables) as Markdown of paragraphs and code only.

    Emphasis is left out; items of lists and rows of tables become paragraphs; addresses become code.
    """
    cleaned = clean(text, _MAX_PROSE)
    if _PLAIN.fullmatch(cleaned):
        return escape_markdown(cleaned)
    paragraphs = (_write_pieces(pieces) for pieces in _list_paragraphs(_parse(cleaned)))
    return "\n\n".join(filter(None, paragraphs))


def escape_markdown(text: str) -> str:
    """Return `text` as Markdown that shows it and nothing else: no markup, link, image, HTML or mention.

    Words with an address in them become code; blank lines end paragraphs.
    """
    return _write_pieces([_Piece(clean(text, _MAX_PROSE))])


def make_code(text: str) -> str:
    """Return `text`, on one line, as Markdown's code, whatever backticks are in it."""
    line = clean_line(text, _MAX_PROSE)
    if not line:
        return ""
    fence = "`" * (_longest_run(line) + 1)
    space = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{space}{line}{space}{fence}"


def make_cell(markdown: str) -> str:
    """Return one line of Markdown for a cell of a table (GitHub's extension: only pipes end cells)."""
    return re.sub(r"(?<!\\)\|", r"\\|", " ".join(markdown.split()))


def make_fence(text: str, language: str = "") -> str:
    """Return `text` as a block of Markdown's code, fenced longer than any run of backticks in it."""
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


@dataclass(frozen=True)
class _Piece:
    """A part of a paragraph."""

    text: str
    is_code: bool = False


def _write_pieces(pieces: Iterable[_Piece]) -> str:
    written: list[str] = []
    # Pieces of text are put together first: an address may be in several.
    for is_code, group in groupby(pieces, key=lambda piece: piece.is_code):
        text = "".join(piece.text for piece in group)
        words = [text] if is_code or not _ADDRESS.search(text) else re.split(r"(\s+)", text)
        written += [make_code(word) if is_code or _ADDRESS.search(word) else _escape_plain(word) for word in words]
    lines = (line.strip() for line in "".join(written).split("\n"))
    return _LINE_START.sub(lambda found: _escape_start(found.group()), "\n".join(lines)).strip("\n")


def _list_paragraphs(tokens: Sequence[Token]) -> Iterator[list[_Piece]]:
    begin = ""
    row: list[_Piece] | None = None
    for token in tokens:
        if token.type == "list_item_open":
            begin = f"{token.info}. " if token.info else "• "
        elif token.type == "tr_open":
            row = []
        elif token.type == "tr_close" and row:
            yield row[1:]
            row = None
        elif token.type in {"fence", "code_block"}:
            for line in token.content.splitlines():
                yield [_Piece(line, is_code=True)]
        elif token.type == "inline":
            pieces = [_Piece(begin), *_list_pieces(token.children or [])]
            begin = ""
            if row is None:
                yield pieces
            else:
                row += [_Piece("; "), *pieces]


def _list_pieces(tokens: Sequence[Token]) -> Iterator[_Piece]:
    addresses: list[Any] = []
    for token in tokens:
        if token.type == "text":
            yield _Piece(token.content)
        elif token.type == "code_inline":
            yield _Piece(token.content, is_code=True)
        elif token.type in {"softbreak", "hardbreak"}:
            yield _Piece("\n")
        elif token.type == "image":
            yield from _list_address(token.content, token.attrs.get("src", ""))
        elif token.type == "link_open":
            addresses.append(token.attrs.get("href", ""))
        elif token.type == "link_close":
            yield from _list_address("", addresses.pop())


def _list_address(text: str, address: Any) -> Iterator[_Piece]:
    yield from (_Piece(f"{text} ("), _Piece(str(address), is_code=True), _Piece(")"))


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)


def _escape_plain(text: str) -> str:
    return _SPECIAL.sub(lambda found: f"\\{found.group()}", text)


def _escape_start(start: str) -> str:
    return f"{start}\\" if start[0].isdigit() else f"\\{start}"


def _parse(text: str) -> list[Token]:
    lines = text.split("\n")
    # Rows that are shorter than their table's head are filled up: a small text can have very many cells.
    tables = max(line.count("|") for line in lines) * len(lines) <= len(text)
    return _parser(tables=tables).parse(text)


@cache
def _parser(*, tables: bool) -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark", {"html": False, "maxNesting": 20})
    return parser.enable(["strikethrough", *(["table"] if tables else [])]).disable(["reference", "autolink"])


def _render(tokens: Sequence[Token]) -> Iterator[str]:
    """Yield HTML of known tags without attributes; all else of the text is escaped."""
    from markupsafe import escape

    for token in tokens:
        kind, _, side = token.type.rpartition("_")
        if token.type == "inline":
            yield from _render_inline(token.children or [])
        elif token.type in {"fence", "code_block"}:
            yield f"<pre><code>{escape(token.content)}</code></pre>"
        elif token.type == "hr":
            continue
        elif kind == "heading":
            # Headings are the page's own: an agent's would break its outline.
            yield "<p><strong>" if side == "open" else "</strong></p>"
        elif kind in _TAGS and not token.hidden:
            yield f"<{'/' if side == 'close' else ''}{_TAGS[kind]}>"


def _render_inline(tokens: Sequence[Token]) -> Iterator[str]:
    from markupsafe import escape

    addresses: list[Any] = []
    for token in tokens:
        kind, _, side = token.type.rpartition("_")
        if token.type == "text":
            yield str(escape(token.content))
        elif token.type == "code_inline":
            yield f"<code>{escape(token.content)}</code>"
        elif token.type == "softbreak":
            yield "\n"
        elif token.type == "hardbreak":
            yield "<br>"
        elif token.type == "image":
            yield f"{escape(token.content)} <small>({escape(token.attrs.get('src', ''))})</small>"
        elif token.type == "link_open":
            addresses.append(token.attrs.get("href", ""))
        elif token.type == "link_close":
            yield f" <small>({escape(addresses.pop())})</small>"
        elif kind in _TAGS:
            yield f"<{'/' if side == 'close' else ''}{_TAGS[kind]}>"
