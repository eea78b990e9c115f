"""Whether another server may send a file's bytes in our place, and what it is told then.

Two ways: the client is redirected to the store with a link signed for it, or nginx in front of us
is told which object to send (X-Accel-Redirect). Both only for requests that the other server
answers as we would; it has other validators than ours, and knows neither our CORS nor our digests.

Decisions only: it knows neither Flask nor storage, and signs nothing.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Final

from services.cors import Header

_RENAMED: Final = {
    "Cache-Control": "X-Holdall-Cache-Control",
    "Content-Disposition": "X-Holdall-Content-Disposition",
}
"""What nginx is to put on a file that it sends. Under its own name it would stay on the error that
nginx makes when it cannot send it, and a cache would keep that error as long as the file."""

MARGIN: Final = 60
"""Seconds before a store's link ends from which it is no longer given to anyone."""

_INTERNAL_LIFE: Final = 300
_ONE_RANGE: Final = re.compile(r"bytes=(?:[0-9]{1,18}-[0-9]{0,18}|-[0-9]{1,18})", re.ASCII)


_OF_THE_BYTES: Final = frozenset(
    {
        "accept-ranges",
        "cache-control",
        "content-disposition",
        "content-length",
        "content-range",
        "content-type",
        "etag",
        "last-modified",
        "repr-digest",
        "vary",
    }
)
"""What a redirect does not repeat: the store says it, or another value stands there."""


class Way(Enum):
    """How another server sends the bytes; the value is the collection's `delivery`."""

    REDIRECT = "redirect"
    ACCEL = "x-accel"


@dataclass(frozen=True, slots=True)
class Lease:
    """When a store's link is signed, and for how many seconds from then it is good."""

    signed_at: datetime
    expires_in: int

    def left(self, now: datetime) -> int:
        """Return the whole seconds that the link is still good for."""
        end = self.signed_at + timedelta(seconds=self.expires_in)
        return math.floor((end - now).total_seconds())


@dataclass(frozen=True, slots=True)
class HandOff:
    """What the other server is told: a link's life, and the headers that a store is to answer with.

    A header that is empty is left to the store.
    """

    way: Way
    lease: Lease
    content_type: str = ""
    disposition: str = ""
    cache_control: str = ""


def answers_alike(way: Way, headers: Mapping[str, str], *, etag: str) -> bool:
    """Say whether a GET that we would answer with the file, or one range of it, can be handed off.

    `headers` has lowercase names; `etag` is ours, without quotes.
    """
    if "if-match" in headers or "if-unmodified-since" in headers:
        return False
    if not _ONE_RANGE.fullmatch(headers.get("range", "bytes=0-")):
        return False
    if way is Way.ACCEL:
        # nginx compares with the ETag that the sample gives back, and only a range that applies is
        # one that it sends.
        return headers.get("if-range", f'"{etag}"') == f'"{etag}"'
    return not headers.keys() & {"if-range", "origin", "want-repr-digest"}


def lease(now: datetime, life: int, *, until: int | None = None) -> Lease:
    """Return the life of a store's link, the same for every process in a window of `life` / 4.

    `until` is a second since 1970 that it must not outlive; None for no such end.
    """
    window = life // 4
    start = int(now.timestamp()) // window * window
    end = start + life if until is None else min(start + life, until)
    return Lease(datetime.fromtimestamp(start, UTC), end - start)


def internal_lease(now: datetime) -> Lease:
    """Return the life of a link that nginx follows at once and nobody else sees."""
    return Lease(now.replace(microsecond=0), _INTERNAL_LIFE)


def accelerated(headers: tuple[Header, ...]) -> tuple[Header, ...]:
    """Return what nginx is told: all that the answer says, for it to say in its own.

    Accept-Ranges would be there twice, since nginx says it of the files that it sends.
    """
    own = ("content-length", "content-range", "accept-ranges")
    said = tuple((_RENAMED.get(n, n), value) for n, value in headers if n.lower() not in own)
    return (("Content-Length", "0"), *said)


def redirected(headers: tuple[Header, ...], *, cache_control: str) -> tuple[Header, ...]:
    """Return what a redirect says. Pages of other origins get another answer, whoever they are."""
    said = tuple(header for header in headers if header[0].lower() not in _OF_THE_BYTES)
    own = (("Content-Length", "0"), ("Cache-Control", cache_control), ("Vary", "Origin"))
    return (*own, *said)
