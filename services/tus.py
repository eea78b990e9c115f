"""What tus 1.0.0 says in headers: requests read strictly, states written. No I/O.

Every rule here is of https://tus.io/protocols/resumable-upload (1.0.0), its core and its
extensions. It knows neither uploads in the database nor bytes; header names it is given are in
lowercase.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

from services.digests import ExpectedDigest
from services.errors import InvalidField, NotPermitted, UnsupportedBody, VersionMismatch

VERSION: Final = "1.0.0"
OFFSET_TYPE: Final = "application/offset+octet-stream"
CHECKSUM_ALGORITHMS: Final = ("sha1", "sha256", "sha512", "md5")
EXTENSIONS: Final = (
    "creation,creation-with-upload,creation-defer-length,"
    "expiration,checksum,termination,concatenation"
)
PREFIX: Final = "/api/tus/"
"""What stands before the id in the path of an upload."""

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"})
_DECIMAL: Final = re.compile(r"[0-9]{1,19}")
_KEY: Final = re.compile(r"[\x21-\x2b\x2d-\x7e]+")
_ID: Final = r"([A-Za-z0-9_-]{1,64})"
_LINK: Final = r"(?:\?link=[A-Za-z0-9._-]{1,8192})?"
_FINAL: Final = "final;"

Header = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Creation:
    """What a POST asks for.

    `length` is in bytes; None says that it is deferred or, with `parts`, their sum. `metadata` is
    decoded, `metadata_header` as it came, for HEAD. `partial` marks an upload that is to be joined
    with others, `parts` are the ids of those that make a final one. `with_upload` says that the
    body is its first bytes, and that the answer tells the offset after them.
    """

    length: int | None
    metadata: Mapping[str, str] = field(default_factory=dict)
    metadata_header: str | None = None
    partial: bool = False
    parts: tuple[str, ...] = ()
    with_upload: bool = False
    checksum: ExpectedDigest | None = None


@dataclass(frozen=True, slots=True)
class Append:
    """What a PATCH asks for: where its bytes go, and the length when this is what tells it."""

    offset: int
    length: int | None = None
    checksum: ExpectedDigest | None = None


def require_version(headers: Mapping[str, str]) -> None:
    """Raise VersionMismatch unless the client speaks 1.0.0. OPTIONS is exempt."""
    if headers.get("tus-resumable", "").strip(" \t") != VERSION:
        raise VersionMismatch(f"Tus-Resumable is not {VERSION}, the version spoken here")


def effective_method(method: str, headers: Mapping[str, str]) -> str:
    """Return the method that counts: that of X-HTTP-Method-Override if there is one.

    Raises InvalidField when it names a method that no upload has.
    """
    named = headers.get("x-http-method-override", "").strip(" \t").upper()
    if named and named not in _METHODS:
        raise InvalidField("X-HTTP-Method-Override is not a method of an upload")
    return named or method


def creation(headers: Mapping[str, str], *, has_body: bool, prefix: str = PREFIX) -> Creation:
    """Read the headers of a POST, `has_body` saying whether bytes follow them.

    Raises InvalidField, UnsupportedBody for bytes of another type than OFFSET_TYPE, and
    NotPermitted for bytes that come with a final upload.
    """
    with_upload = _media_type(headers) == OFFSET_TYPE
    if has_body and not with_upload:
        raise UnsupportedBody(
            f"Bytes that come with a creation are {OFFSET_TYPE}", accept=OFFSET_TYPE
        )
    partial, parts = _concat(headers.get("upload-concat"), prefix)
    if parts and has_body:
        raise NotPermitted("A final upload takes no bytes")
    metadata = headers.get("upload-metadata", "").strip(" \t")
    return Creation(
        length=_declared_length(headers, final=bool(parts)),
        metadata=parse_metadata(metadata),
        metadata_header=metadata or None,
        partial=partial,
        parts=parts,
        with_upload=with_upload and not parts,
        checksum=checksum(headers),
    )


def append(headers: Mapping[str, str]) -> Append:
    """Read the headers of a PATCH. Raises UnsupportedBody and InvalidField."""
    if _media_type(headers) != OFFSET_TYPE:
        raise UnsupportedBody(f"The bytes of an upload are {OFFSET_TYPE}", accept=OFFSET_TYPE)
    offset = _decimal(headers, "Upload-Offset")
    if offset is None:
        raise InvalidField("Upload-Offset is missing")
    return Append(offset, _decimal(headers, "Upload-Length"), checksum(headers))


def checksum(headers: Mapping[str, str]) -> ExpectedDigest | None:
    """Read Upload-Checksum: an algorithm, a space, the digest in base64. Raises InvalidField."""
    value = headers.get("upload-checksum")
    if value is None:
        return None
    algorithm, _, encoded = value.strip(" \t").partition(" ")
    if algorithm not in CHECKSUM_ALGORITHMS:
        raise InvalidField(f"Upload-Checksum is of none of {', '.join(CHECKSUM_ALGORITHMS)}")
    digest = _base64("Upload-Checksum", encoded)
    if len(digest) != hashlib.new(algorithm, usedforsecurity=False).digest_size:
        raise InvalidField("Upload-Checksum has the wrong length for its algorithm")
    return ExpectedDigest(algorithm, digest)


def parse_metadata(value: str) -> dict[str, str]:
    """Return the pairs of Upload-Metadata, a key without a value having an empty one.

    Raises InvalidField for a key that is empty, not ASCII or there twice, and for a value that is
    not UTF-8 in base64.
    """
    pairs: dict[str, str] = {}
    for pair in value.split(",") if value.strip(" \t") else ():
        key, _, encoded = pair.strip(" \t").partition(" ")
        if not _KEY.fullmatch(key):
            raise InvalidField("Upload-Metadata has a key that is empty or not ASCII")
        if key in pairs:
            raise InvalidField("Upload-Metadata has a key twice")
        try:
            pairs[key] = _base64("Upload-Metadata", encoded).decode()
        except UnicodeDecodeError as error:
            raise InvalidField("Upload-Metadata has a value that is not UTF-8") from error
    return pairs


def discovery_headers(max_size: int) -> tuple[Header, ...]:
    """Return what the answer to OPTIONS says, `max_size` in bytes."""
    return (
        ("Tus-Resumable", VERSION),
        ("Tus-Version", VERSION),
        ("Tus-Extension", EXTENSIONS),
        ("Tus-Max-Size", str(max_size)),
        ("Tus-Checksum-Algorithm", ",".join(CHECKSUM_ALGORITHMS)),
    )


def state_headers(
    *,
    offset: int | None,
    length: int | None,
    metadata: str | None = None,
    concat: str | None = None,
    expires: datetime | None = None,
) -> tuple[Header, ...]:
    """Return what the answer to HEAD says.

    `offset` is None for a final upload that is not joined yet, `length` None while it is deferred.
    `metadata` and `concat` are the headers of the creation, `expires` is aware.
    """
    headers = [("Tus-Resumable", VERSION), ("Cache-Control", "no-store")]
    if offset is not None:
        headers.append(("Upload-Offset", str(offset)))
    if length is not None:
        headers.append(("Upload-Length", str(length)))
    elif concat is None or not concat.startswith(_FINAL):
        headers.append(("Upload-Defer-Length", "1"))
    if metadata:
        headers.append(("Upload-Metadata", metadata))
    if concat:
        headers.append(("Upload-Concat", concat))
    return (*headers, *expiry_headers(expires))


def append_headers(offset: int, expires: datetime | None) -> tuple[Header, ...]:
    """Return what the answer to PATCH says, and to a POST that brought bytes."""
    return (
        ("Tus-Resumable", VERSION),
        ("Upload-Offset", str(offset)),
        *expiry_headers(expires),
    )


def expiry_headers(expires: datetime | None) -> tuple[Header, ...]:
    """Return Upload-Expires (an HTTP-date, RFC 9110 §5.6.7), nothing where there is no end."""
    if expires is None:
        return ()
    return (("Upload-Expires", format_datetime(expires.astimezone(UTC), usegmt=True)),)


def concat_header(
    *, partial: bool = False, parts: Iterable[str] = (), prefix: str = PREFIX
) -> str | None:
    """Return Upload-Concat of an upload, None where it is neither partial nor final."""
    urls = " ".join(f"{prefix}{part}" for part in parts)
    return f"{_FINAL}{urls}" if urls else "partial" if partial else None


def _concat(value: str | None, prefix: str) -> tuple[bool, tuple[str, ...]]:
    """Return whether the upload is partial, and of which uploads it is made.

    A URL may name any host, since a service has as many names as it has proxies: what counts is
    the id. Its path is `prefix` and an id and nothing else, so that nothing can be resolved away;
    the link by which the part was uploaded may follow.
    """
    if value is None:
        return False, ()
    kind = value.strip(" \t")
    if kind == "partial":
        return True, ()
    if not kind.startswith(_FINAL):
        raise InvalidField("Upload-Concat is neither partial nor final;…")
    urls = [url for url in kind.removeprefix(_FINAL).split(" ") if url]
    if not urls:
        raise InvalidField("Upload-Concat names no upload to be made of")
    named = re.compile(r"(?:(?i:https?)://[^/?#@\\\s]+)?" + re.escape(prefix) + _ID + _LINK)
    matches = [named.fullmatch(url) for url in urls]
    if None in matches:
        raise InvalidField("Upload-Concat names something that is not an upload here")
    return False, tuple(match[1] for match in matches if match)


def _declared_length(headers: Mapping[str, str], *, final: bool) -> int | None:
    length = _decimal(headers, "Upload-Length")
    deferred = headers.get("upload-defer-length")
    if deferred is not None and deferred.strip(" \t") != "1":
        raise InvalidField("Upload-Defer-Length is not 1")
    given = (length is not None) + (deferred is not None)
    if final and given:
        raise InvalidField("Upload-Length does not go with a final upload, which has its parts'")
    if not final and given != 1:
        raise InvalidField("Upload-Length or Upload-Defer-Length is needed, and not both")
    return length


def _decimal(headers: Mapping[str, str], name: str) -> int | None:
    """Return a number of bytes below 2**63, None where there is no such header."""
    value = headers.get(name.lower())
    if value is None:
        return None
    digits = value.strip(" \t")
    if not _DECIMAL.fullmatch(digits) or int(digits) >= 2**63:
        raise InvalidField(f"{name} is not a number of bytes")
    return int(digits)


def _base64(name: str, encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise InvalidField(f"{name} is not valid base64") from error


def _media_type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").partition(";")[0].strip(" \t").lower()
