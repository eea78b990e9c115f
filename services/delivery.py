"""The one way out: decides how a request for a file is answered, and moves no byte itself.

`plan` is a pure function of the file's row, the request's headers, how the caller came by the
file, and the time. Everything an answer under `/uploads` says is in the Plan; whoever carries it
out (a view, an event loop, a proxy in front) only sends it. It must not know Flask, storage, or
who the caller is.

    preconditions ──▸ 412, 304        services.conditions
    range         ──▸ 416, 206        services.ranges
    otherwise     ──▸ 200
    hand-off      ──▸ another server sends the 200 or 206    services.handoff
"""

import base64
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import format_datetime
from enum import Enum, auto
from functools import lru_cache
from typing import Final

from services.conditions import precondition, range_applies
from services.cors import CorsPolicy, Header
from services.disposition import content_disposition
from services.handoff import (
    MARGIN,
    HandOff,
    Way,
    accelerated,
    answers_alike,
    internal_lease,
    lease,
    redirected,
)
from services.problems import error_document
from services.ranges import ByteRange, Piece, multipart, requested_ranges, total_length
from services.stored import StoredFile

Headers = tuple[Header, ...]

METHODS: Final = ("GET", "HEAD", "OPTIONS")

REQUEST_HEADERS: Final = (
    "accept",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "origin",
    "range",
    "want-repr-digest",
)
"""All headers of a request that a plan depends on."""

