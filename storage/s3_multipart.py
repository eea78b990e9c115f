"""Multipart uploads to an S3 store: the Multipart half of `storage.s3`.

An upload's id is our token and the store's id. The token stands in the object's metadata, so that
after a lost answer we know our object from another of the same size, in any process. Knows a
bucket's client and the store's answers; the SDK and its errors are the bucket's affair.
"""

import io
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol, TypedDict

from storage.base import ObjectInfo
from storage.capabilities import Part
from storage.errors import IntegrityError, ObjectNotFound, StorageError
from storage.keys import is_valid, random_name
from storage.multipart import InFlight
from storage.numbered import MAXIMUM_PARTS, require_number, require_order
from storage.parts import rewindable, size_of
from storage.s3_answers import (
    TOKEN,
    TOKEN_LENGTH,
    described,
    foreign_id,
    in_utc,
    plain,
    range_header,
    store_id,
)
from storage.s3_options import MINIMUM_PART_SIZE, S3Options
from storage.s3_short import ShortWay

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import (
        CompletedPartTypeDef,
        HeadObjectOutputTypeDef,
        MultipartUploadTypeDef,
        PartTypeDef,
    )

COPIED_AT_ONCE: Final = 64 * 1024 * 1024
"""How many bytes one request copies: few enough that the store answers before a timeout."""


class Place(TypedDict):
    """A bucket and the name of an object in it, as requests give them."""

    Bucket: str
    Key: str


class Bucket(Protocol):
    """What uploads and objects need of a bucket's connection."""

    @property
    def options(self) -> S3Options: ...

    @property
    def client(self) -> "S3Client": ...

    @property
    def executor(self) -> "Executor": ...

    @property
    def short(self) -> ShortWay: ...

    def errors(self) -> AbstractContextManager[None]:
        """Turn what the SDK raises into the errors of `storage.errors`."""

    def at(self, key: str) -> Place:
        """Return where the object of a valid key is."""

    def path(self, key: str) -> str:
        """Return the same as one string, the way a copy names its source."""

    def head(self, key: str) -> "HeadObjectOutputTypeDef":
        """Look at an object."""


