"""What the IETF drafts of resumable uploads say in headers, each version in its own way. No I/O.

draft-ietf-httpbis-resumable-upload, by interop version:

    3  -01        Upload-Incomplete, the reverse of what came later
    4  -02        Upload-Complete
    5  -03        tus-js-client's `ietf-draft-03`
    6  -04, -05   application/partial-upload, Upload-Limit, Upload-Length; `ietf-draft-05`
    7  -06 … -08  `expires` is now `max-age`; 204 for an append that is not the last
    8  -09 …

It knows neither uploads in the database nor bytes; header names it is given are in lowercase.
Fields are those of RFC 9651: one that is malformed is as good as absent (its §4.2).
"""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from werkzeug.http import parse_options_header

from services.errors import HoldallError, InvalidField, OffsetMismatch, UnsupportedBody


class Version(IntEnum):
    """An interop version that is spoken here."""

    V3 = 3
    V4 = 4
    V5 = 5
    V6 = 6
    V7 = 7
    V8 = 8


LATEST: Final = Version.V8
PARTIAL_TYPE: Final = "application/partial-upload"

CREATION_STATUS: Final = 201
STATE_STATUS: Final = 204
CANCELLATION_STATUS: Final = 204
INTERIM_STATUS: Final = 104

_OF_PROXIES: Final = frozenset({"forwarded", "via", "x-forwarded-for"})
_PROBLEMS: Final = "https://iana.org/assignments/http-problem-types#"
_LARGEST_INTEGER: Final = 10**15 - 1
_BARE: Final = (
    r'(?:"(?:[ !\x23-\x5b\x5d-\x7e]|\\["\\])*"'  # string
    r'|%"(?:[ !\x23\x24\x26-\x7e]|%[0-9a-f]{2})*"'  # display string
    r"|-?[0-9]{1,12}\.[0-9]{1,3}|@?-?[0-9]{1,15}"  # decimal, date, integer
    r"|:[A-Za-z0-9+/=]*:|\?[01]"  # byte sequence, boolean
    r"|[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*)"  # token
)
_PARAMETERS: Final = rf"(?:; *[a-z*][a-z0-9_.*-]*(?:={_BARE})?)*"
_BOOLEAN: Final = re.compile(rf" *\?([01]){_PARAMETERS} *")
_INTEGER: Final = re.compile(rf" *(-?[0-9]{{1,15}}){_PARAMETERS} *")

Header = tuple[str, str]


class InconsistentLength(InvalidField):
    """A request, or two of them, tell different lengths of the same upload."""


@dataclass(frozen=True, slots=True)
class Creation:
    """What the request that begins an upload asks for.

    `complete` says that its body ends the upload. `length` is in bytes, None while it is unknown.
    `content_type` and `filename` are the representation's, None where it does not say.
    """

    version: Version
    complete: bool
    length: int | None
    content_type: str | None
    filename: str | None


@dataclass(frozen=True, slots=True)
class Append:
    """What a PATCH asks for: where its bytes go, whether they end the upload, and its length."""

    version: Version
    offset: int
    complete: bool
    length: int | None


def speaks(headers: Mapping[str, str]) -> Version | None:
    """Return the version whose rules hold for a request, None for one that is of no draft.

    One that names no version known here, and yet says Upload-Complete, is held to the latest.
    """
    if (version := _named_version(headers)) is not None:
        return version
    return LATEST if parse_boolean(headers.get("upload-complete")) is not None else None


def takes_interim(headers: Mapping[str, str]) -> bool:
    """Say whether a 104 may be sent: only on an exact match, as others take it for the answer.

    So do proxies (nginx 1.22 does), whoever may be behind them.
    """
    return _named_version(headers) is not None and _OF_PROXIES.isdisjoint(headers)


def creation(headers: Mapping[str, str], version: Version, content_length: int | None) -> Creation:
    """Read the headers that begin an upload; `content_length` is None for a chunked body.

    Raises InvalidField when they do not say whether the upload is complete, and
    InconsistentLength.
    """
    complete = _complete(headers, version)
    if complete is None:
        raise InvalidField(f"{_flag_name(version)} is missing or not a boolean")
    if parse_integer(headers.get("upload-offset")):
        raise InvalidField("Upload-Offset of a new upload is not 0")
    content_type = headers.get("content-type", "").strip(" \t")
    return Creation(
        version=version,
        complete=complete,
        length=_length(headers, 0, content_length if complete else None),
        content_type=None if _is_partial(headers) else content_type or None,
        filename=_filename(headers.get("content-disposition", "")),
    )


def append(headers: Mapping[str, str], version: Version, content_length: int | None) -> Append:
    """Read the headers of a PATCH; `content_length` is None for a chunked body.

    Raises UnsupportedBody for another type than PARTIAL_TYPE from version 6 on, InvalidField for
    a field that is missing, and InconsistentLength.
    """
    if version >= Version.V6 and not _is_partial(headers):
        raise UnsupportedBody(f"The bytes of an upload are {PARTIAL_TYPE}", accept=PARTIAL_TYPE)
    offset = parse_integer(headers.get("upload-offset"))
    if offset is None:
        raise InvalidField("Upload-Offset is missing or not a number of bytes")
    complete = _complete(headers, version)
    if complete is None:
        complete = _unsaid(headers, version)
    length = _length(headers, offset, content_length if complete else None)
    return Append(version, offset, complete, length)


def require_bare(headers: Mapping[str, str], version: Version) -> None:
    """Raise InvalidField for a HEAD or DELETE with fields that drafts up to -05 forbid there."""
    forbidden = {"upload-offset", _flag_name(version).lower()}
    if version == Version.V6:
        forbidden.add("upload-length")
    if version <= Version.V6 and (found := forbidden & headers.keys()):
        raise InvalidField(f"{min(found).title()} does not go with this method")


