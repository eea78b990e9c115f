"""The one way out: decides how a request for a file is answered, and moves no byte itself.

`plan` is a pure function of the file's row, the request's headers, how the caller came by the
file, and the time. Everything an answer under `/uploads` says is in the Plan; whoever carries it
out (a view, an event loop, a proxy in front) only sends it. It must not know Flask, storage, or
who the caller is.

    preconditions ──▸ 412, 304        services.conditions
    range         ──▸ 416, 206        services.ranges
    otherwise     ──▸ 200
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum, auto
from typing import Final

from werkzeug.http import http_date

from services.conditions import precondition, range_applies
from services.cors import CorsPolicy, Header
from services.disposition import content_disposition
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


@dataclass(frozen=True, slots=True)
class Plan:
    """An answer but for its bytes.

    `pieces` make up the body, in order; there are none for HEAD, though `headers` and `length`
    (in bytes) are those of the GET.
    """

    status: int
    headers: Headers
    pieces: tuple[Piece, ...] = ()
    length: int = 0


def plan(
    file: StoredFile,
    request: DeliveryRequest,
    *,
    access: Access,
    cors: CorsPolicy,
    now: datetime,
) -> Plan:
    """Decide the answer to a GET or HEAD of `file` by a caller that may read it."""
    # A clock that was set back must not put Last-Modified in the future (RFC 9110 §8.8.2.1).
    modified = min(file.created_at, now).replace(microsecond=0)
    # Every answer carries these, 304 too: it updates what a cache has stored (§15.4.5).
    every = (
        ("ETag", f'"{file.etag}"'),
        *_safety_headers(access),
        *cors.headers(request.headers.get("origin")),
    )
    match precondition(request.headers, etag=file.etag, modified=modified):
        case 412:
            message = "The file is not the one that was expected"
            answer = _refusal(412, "precondition_failed", message, request, every)
        case 304:
            answer = Plan(304, (("Cache-Control", _cache_control(file, request, access)), *every))
        case _:
            answer = _content(file, request, access, modified, every)
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
        ("Last-Modified", http_date(modified)),
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


def _wants_digest(preferences: str) -> bool:
    """Say whether a Want-Repr-Digest (RFC 9530 §4) leaves room for SHA-256: all but 0 does."""
    weights = dict(item.strip().partition("=")[::2] for item in preferences.split(","))
    return weights.get("sha-256", "").partition(";")[0].strip() != "0"


def _cache_control(file: StoredFile, request: DeliveryRequest, access: Access) -> str:
    """Say who may keep the answer and for how long.

    Only the link with the current name is kept without asking: after a rename its URL is another.
    """
    if access.grant is Grant.PERSONAL:
        return "private, no-store"
    if access.grant is Grant.SIGNED:
        return f"private, max-age={max(min(file.cache_max_age, access.seconds_left), 0)}"
    if request.filename == file.filename and file.cache_max_age > 0:
        return f"public, max-age={file.cache_max_age}, immutable"
    return "public, no-cache"


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