class S3Multipart:
    """The capability `Multipart`, and copies that are too large for one request."""

    minimum_part_size = MINIMUM_PART_SIZE
    maximum_parts = MAXIMUM_PARTS

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def begin(
        self,
        key: str,
        *,
        content_type: str = "application/octet-stream",
        token: str | None = None,
    ) -> str:
        """Begin an upload whose object carries `token`, or one of its own."""
        token = token or random_name()
        with self._bucket.errors():
            answer = self._bucket.client.create_multipart_upload(
                **self._bucket.at(key), ContentType=content_type, Metadata={TOKEN: token}
            )
        return token + answer["UploadId"]

    def put_part(self, key: str, upload_id: str, number: int, data: bytes | BinaryIO) -> Part:
        body = io.BytesIO(data) if isinstance(data, bytes) else rewindable(data)
        size = size_of(body)
        with self._bucket.errors():
            answer = self._bucket.short.put_part(
                self._bucket.at(key)["Key"], store_id(upload_id), require_number(number), body
            )
        return Part(number, plain(answer["ETag"]), size)

    def copy_part(
        self, key: str, upload_id: str, number: int, source: str, start: int, stop: int
    ) -> Part:
        return self._copy_part(key, upload_id, number, source, start, stop)

    def list_parts(self, key: str, upload_id: str, *, after: int = 0) -> list[Part]:
        """Return the stored parts whose number is higher than `after`."""
        return [
            Part(part["PartNumber"], plain(part["ETag"]), part["Size"])
            for part in self._parts(key, upload_id, after)
        ]

    def _parts(self, key: str, upload_id: str, after: int = 0) -> Iterator["PartTypeDef"]:
        """Yield what the store says of each part, a page at a time."""
        at, upload = self._bucket.at(key), store_id(upload_id)
        marker = after
        while True:
            with self._bucket.errors():
                page = self._bucket.client.list_parts(
                    **at, UploadId=upload, PartNumberMarker=marker
                )
            yield from page.get("Parts", [])
            if not page.get("IsTruncated"):
                return
            marker = page["NextPartNumberMarker"]

    def complete(self, key: str, upload_id: str, parts: list[Part]) -> ObjectInfo:
        at, upload = self._bucket.at(key), store_id(upload_id)
        require_order(parts)
        listed: list[CompletedPartTypeDef] = [
            {"PartNumber": part.number, "ETag": f'"{part.etag}"'} for part in parts
        ]
        failure: StorageError | None = None
        etag = ""
        try:
            with self._bucket.errors():
                answer = self._bucket.client.complete_multipart_upload(
                    **at, UploadId=upload, MultipartUpload={"Parts": listed}
                )
            etag = plain(answer["ETag"])
        except StorageError as exc:
            failure = exc
        return self._completed(key, upload_id, sum(part.size for part in parts), etag, failure)

    def abort(self, key: str, upload_id: str) -> None:
        at = self._bucket.at(key)
        with suppress(ObjectNotFound), self._bucket.errors():
            self._bucket.client.abort_multipart_upload(**at, UploadId=store_id(upload_id))

    def abort_all(self, key: str) -> None:
        """Discard every unfinished upload to `key`, whoever began it."""
        name = self._bucket.at(key)["Key"]
        for upload in self._uploads(name):
            if upload["Key"] == name:
                self.abort(key, foreign_id(upload["UploadId"]))

    def stale_multiparts(self, older_than: datetime) -> Iterator[tuple[str, str, datetime]]:
        """Yield the uploads with ids that hold no token, since the store does not show it."""
        folder = self._bucket.options.prefix
        for upload in self._uploads(folder):
            key, begun = upload["Key"].removeprefix(folder), in_utc(upload["Initiated"])
            upload_id = foreign_id(upload["UploadId"])
            if begun < older_than and is_valid(key) and self._is_still(key, upload_id, older_than):
                yield key, upload_id, begun

    def _is_still(self, key: str, upload_id: str, since: datetime) -> bool:
        """Say whether an upload is there and got no part since then."""
        try:
            parts = self._parts(key, upload_id)
            return all(in_utc(part["LastModified"]) < since for part in parts)
        except ObjectNotFound:
            return False

    def _uploads(self, prefix: str) -> Iterator["MultipartUploadTypeDef"]:
        """Yield the unfinished uploads to names that begin with `prefix`, a page at a time."""
        further: dict[str, Any] = {}
        while True:
            with self._bucket.errors():
                page = self._bucket.client.list_multipart_uploads(
                    Bucket=self._bucket.options.bucket, Prefix=prefix, **further
                )
            yield from page.get("Uploads", [])
            if not page.get("IsTruncated"):
                return
            # SeaweedFS names the upload to go on after, and no key.
            marks = (page.get("NextKeyMarker"), page.get("NextUploadIdMarker"))
            names = ("KeyMarker", "UploadIdMarker")
            last, further = further, {n: mark for n, mark in zip(names, marks, strict=True) if mark}
            if further in ({}, last):
                raise StorageError(f"{self._bucket.options} does not list its uploads to the end")

    def written_as(self, key: str, token: str, size: int) -> ObjectInfo:
        """Describe the object that the write with `token` made.

        Raises ObjectNotFound when none or another is there, and IntegrityError when it has not
        `size` bytes.
        """
        head = self._bucket.head(key)
        store, found = self._bucket.options, head["ContentLength"]
        if head["Metadata"].get(TOKEN) != token:
            raise ObjectNotFound(f"{store} has another object there than the one that was written")
        if found != size:
            raise IntegrityError(f"{store} made {found} bytes out of {size}")
        return described(key, head)

    def _completed(
        self, key: str, upload_id: str, size: int, etag: str, failure: StorageError | None
    ) -> ObjectInfo:
        """Look whether the object is there and ours, whatever the answer to the request was."""
        store = self._bucket.options
        try:
            head = self._bucket.head(key)
        except ObjectNotFound as exc:
            raise failure or IntegrityError(
                f"{store} reports an upload as complete and has no object of it"
            ) from exc
        except StorageError as exc:
            raise failure or exc from exc
        same_token = head["Metadata"].get(TOKEN) == upload_id[:TOKEN_LENGTH]
        if same_token or (etag and plain(head["ETag"]) == etag):
            if head["ContentLength"] != size:
                raise IntegrityError(
                    f"{store} made {head['ContentLength']} bytes out of parts of {size} bytes"
                )
            return described(key, head)
        if failure is not None:
            raise failure
        # Another writer's commit has replaced ours already.
        return ObjectInfo(key, size, etag, datetime.now(UTC))

    def _copy_in_parts(
        self,
        source: str,
        target: str,
        head: "HeadObjectOutputTypeDef",
        content_type: str,
        token: str | None,
    ) -> ObjectInfo:
        """Copy piece by piece the version that `head` describes."""
        size = head["ContentLength"]
        step = max(COPIED_AT_ONCE, -(-size // self.maximum_parts))
        upload_id = self.begin(target, content_type=content_type, token=token)
        jobs = InFlight(self._bucket.executor)
        try:
            for number, start in enumerate(range(0, size, step), 1):
                piece = (target, upload_id, number, source, start, min(start + step, size))
                jobs.submit(partial(self._copy_part, *piece, etag=head["ETag"]))
            return self.complete(target, upload_id, jobs.settle())
        except BaseException:
            jobs.drop()
            with suppress(StorageError):
                self.abort(target, upload_id)
            raise

    def _copy_part(
        self,
        key: str,
        upload_id: str,
        number: int,
        source: str,
        start: int,
        stop: int,
        etag: str | None = None,
    ) -> Part:
        if not 0 <= start < stop:
            raise ValueError("a copied part has at least one byte")
        only: dict[str, Any] = {} if etag is None else {"CopySourceIfMatch": etag}
        with self._bucket.errors():
            answer = self._bucket.client.upload_part_copy(
                **self._bucket.at(key),
                UploadId=store_id(upload_id),
                PartNumber=require_number(number),
                CopySource=self._bucket.path(source),
                CopySourceRange=range_header(start, stop),
                **only,
            )
        return Part(number, plain(answer["CopyPartResult"]["ETag"]), stop - start)
