"""The syntax of multipart/form-data (RFC 7578, RFC 2046 §5.1), parsed as bytes come in. No I/O.

    preamble ──▸ after a delimiter ──▸ headers ──▸ start of a body ──▸ body ─┐
                   ▲      └──▸ epilogue                  │                   │
                   └─────────────────────────────────────┴───────────────────┘

It looks for the delimiter with one `find` in each chunk and hands the bytes before it on without a
copy, so that it takes linear time whatever the content. What the parts mean is `services.forms`'s
business.
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


PartEvent = PartHeaders | PartEnd | bytes


class _State(Enum):
    PREAMBLE = auto()
    DELIMITED = auto()
    HEADERS = auto()
    BODY_START = auto()
    BODY = auto()
    EPILOGUE = auto()


class MultipartParser:
    """Parse one form. Feed it chunks in order, exhaust each answer, and `finish` it."""

    def __init__(self, boundary: str) -> None:
        self._delimiter = b"\r\n--" + boundary.encode("latin-1", "replace")
        self._state = _State.PREAMBLE
        # The first boundary needs no line break before it (RFC 2046 §5.1.1, `preamble`).
        self._rest = b"\r\n"

    def feed(self, chunk: bytes) -> Iterator[PartEvent]:
        """Yield what became certain with `chunk`. Raises MalformedBody and TooLarge."""
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
                self._rest = b""
            more = self._state is not state

    def finish(self) -> None:
        """Say that no more comes. Raises TruncatedBody unless the last boundary was seen."""
        if self._state is not _State.EPILOGUE:
            raise TruncatedBody("The form ended before its closing boundary")

    def _preamble(self) -> None:
        found = self._rest.find(self._delimiter)
        if found < 0:
            self._rest = self._rest[1 - len(self._delimiter) :]
        else:
            self._pass(found + len(self._delimiter), _State.DELIMITED)

    def _after_delimiter(self) -> None:
        """Tell the last boundary from one with a part behind it."""
        if self._rest.startswith(b"--"):
            self._pass(2, _State.EPILOGUE)
            return
        line, found, _ = self._rest.partition(b"\r\n")
        # Blanks may pad the line; a half of what is waited for is no error yet.
        halves = (b"",) if found else (b"", b"\r", b"-")
        if line.strip(b" \t") not in halves or len(line) > MOST_PADDING:
            raise MalformedBody("A boundary of the form has something behind it")
        if found:
            self._pass(len(line) + 2, _State.HEADERS)

    def _headers(self) -> Iterator[PartEvent]:
        end = 0 if self._rest.startswith(b"\r\n") else self._rest.find(b"\r\n\r\n")
        if end > LONGEST_HEADERS or (end < 0 and len(self._rest) > LONGEST_HEADERS):
            raise TooLarge(f"The headers of a part may have at most {LONGEST_HEADERS} bytes")
        if end >= 0:
            yield PartHeaders(_parsed(self._rest[:end]))
            self._pass(end + 2 if end else 0, _State.BODY_START)

    def _body_start(self) -> Iterator[PartEvent]:
        """Pass over the blank line, which belongs to the next delimiter where a part has no body.

        RFC 2046 §5.1.1: `body-part := MIME-part-headers [CRLF *OCTET]`.
        """
        if len(self._rest) < len(self._delimiter) and self._delimiter.startswith(self._rest):
            return
        if self._rest.startswith(self._delimiter):
            yield PartEnd()
            self._pass(len(self._delimiter), _State.DELIMITED)
        else:
            self._pass(2, _State.BODY)

    def _body(self) -> Iterator[PartEvent]:
        rest = self._rest
        found = rest.find(self._delimiter)
        if found < 0:
            cut = self._possible_delimiter(rest)
            self._rest = rest[cut:]
            if cut:
                yield rest[:cut] if cut < len(rest) else rest
            return
        if found:
            yield rest[:found]
        yield PartEnd()
        self._pass(found + len(self._delimiter), _State.DELIMITED)

    def _possible_delimiter(self, rest: bytes) -> int:
        """Return where a delimiter may have begun that the next chunk completes."""
        start = rest.rfind(b"\r", max(0, len(rest) - len(self._delimiter) + 1))
        return start if start >= 0 and self._delimiter.startswith(rest[start:]) else len(rest)

    def _pass(self, count: int, state: _State) -> None:
        self._rest = self._rest[count:]
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
