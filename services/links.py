"""Signed links: to read one file without a key for a while, or to upload one.

A link to read is an URL under `/uploads` whose signature covers its path and its query, for GET
and HEAD. A link to upload is a token that any door for uploads takes as `link=`; all that it
allows stands in it, and nothing is written down before the file that comes by it is. Whether it
has had its file is the business of `services.used_links`.

It knows what URLs look like and no HTTP; bytes move elsewhere.
"""

import base64
import json
import logging
import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from services.caller import Caller, UploadLink
from services.errors import LinkExpired, LinkInvalid
from services.filenames import clean_filename, link_path
from services.files import Files
from services.ingest import Ingest
from services.signing import SIGNATURE, Signer
from storage.keys import random_name

log = logging.getLogger("holdall.links")

LONGEST: Final = 7 * 24 * 3600
"""Seconds that a link can be asked to hold at the most."""

READING: Final = frozenset({"disposition", "expires", "signature"})
"""The parameters of a link to read: a request with any of them has to be one."""

_QUERY: Final = re.compile(
    rf"(disposition=(inline|attachment)&expires=([1-9][0-9]{{12}}))&signature=({SIGNATURE})"
)
_TOKEN: Final = re.compile(rf"([A-Za-z0-9_-]{{1,4096}})\.({SIGNATURE})")
_NOT_OURS: Final = "This link was not made here, or not for this"
_OVER: Final = "This link has come to its end"


@dataclass(frozen=True, slots=True)
class ReadLink:
    """A link to a file's bytes: its path and query, and the moment from which it is refused."""

    path: str
    disposition: str
    filename: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class SignedUpload:
    """A link for one upload: its token, and what it allows. `max_size` is in bytes."""

    token: str
    collection: str
    max_size: int
    filename: str | None
    content_type: str | None
    expires_at: datetime


class Links:
    """Make signed links, and tell what one that is shown allows.

    `is_active` says whether the key with an id is still good. Links that no key has signed count
    only where `keyless` says so. `clock` gives seconds since 1970.
    """

    def __init__(
        self,
        secrets: Sequence[str],
        files: Files,
        ingest: Ingest,
        *,
        is_active: Callable[[str], bool],
        keyless: bool,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._reading = Signer(secrets, "link to read")
        self._uploading = Signer(secrets, "link to upload")
        self._files = files
        self._ingest = ingest
        self._is_active = is_active
        self._keyless = keyless
        self._clock = clock

    def to_read(
        self,
        caller: Caller,
        file_id: str,
        *,
        expires_in: int,
        disposition: str,
        filename: str | None = None,
    ) -> ReadLink:
        """Make a link to a file that `caller` may see, good for `expires_in` seconds or a bit more.

        Its end is put off to the next multiple of a quarter of `expires_in`, so that whoever asks
        in the meantime gets the same link and caches can keep what it leads to. `disposition` is
        `inline` or `attachment`; `filename` is what the file is saved as, its own unless given.
        Raises NotSignedIn, NotPermitted and FileNotFound.
        """
        file = self._files.get(caller, file_id)
        name = file.filename if filename is None else clean_filename(filename)
        expires = _put_off(self._clock(), expires_in)
        path = link_path(file.id, name)
        terms = f"disposition={disposition}&expires={expires}"
        log.info("link made", extra={"file": file.id, "key": caller.owner, "seconds": expires_in})
        signature = self._reading.sign(_message(f"/uploads/{file.id}/{name}".encode(), terms))
        return ReadLink(
            f"{path}?{terms}&signature={signature}", disposition, name, _moment(expires)
        )

    def verify(self, method: str, path: bytes, query: str) -> int:
        """Return the whole seconds that a link to read has left.

        `path` is percent-decoded, `query` as it came: only the very one that was made is good.
        Raises LinkInvalid and LinkExpired.
        """
        match = _QUERY.fullmatch(query)
        if match is None or method not in ("GET", "HEAD"):
            raise LinkInvalid(_NOT_OURS)
        terms, _, expires, signature = match.groups()
        if not self._reading.verify(_message(path, terms), signature):
            raise LinkInvalid(_NOT_OURS)
        left = int(expires) - self._clock() * 1000
        if left <= 0:
            raise LinkExpired(_OVER)
        return int(left // 1000)

    def to_upload(
        self,
        caller: Caller,
        *,
        expires_in: int,
        collection: str | None = None,
        max_size: int | None = None,
        filename: str | None = None,
        content_type: str | None = None,
    ) -> SignedUpload:
        """Make a link by which one file can be uploaded, as `caller`'s own, without a key.

        `max_size` is in bytes. `filename` and `content_type` count in place of what the uploader
        says. Raises NotSignedIn, NotPermitted and CollectionNotFound.
        """
        policy = self._ingest.policy_for(caller, collection)
        expires = math.ceil(self._clock() + expires_in)
        largest = policy.max_size if max_size is None else min(policy.max_size, max_size)
        link = UploadLink(
            id=random_name(),
            max_size=largest,
            expires_at=expires,
            filename=None if filename is None else clean_filename(filename),
            content_type=content_type,
        )
        token = self._token(link, caller.owner, policy.collection)
        told = {"link": link.id, "key": caller.owner, "collection": policy.collection}
        log.info("upload link made", extra=told | {"seconds": expires_in})
        return SignedUpload(
            token=token,
            collection=policy.collection,
            max_size=largest,
            filename=link.filename,
            content_type=link.content_type,
            expires_at=_moment(expires * 1000),
        )

    def uploader(self, token: str) -> Caller:
        """Return the caller that a token stands for: one who may upload its file and nothing else.

        Raises LinkInvalid, also when the key that signed it is no longer good, and LinkExpired.
        """
        match = _TOKEN.fullmatch(token)
        if match is None or not self._uploading.verify(match[1].encode(), match[2]):
            raise LinkInvalid(_NOT_OURS)
        claims = json.loads(_decoded(match[1]))
        owner = claims.pop("owner")
        collection = claims.pop("collection")
        link = UploadLink(**claims)
        if link.expires_at <= self._clock():
            raise LinkExpired(_OVER)
        if not (self._keyless if owner is None else self._is_active(owner)):
            raise LinkInvalid("The key that signed this link is no longer good")
        return Caller(owner, frozenset({"write"}), collection, link)

    def _token(self, link: UploadLink, owner: str | None, collection: str) -> str:
        claims: dict[str, Any] = {name: getattr(link, name) for name in link.__slots__}
        claims |= {"owner": owner, "collection": collection}
        written = json.dumps(claims, ensure_ascii=False, separators=(",", ":")).encode()
        payload = base64.urlsafe_b64encode(written).rstrip(b"=")
        return f"{payload.decode()}.{self._uploading.sign(payload)}"


def _put_off(now: float, expires_in: int) -> int:
    """Return when a link asked for `now` ends, in milliseconds since 1970.

    A quarter of a whole number of seconds is a whole number of milliseconds.
    """
    window = expires_in * 250
    asked = math.ceil(now * 1000) + expires_in * 1000
    return -(-asked // window) * window


def _message(path: bytes, terms: str) -> bytes:
    """Return what a link to read signs. Only the path may hold a line's end, so it is one way."""
    return b"\n".join((b"GET", path, terms.encode()))


def _decoded(payload: str) -> bytes:
    return base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
