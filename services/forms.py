"""multipart/form-data as it streams by (RFC 7578): fields are collected, files are handed on.

Nothing is spooled: a file's bytes go on as they are parsed. A body without its closing boundary
is an error; what stands before the first boundary or after the last is passed over
(RFC 2046 §5.1.1), as long as it is little.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from werkzeug.http import parse_options_header

from services.errors import MalformedBody, TooLarge, UnsupportedBody
from services.multipart import MultipartParser, PartEnd, PartEvent, PartHeaders, only_part

LARGEST_FIELD: Final = 64 * 1024
"""Bytes that one text field has at the most, and all of them together."""

MOST_FIELDS: Final = 256
_PLAIN_NAMES: Final = re.compile(r'form-data; name="([^"\\%]+)"(?:; filename="([^"\\%]*)")?')
"""Names that are written as nearly all clients write them, with nothing to undo."""

MOST_OUTSIDE: Final = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Field:
    """A text field, whole."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class FileStart:
    """A file begins; its bytes follow, and then a FileEnd."""

    name: str
    filename: str
    content_type: str | None


@dataclass(frozen=True, slots=True)
class FileEnd:
    """The file that began last is complete, its closing boundary included."""


Event = Field | FileStart | memoryview | FileEnd
"""A memoryview is what comes next of a file; it is as good as the chunk that it came in."""


def boundary_of(content_type: str) -> str:
    """Return the boundary that a multipart/form-data header names.

    Raises UnsupportedBody for any other type, and MalformedBody when there is no boundary.
    """
    media_type, parameters = parse_options_header(content_type)
    if media_type.lower() != "multipart/form-data":
        raise UnsupportedBody("Send multipart/form-data", accept="multipart/form-data")
    boundary: str = parameters.get("boundary", "")
    if not boundary or len(boundary) > 200:
        raise MalformedBody("The form's Content-Type names no boundary")
    return boundary


def read_form(
    chunks: Iterable[bytes | bytearray], boundary: str, *, most_files: int
) -> Iterator[Event]:
    """Yield what the form in `chunks` holds, as soon as it is there.

    Raises TooLarge for too many or too large parts, TruncatedBody when the closing boundary is
    missing, and MalformedBody for anything else that is wrong.
    """
    parser = MultipartParser(boundary)
    parts = _Parts(most_files)
    for chunk in chunks:
        for event in parser.feed(chunk):
            yield from parts.take(event)
        parts.check_progress(len(chunk))
    parser.finish()


def read_whole_form(body: bytes, boundary: str, *, most_files: int) -> Iterator[Event]:
    """Yield what the form `body` holds. Raises as `read_form` does."""
    only = only_part(body, boundary)
    if only is None:
        yield from read_form([body], boundary, most_files=most_files)
        return
    headers, content = only
    parts = _Parts(most_files)
    for event in (headers, content, PartEnd()) if content else (headers, PartEnd()):
        yield from parts.take(event)


class _Parts:
    """Turn the parser's segments into events, within the limits on fields and files."""

    def __init__(self, most_files: int) -> None:
        self._files_left = most_files
        self._bytes_left = LARGEST_FIELD
        self._fields_left = MOST_FIELDS
        self._field: str | None = None
        self._value = bytearray()
        self._events = self._silent = 0

    def check_progress(self, size: int) -> None:
        """Raise MalformedBody when too many bytes in a row belong to no part."""
        self._silent = 0 if self._events else self._silent + size
        self._events = 0
        if self._silent > MOST_OUTSIDE:
            raise MalformedBody("The body has too much outside of its parts")

    def take(self, event: PartEvent) -> Iterator[Event]:
        self._events += 1
        if isinstance(event, PartHeaders):
            yield from self._begin(event.values)
        elif isinstance(event, PartEnd):
            yield self._finish()
        elif self._field is None:
            yield event
        else:
            self._collect(event)

    def _begin(self, headers: dict[str, str]) -> Iterator[Event]:
        name, filename = _names(headers.get("content-disposition", ""))
        if filename is None:
            self._fields_left -= 1
            if self._fields_left < 0:
                raise TooLarge(f"A form may have at most {MOST_FIELDS} fields")
            self._field, self._value = unescaped(name), bytearray()
            return
        self._field = None
        self._files_left -= 1
        if self._files_left < 0:
            raise TooLarge("The form has too many files")
        yield FileStart(unescaped(name), unescaped(filename), headers.get("content-type"))

    def _collect(self, piece: memoryview) -> None:
        self._bytes_left -= len(piece)
        if self._bytes_left < 0:
            raise TooLarge(f"The text fields of a form may have at most {LARGEST_FIELD} bytes")
        self._value += piece

    def _finish(self) -> Event:
        field, self._field = self._field, None
        if field is None:
            return FileEnd()
        try:
            return Field(field, self._value.decode())
        except UnicodeDecodeError as error:
            raise MalformedBody(f"The field {field[:64]!r} is not UTF-8") from error


def _names(disposition: str) -> tuple[str, str | None]:
    """Return the name that a part's header gives, and the filename. Raises MalformedBody."""
    if plain := _PLAIN_NAMES.fullmatch(disposition):
        return plain[1], plain[2]
    kind, options = parse_options_header(disposition)
    name = options.get("name")
    if kind.lower() != "form-data" or not name:
        raise MalformedBody("A part of the form has no name")
    return name, options.get("filename")


def unescaped(name: str) -> str:
    """Undo what browsers do to names in a form's headers (HTML §4.10.21.8)."""
    return name.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")
