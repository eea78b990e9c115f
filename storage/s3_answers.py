"""How an S3 store's answers read: entity tags, times, ranges and descriptions of objects.

Pure functions over values; knows neither the network nor the SDK.
"""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from storage.base import ObjectInfo
from storage.errors import IntegrityError, ObjectNotFound
from storage.keys import random_name

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

TOKEN: Final = "holdall-write"
"""The metadata in which an object carries the token of the write that made it."""
TOKEN_LENGTH: Final = len(random_name())
_STORE_ID: Final = re.compile(r"(?!\.+\Z)[A-Za-z0-9._~=+-]{1,1024}", re.ASCII)
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]+)-[0-9]+/([0-9]+)", re.ASCII)


def described(key: str, head: "HeadObjectOutputTypeDef") -> ObjectInfo:
    """Read the answer to a HEAD."""
    size, modified = head["ContentLength"], in_utc(head["LastModified"])
    return ObjectInfo(key, size, plain(head["ETag"]), modified)


def plain(etag: str) -> str:
    """Return an entity tag without its quotes."""
    return etag.strip('"')


def in_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def sent_at(date: str | None) -> datetime:
    """Read an answer's Date: to a put, it is all that says when the object was stored."""
    return in_utc(parsedate_to_datetime(date)) if date else datetime.now(UTC)


def range_header(start: int, stop: int | None) -> str:
    """Write a half-open range the way of RFC 9110 §14.1.2."""
    return f"bytes={start}-" if stop is None else f"bytes={start}-{stop - 1}"


def content_range(text: str | None, size: int) -> tuple[int, int]:
    """Return where the bytes of an answer begin and how long the object is (RFC 9110 §14.4).

    `size` is how many bytes the answer has; without a range they are the whole object.
    """
    if text is None:
        return 0, size
    if not (match := _CONTENT_RANGE.fullmatch(text)):
        raise IntegrityError("the store describes a range in a way that cannot be read")
    return int(match[1]), int(match[2])


def store_id(upload_id: str) -> str:
    """Take our token off an upload's id; one that no store has made belongs to no upload."""
    if not _STORE_ID.fullmatch(upload_id, TOKEN_LENGTH):
        raise ObjectNotFound("there is no such upload")
    return upload_id[TOKEN_LENGTH:]


def foreign_id(upload_id: str) -> str:
    """Make an id like ours of a store's, with a token that no write has."""
    return "0" * TOKEN_LENGTH + upload_id