CONTENT_SECURITY_POLICY: Final = (
    "sandbox; default-src 'none'; img-src 'self'; media-src 'self'; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)
"""Opened in a tab, a file has no origin, no scripts and no network. Browsers' own pages for
images, audio, video, text and PDF (Chromium 156 shows each) need only to style themselves and to
load the file itself."""

_SAFETY: Final[Headers] = (
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
    ("Referrer-Policy", "no-referrer"),
)


@dataclass(frozen=True, slots=True)
class DeliveryRequest:
    """What is asked for.

    `headers` has lowercase names, those of REQUEST_HEADERS at least. `filename` is the name in
    the URL, None for a bare id; `download` asks for the file to be saved and not shown.
    """

    method: str
    headers: Mapping[str, str]
    filename: str | None
    download: bool


class Grant(Enum):
    """By what right a caller has a file."""

    PUBLIC = auto()
    """The file is everyone's."""
    PERSONAL = auto()
    """The caller showed a key or a cookie."""
    SIGNED = auto()
    """The link itself is signed, and good for a while."""


@dataclass(frozen=True, slots=True)
class Access:
    """How the caller came by the file. `seconds_left` is the remaining life of a signed link."""

    grant: Grant
    seconds_left: int = 0


PUBLIC: Final = Access(Grant.PUBLIC)
PERSONAL: Final = Access(Grant.PERSONAL)


_STORE_LINK_LIFE: Final = {Grant.PUBLIC: 3600, Grant.PERSONAL: 900, Grant.SIGNED: 3600}
"""Seconds that a store's link is good for: fewer for what a key has opened, since it needs none."""


@dataclass(frozen=True, slots=True)
class Plan:
    """An answer but for its bytes.

    `pieces` make up the body, in order; there are none for HEAD, though `headers` and `length`
    (in bytes) are those of the GET. With `hand_off` another server sends the bytes: `headers` then
    lack the one that tells it which (see `services.ways`).
    """

    status: int
    headers: Headers
    pieces: tuple[Piece, ...] = ()
    length: int = 0
    hand_off: HandOff | None = None


def plan(
    file: StoredFile,
    request: DeliveryRequest,
    *,
    access: Access,
    cors: CorsPolicy,
    now: datetime,
    way: Way | None = None,
    vary: str = "",
) -> Plan:
    """Decide the answer to a GET or HEAD of `file` by a caller that may read it.

    `way` is how another server could send the bytes, None where only we can. `vary` names a header
    of the request by which `file` was chosen, if there is one.
    """
    file = _cached_while_it_lives(file, now)
    # A clock that was set back must not put Last-Modified in the future (RFC 9110 §8.8.2.1).
    modified = min(file.created_at, now).replace(microsecond=0)
    # Every answer carries these, 304 too: it updates what a cache has stored (§15.4.5).
    every = (
        ("ETag", f'"{file.etag}"'),
        *_safety_headers(access),
        *_varying(vary, cors.headers(request.headers.get("origin"))),
    )
    match precondition(request.headers, etag=file.etag, modified=modified):
        case 412:
            message = "The file is not the one that was expected"
            answer = _refusal(412, "precondition_failed", message, request, every)
        case 304:
            answer = Plan(304, (("Cache-Control", _cache_control(file, request, access)), *every))
        case _:
            answer = _content(file, request, access, modified, every)
            if way is not None and _can_hand_off(file, request, answer, way):
                answer = _handed_off(file, request, access, answer, way, now)
    return replace(answer, pieces=()) if request.method == "HEAD" else answer


def plan_options(request: DeliveryRequest, *, cors: CorsPolicy) -> Plan:
    """Answer OPTIONS, a preflight or not, without looking for the file."""
    allow = ("Allow", ", ".join(METHODS))
    return Plan(204, (allow, *cors.preflight_headers(request.headers.get("origin"))))


def error_headers(request: DeliveryRequest, *, cors: CorsPolicy) -> Headers:
    """Return what an error that is answered in place of a plan must say besides."""
    return (("Cache-Control", "no-store"), *cors.headers(request.headers.get("origin")))


def _content(
    file: StoredFile, request: DeliveryRequest, access: Access, modified: datetime, every: Headers
) -> Plan:
    """Answer with bytes: all of them, one range, several, or none that exist."""
    ranges = _wanted_ranges(file, request, modified)
    if ranges is not None and not ranges:
        extent = (("Content-Range", f"bytes */{file.size}"), ("Accept-Ranges", "bytes"))
        message = f"The file has {file.size} bytes, and none in this range"
        return _refusal(416, "range_not_satisfiable", message, request, (*extent, *every))
    described = (
        ("Cache-Control", _cache_control(file, request, access)),
        *every,
        *_representation_headers(file, request, modified),
    )
    content_type = _content_type(file)
    if ranges is None:
        return _with_body(200, content_type, described, (ByteRange(0, file.size),))
    if len(ranges) == 1:
        place = ("Content-Range", ranges[0].content_range(file.size))
        return _with_body(206, content_type, (place, *described), ranges)
    boundary = _boundary(file)
    parts = multipart(ranges, size=file.size, content_type=content_type, boundary=boundary)
    several = f"multipart/byteranges; boundary={boundary}"
    return _with_body(206, several, described, tuple(parts))


def _can_hand_off(file: StoredFile, request: DeliveryRequest, answer: Plan, way: Way) -> bool:
    """Say whether another server would give `answer` as well. HEAD moves no bytes."""
    if request.method != "GET" or file.size == 0 or len(answer.pieces) != 1:
        return False
    # A Range that does not count here may count elsewhere.
    if answer.status != (206 if "range" in request.headers else 200):
        return False
    return answers_alike(way, request.headers, etag=file.etag)


def _handed_off(
    file: StoredFile,
    request: DeliveryRequest,
    access: Access,
    answer: Plan,
    way: Way,
    now: datetime,
) -> Plan:
    """Turn `answer` into one that has another server send its bytes.

    There is no redirect to a store whose link could end before the client follows it.
    """
    said = dict(answer.headers)
    content_type, disposition = said["Content-Type"], said["Content-Disposition"]
    if way is Way.ACCEL:
        # nginx says all of that by itself, and the store nothing of it.
        told = HandOff(way, internal_lease(now))
        return Plan(200, accelerated(answer.headers), hand_off=told)
    last = _last_second(file, access, now)
    granted = lease(now, _STORE_LINK_LIFE[access.grant], until=last)
    spare = granted.left(now) - MARGIN
    if spare <= 0:
        return answer
    # The link is the same for a whole window, and what is left until an end is not.
    free = last is None or access.grant is Grant.PERSONAL
    kept = said["Cache-Control"] if free else "private, no-cache"
    told = HandOff(way, granted, content_type, disposition, kept)
    own = _cache_control(file, request, access, at_most=spare)
    return Plan(302, redirected(answer.headers, cache_control=own), hand_off=told)


def _last_second(file: StoredFile, access: Access, now: datetime) -> int | None:
    """Return the second since 1970 that no link to the store may outlive, if there is one."""
    ends = [] if file.expires_at is None else [int(file.expires_at.timestamp())]
    if access.grant is Grant.SIGNED:
        # A second early rather than late, since what is left was rounded.
        ends.append(math.ceil(now.timestamp() + access.seconds_left) - 1)
    return min(ends, default=None)


def _varying(name: str, headers: Headers) -> Headers:
    """Add a name to the Vary that is among `headers`, or one of its own."""
    if not name:
        return headers
    names = [name, *(value for header, value in headers if header == "Vary")]
    return (*(each for each in headers if each[0] != "Vary"), ("Vary", ", ".join(names)))


def _with_body(status: int, content_type: str, headers: Headers, pieces: tuple[Piece, ...]) -> Plan:
    length = total_length(pieces)
    framing = (("Content-Type", content_type), ("Content-Length", str(length)))
    return Plan(status, (*framing, *headers), pieces, length)


def _refusal(
    status: int, code: str, message: str, request: DeliveryRequest, headers: Headers
) -> Plan:
    """Answer with an error, which no cache may keep: the same URL has an answer for others."""
    accept = request.headers.get("accept", "")
    content_type, body = error_document(status, code, message, accept=accept)
    return _with_body(status, content_type, (("Cache-Control", "no-store"), *headers), (body,))


def _wanted_ranges(
    file: StoredFile, request: DeliveryRequest, modified: datetime
) -> tuple[ByteRange, ...] | None:
    """Return the ranges to send, none if none exist, None for the whole file.

    Range is defined for GET alone (§14.2).
    """
    header = request.headers.get("range")
    if header is None or request.method != "GET":
        return None
    if not range_applies(request.headers.get("if-range"), etag=file.etag, modified=modified):
        return None
    return requested_ranges(header, file.size)


def _representation_headers(
    file: StoredFile, request: DeliveryRequest, modified: datetime
) -> Headers:
    """Describe the whole file, whichever part of it is sent."""
    described = (
        ("Last-Modified", _http_date(modified)),
        ("Accept-Ranges", "bytes"),
        (
            "Content-Disposition",
            content_disposition(file.filename, file.content_type, download=request.download),
        ),
    )
    if file.sha256 is None or not _wants_digest(request.headers.get("want-repr-digest", "")):
        return described
    digest = base64.b64encode(bytes.fromhex(file.sha256)).decode("ascii")
    return (*described, ("Repr-Digest", f"sha-256=:{digest}:"))


@lru_cache(1024)
def _http_date(moment: datetime) -> str:
    """Write a moment as HTTP does (RFC 9110 §5.6.7)."""
    return format_datetime(moment, usegmt=True)


def _wants_digest(preferences: str) -> bool:
    """Say whether a Want-Repr-Digest (RFC 9530 §4) leaves room for SHA-256: all but 0 does."""
    weights = dict(item.strip().partition("=")[::2] for item in preferences.split(","))
    return weights.get("sha-256", "").partition(";")[0].strip() != "0"


def _cached_while_it_lives(file: StoredFile, now: datetime) -> StoredFile:
    """Return the file with no more time in caches than it has left."""
    if file.expires_at is None:
        return file
    left = max(int((file.expires_at - now).total_seconds()), 0)
    return replace(file, cache_max_age=min(file.cache_max_age, left))


def _cache_control(
    file: StoredFile, request: DeliveryRequest, access: Access, *, at_most: int | None = None
) -> str:
    """Say who may keep the answer and for how long: `at_most` seconds, where there is such a limit.

    Only the link with the current name is kept without asking: after a rename its URL is another.
    A signed link is one too, and caches may keep for everyone what everyone with the link may have.
    """
    if access.grant is Grant.PERSONAL:
        return "private, no-store"
    limits = [file.cache_max_age, *([] if at_most is None else [at_most])]
    if access.grant is Grant.SIGNED:
        return f"public, max-age={max(min(*limits, access.seconds_left), 0)}"
    if request.filename != file.filename or file.cache_max_age <= 0:
        return "public, no-cache"
    return f"public, max-age={min(limits)}" + (", immutable" if at_most is None else "")


def _safety_headers(access: Access) -> Headers:
    """Keep what a stranger uploaded from acting in our name.

    A link that works without a cookie is there to be embedded by pages of other origins.
    """
    readers = "same-origin" if access.grant is Grant.PERSONAL else "cross-origin"
    return (*_SAFETY, ("Cross-Origin-Resource-Policy", readers))


def _content_type(file: StoredFile) -> str:
    """Return the sniffed type. Text says UTF-8: left alone, browsers guess, and each its own."""
    if file.content_type.startswith("text/") and ";" not in file.content_type:
        return f"{file.content_type}; charset=utf-8"
    return file.content_type


def _boundary(file: StoredFile) -> str:
    """Return 128 bits that the file cannot contain, the same in every process.

    No one who makes up bytes can know them: the tag depends on the bytes, and the key is secret.
    """
    return hashlib.blake2b(f"{file.key} {file.etag}".encode(), digest_size=16).hexdigest()
