"""Conditional requests: what If-… headers decide before any byte is looked at (RFC 9110 §13).

It is given validators and header values; it knows neither files nor responses. The method is
always GET or HEAD.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

_TAG: Final = re.compile(r'[ \t,]*(W/)?"([\x21\x23-\x7e\x80-\xff]*)"[ \t]*(?=,|$)')
_REST: Final = re.compile(r"[ \t,]*$")

_DATE_FORMS: Final = (
    "%a, %d %b %Y %H:%M:%S GMT",
    "%A, %d-%b-%y %H:%M:%S GMT",
    "%a %b %d %H:%M:%S %Y",
)
"""The form in use, and the two that a recipient must still read (RFC 9110 §5.6.7)."""


class EntityTag(NamedTuple):
    """An entity tag without its quotes."""

    opaque: str
    weak: bool


def parse_tags(header: str) -> tuple[EntityTag, ...]:
    """Return the tags of a list; a list that is malformed anywhere has none.

    So a malformed If-Match fails and a malformed If-None-Match has no effect: both are safe.
    """
    tags = tuple(_scan_tags(header))
    return () if None in tags else tuple(tag for tag in tags if tag is not None)


def _scan_tags(header: str) -> Iterator[EntityTag | None]:
    """Yield each tag, and None where something else stands. Linear in the header's length."""
    position = 0
    while match := _TAG.match(header, position):
        yield EntityTag(match[2], match[1] is not None)
        position = match.end()
    if not _REST.match(header, position):
        yield None


def parse_date(header: str | None) -> datetime | None:
    """Return an HTTP-date in UTC; None where there is none or it is anything else.

    Werkzeug's parser raises on a year out of range, and reads a date with more behind it.
    """
    if header is None:
        return None
    for form in _DATE_FORMS:
        with suppress(ValueError):
            return datetime.strptime(header.strip(" \t"), form).replace(tzinfo=UTC)
    return None


def precondition(
    headers: Mapping[str, str], *, etag: str, modified: datetime
) -> Literal[304, 412] | None:
    """Return the status that the preconditions demand, or None to go on to the range.

    Evaluates them in the order of §13.2.2. `headers` has lowercase names, `etag` is strong and
    without quotes, `modified` is aware and in whole seconds. Dates that do not parse are ignored.
    """
    if (wanted := headers.get("if-match")) is not None:
        if not _matches_strongly(wanted, etag):
            return 412
    elif (since := parse_date(headers.get("if-unmodified-since"))) and modified > since:
        return 412
    if (known := headers.get("if-none-match")) is not None:
        return 304 if _matches_weakly(known, etag) else None
    if (since := parse_date(headers.get("if-modified-since"))) and modified <= since:
        return 304
    return None


def range_applies(if_range: str | None, *, etag: str, modified: datetime) -> bool:
    """Say whether a Range counts, given the If-Range beside it (§13.1.5).

    A date is a strong validator here, since the bytes of a file never change; it must be the very
    one that was sent.
    """
    if if_range is None:
        return True
    value = if_range.strip(" \t")
    if value.startswith(('"', "W/")):
        return parse_tags(value) == (EntityTag(etag, weak=False),)
    return parse_date(value) == modified


def _matches_strongly(header: str, etag: str) -> bool:
    return header.strip(" \t") == "*" or EntityTag(etag, weak=False) in parse_tags(header)


def _matches_weakly(header: str, etag: str) -> bool:
    return header.strip(" \t") == "*" or any(tag.opaque == etag for tag in parse_tags(header))
