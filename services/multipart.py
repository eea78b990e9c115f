"""The syntax of multipart/form-data (RFC 7578, RFC 2046 §5.1), parsed as bytes come in. No I/O.

    preamble ──▸ after a delimiter ──▸ headers ──▸ start of a body ──▸ body ─┐
                   ▲      └──▸ epilogue                  │                   │
                   └─────────────────────────────────────┴───────────────────┘

It looks for the delimiter with one `find` in each chunk and hands the bytes before it on as a view
of the chunk, so that it takes linear time whatever the content. What the parts mean is
`services.forms`'s business.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from services.errors import MalformedBody, TooLarge, TruncatedBody

LONGEST_HEADERS: Final = 16 * 1024
"""Bytes that the headers of one part have at the most."""

MOST_HEADERS: Final = 16
_FORBIDDEN: Final = re.compile(rb"[\0\r\n]")
MOST_PADDING: Final = 256


@dataclass(frozen=True, slots=True)
class PartHeaders:
    """A part begins. Names are in lowercase."""

    values: dict[str, str]


@dataclass(frozen=True, slots=True)
class PartEnd:
    """The part that began last is complete: the delimiter after it was seen."""


PartEvent = PartHeaders | PartEnd | memoryview
"""A memoryview is what comes next of a part's body; it is as good as the chunk that was fed."""


class _State(Enum):
    PREAMBLE = auto()
    DELIMITED = auto()
    HEADERS = auto()
    BODY_START = auto()
    BODY = auto()
    EPILOGUE = auto()


def only_part(body: bytes, boundary: str) -> tuple[PartHeaders, memoryview] | None:
    """Return the part of a whole form that has one, or None for any other, or one with more to it.

    It is what a MultipartParser says of the same. Raises MalformedBody and TooLarge.
    """
    delimiter = b"--" + boundary.encode("latin-1", "replace")
    end = body.find(b"\r\n" + delimiter, len(delimiter))
    begin = body.find(b"\r\n\r\n", 0, LONGEST_HEADERS)
    if (
        not body.startswith(delimiter + b"\r\n")
        or not len(delimiter) + 2 < begin < end - 3
        or body[end + len(delimiter) + 2 :] not in (b"--", b"--\r\n")
    ):
        return None
    headers = PartHeaders(_parsed(body[len(delimiter) + 2 : begin]))
    return headers, memoryview(body)[begin + 4 : end]


class MultipartParser:
    """Parse one form. Feed it chunks in order, exhaust each answer, and `finish` it."""

    def __init__(self, boundary: str) -> None:
        self._delimiter = b"\r\n--" + boundary.encode("latin-1", "replace")
        self._state = _State.PREAMBLE
        # The first boundary needs no line break before it (RFC 2046 §5.1.1, `preamble`).
        self._rest: bytes | bytearray = b"\r\n"
        self._at = 0

    def feed(self, chunk: bytes | bytearray) -> Iterator[PartEvent]:
        """Yield what became certain with `chunk`. Raises MalformedBody and TooLarge.

        Nothing of the chunk is kept that is not copied.
        """
        self._rest = self._rest + chunk if self._rest else chunk
        more = True
        while more:
            state = self._state
            if state is _State.BODY:
                yield from self._body()
            elif state is _State.BODY_START:
                yield from self._body_start()
            elif state is _State.HEADERS:
                yield from self._headers()
            elif state is _State.DELIMITED:
                self._after_delimiter()
            elif state is _State.PREAMBLE:
                self._preamble()
            else:
                self._at = len(self._rest)
            more = self._state is not state
        with memoryview(self._rest) as rest:
            self._rest, self._at = bytes(rest[self._at :]), 0

    def finish(self) -> None:
        """Say that no more comes. Raises TruncatedBody unless the last boundary was seen."""
        if self._state is not _State.EPILOGUE:
            raise TruncatedBody("The form ended before its closing boundary")

    def _preamble(self) -> None:
        found = self._rest.find(self._delimiter, self._at)
        if found < 0:
            self._at = max(self._at, len(self._rest) - len(self._delimiter) + 1)
        else:
            self._go_to(found + len(self._delimiter), _State.DELIMITED)

    def _after_delimiter(self) -> None:
        """Tell the last boundary from one with a part behind it."""
        if self._rest.startswith(b"--", self._at):
            self._go_to(self._at + 2, _State.EPILOGUE)
            return
        line, found, _ = self._next(MOST_PADDING + 2).partition(b"\r\n")
        # Blanks may pad the line; a half of what is waited for is no error yet.
        halves = (b"",) if found else (b"", b"\r", b"-")
        if line.strip(b" \t") not in halves or len(line) > MOST_PADDING:
            raise MalformedBody("A boundary of the form has something behind it")
        if found:
            self._go_to(self._at + len(line) + 2, _State.HEADERS)

    def _headers(self) -> Iterator[PartEvent]:
        if self._rest.startswith(b"\r\n", self._at):
            yield PartHeaders({})
            self._go_to(self._at, _State.BODY_START)
            return
        block, found, _ = self._next(LONGEST_HEADERS + 4).partition(b"\r\n\r\n")
        if len(block) > LONGEST_HEADERS:
            raise TooLarge(f"The headers of a part may have at most {LONGEST_HEADERS} bytes")
        elif found:
            yield PartHeaders(_parsed(block))
            self._go_to(self._at + len(block) + 2, _State.BODY_START)

    def _body_start(self) -> Iterator[PartEvent]:
        """Pass over the blank line, which belongs to the next delimiter where a part has no body.

        RFC 2046 §5.1.1: `body-part := MIME-part-headers [CRLF *OCTET]`.
        """
        begin = self._next(len(self._delimiter))
        if begin == self._delimiter:
            yield PartEnd()
            self._go_to(self._at + len(begin), _State.DELIMITED)
        elif not self._delimiter.startswith(begin):
            self._go_to(self._at + 2, _State.BODY)

    def _body(self) -> Iterator[PartEvent]:
        begin = self._at
        found = self._rest.find(self._delimiter, begin)
        self._at = self._possible_delimiter() if found < 0 else found
        if self._at > begin:
            yield memoryview(self._rest)[begin : self._at]
        if found >= 0:
            yield PartEnd()
            self._go_to(found + len(self._delimiter), _State.DELIMITED)

    def _possible_delimiter(self) -> int:
        """Return where a delimiter may have begun that the next chunk completes."""
        rest, size = self._rest, len(self._rest)
        start = rest.rfind(b"\r", max(self._at, size - len(self._delimiter) + 1))
        return start if start >= 0 and self._delimiter.startswith(bytes(rest[start:])) else size

    def _next(self, count: int) -> bytes:
        """Return the next bytes, at most so many."""
        return bytes(self._rest[self._at : self._at + count])

    def _go_to(self, position: int, state: _State) -> None:
        self._at = position
        self._state = state


def _parsed(block: bytes) -> dict[str, str]:
    """Return the headers of a part. Names and values are UTF-8 (RFC 7578 §5.1)."""
    lines = block.split(b"\r\n") if block else []
    if len(lines) > MOST_HEADERS:
        raise TooLarge(f"A part of a form may have at most {MOST_HEADERS} headers")
    headers = {}
    for line in lines:
        name, colon, value = line.decode("utf-8", "replace").partition(":")
        if not colon or not name or name != name.strip() or _FORBIDDEN.search(line):
            raise MalformedBody("A part of the form has a malformed header")
        headers[name.lower()] = value.strip(" \t")
    return headers