def append_status(version: Version, *, complete: bool) -> int:
    """Return the status of an append: 201 up to -05 and when a file came of it, else 204."""
    return 201 if complete or version <= Version.V6 else 204


def progress_headers(version: Version, *, offset: int, complete: bool) -> tuple[Header, ...]:
    """Return what every answer about an upload says, a 409 with the true offset included.

    Later drafts ask for the offset in fewer answers; clients of the earlier ones rely on it.
    """
    said = complete if version >= Version.V4 else not complete
    return (
        ("Upload-Draft-Interop-Version", str(int(version))),
        ("Upload-Offset", str(offset)),
        (_flag_name(version), f"?{said:d}"),
    )


def state_headers(
    version: Version, *, offset: int, complete: bool, length: int | None
) -> tuple[Header, ...]:
    """Return what the answer to HEAD says, besides the limits."""
    known = () if length is None else (("Upload-Length", str(length)),)
    return (
        *progress_headers(version, offset=offset, complete=complete),
        *known,
        ("Cache-Control", "no-store"),
    )


def limit_headers(
    version: Version,
    *,
    max_size: int | None = None,
    max_append_size: int | None = None,
    min_append_size: int | None = None,
    seconds_left: int | None = None,
) -> tuple[Header, ...]:
    """Return Upload-Limit, sizes in bytes; there was none before version 6.

    Without any limit it is `min-size=0`, since the field is how support is recognised.
    """
    if version < Version.V6:
        return ()
    limits = {
        "max-size": max_size,
        "max-append-size": max_append_size,
        "min-append-size": min_append_size,
        "expires" if version == Version.V6 else "max-age": seconds_left,
    }
    members = [
        f"{key}={min(max(value, 0), _LARGEST_INTEGER)}"
        for key, value in limits.items()
        if value is not None
    ]
    return (("Upload-Limit", ", ".join(members or ["min-size=0"])),)


def interim_response(version: Version, headers: Iterable[Header]) -> bytes:
    """Return a 104 for the wire of HTTP/1.1; `headers` are Location and limits, or an offset."""
    lines = ("Upload-Draft-Interop-Version", str(int(version))), *headers
    text = "".join(f"{name}: {value}\r\n" for name, value in lines)
    return f"HTTP/1.1 104 Upload Resumption Supported\r\n{text}\r\n".encode("latin-1")


def problem(error: HoldallError, provided_offset: int | None = None) -> dict[str, str | int]:
    """Return what the drafts add to a problem document (RFC 9457) about `error`, if anything."""
    if isinstance(error, OffsetMismatch):
        found: dict[str, str | int] = {
            "type": f"{_PROBLEMS}mismatching-upload-offset",
            "title": "The offset of the request is not that of the upload",
            "expected-offset": error.offset,
        }
        return found if provided_offset is None else found | {"provided-offset": provided_offset}
    if isinstance(error, InconsistentLength):
        return {
            "type": f"{_PROBLEMS}inconsistent-upload-length",
            "title": "The upload has been given different lengths",
        }
    return {}


def parse_boolean(value: str | None) -> bool | None:
    """Return an Item that is a Boolean (RFC 9651 §3.3.6), None for anything else."""
    match = _BOOLEAN.fullmatch(value or "")
    return match[1] == "1" if match else None


def parse_integer(value: str | None) -> int | None:
    """Return an Item that is an Integer (RFC 9651 §3.3.1) and not negative, else None."""
    match = _INTEGER.fullmatch(value or "")
    return int(match[1]) if match and int(match[1]) >= 0 else None


def _named_version(headers: Mapping[str, str]) -> Version | None:
    named = parse_integer(headers.get("upload-draft-interop-version"))
    with suppress(ValueError):
        return Version(named or 0)
    return None


def _flag_name(version: Version) -> str:
    return "Upload-Complete" if version >= Version.V4 else "Upload-Incomplete"


def _complete(headers: Mapping[str, str], version: Version) -> bool | None:
    """Return what the request says of its end, None where it does not say it."""
    said = parse_boolean(headers.get(_flag_name(version).lower()))
    return said if said is None or version >= Version.V4 else not said


def _unsaid(headers: Mapping[str, str], version: Version) -> bool:
    """Return what an append without the field means, or raise InvalidField.

    In -01 the last append has none. tus-js-client leaves it away when its source turns out to
    have ended: the length that comes with it tells then.
    """
    if version == Version.V3 and "upload-incomplete" not in headers:
        return True
    if version in (Version.V4, Version.V5, Version.V6):
        return False
    raise InvalidField(f"{_flag_name(version)} is missing or not a boolean")


def _length(headers: Mapping[str, str], offset: int, rest: int | None) -> int | None:
    """Return the length that Upload-Length, or `rest` as the last bytes after `offset`, tells."""
    told = parse_integer(headers.get("upload-length"))
    counted = None if rest is None else offset + rest
    if told is not None and counted is not None and told != counted:
        raise InconsistentLength("Upload-Length is not where the last bytes end")
    return counted if told is None else told


def _is_partial(headers: Mapping[str, str]) -> bool:
    media_type = headers.get("content-type", "").partition(";")[0]
    return media_type.strip(" \t").lower() == PARTIAL_TYPE


def _filename(disposition: str) -> str | None:
    """Return the name in Content-Disposition (RFC 6266), UTF-8 in its plain form allowed for."""
    name = parse_options_header(disposition)[1].get("filename")
    with suppress(UnicodeError):
        return name and name.encode("latin-1").decode()
    return name
