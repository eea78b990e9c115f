"""Objects in an S3-compatible store.

It differs from the contract of `storage.base` in these points:

* A commit is as durable as the store says.
* `modified` of a small object's commit is the time of the store's answer.
* A writer whose store is unavailable has its parts discarded in the background. Where the store
  stays away, a lifecycle rule of the bucket (AbortIncompleteMultipartUpload) collects them.
* A second append beside another is not refused: see `storage.s3_resumable`.

It stands on a bucket's connection, and must not know the SDK.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, BinaryIO

from storage.base import Body, ObjectInfo, Writer
from storage.capabilities import Appender, State
from storage.errors import (
    IntegrityError,
    ObjectNotFound,
    StorageError,
    StorageUnavailable,
)
from storage.keys import is_valid, random_name, validated
from storage.multipart import Means, PartWriter
from storage.parts import PROCESS_BUDGET, Budget, size_of
from storage.s3_answers import (
    TOKEN,
    content_range,
    described,
    in_utc,
    plain,
    range_header,
    sent_at,
)
from storage.s3_body import Stream, StreamedBody
from storage.s3_check import prove
from storage.s3_connection import Connection
from storage.s3_errors import ObjectChanged, RangeBeyondEnd
from storage.s3_multipart import COPIED_AT_ONCE, S3Multipart
from storage.s3_options import S3Options
from storage.s3_presign import S3Presigner
from storage.s3_resumable import S3Resumable

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

PUTS_AT_ONCE = 16
"""Small objects on their way to the store at a time, in one process. Hundreds at once make each of
them so slow that none is answered in time."""
PUT_WITHIN = 30.0
"""Seconds that a small object waits for its turn at the most."""


class S3Storage(S3Multipart, S3Presigner):
    """A bucket, or a folder of one. Implements Storage, Multipart, Resumable and Presigner."""

    def __init__(
        self,
        options: S3Options,
        *,
        scratch: Path,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        public_endpoint: str | None = None,
        budget: Budget = PROCESS_BUDGET,
    ) -> None:
        if (access_key_id is None) != (secret_access_key is None):
            raise ValueError("an access key id and its secret are given together or not at all")
        self._connection = Connection(options, access_key_id, secret_access_key)
        S3Multipart.__init__(self, self._connection)
        S3Presigner.__init__(self, self._connection, public_endpoint)
        self.options = options
        self._scratch = scratch
        self._budget = budget
        self._puts = BoundedSemaphore(PUTS_AT_ONCE)
        self._resumable = S3Resumable(self, self._means, options.part_size)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        scratch: Path,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        public_endpoint: str | None = None,
    ) -> "S3Storage":
        """Read a URL (see `storage.s3_options`); without keys boto3's own chain finds some."""
        return cls(
            S3Options.from_url(url),
            scratch=scratch,
            access_key_id=access_key_id,
            secret_access_key=secret_access_key,
            public_endpoint=public_endpoint,
        )

    def create(self, key: str, *, content_type: str = "application/octet-stream") -> Writer:
        return PartWriter(
            self,
            validated(key),
            self._means(),
            content_type=content_type,
            part_size=self.options.part_size,
        )

    def put(
        self, key: str, body: BinaryIO, *, content_type: str, token: str | None = None
    ) -> ObjectInfo:
        """Store the whole object in one request, under a write's `token` or a new one."""
        at, size = self._connection.at(key), size_of(body)
        metadata = {TOKEN: token or random_name()}
        with self._turn(), self._connection.errors():
            answer = self._connection.short.put(at["Key"], body, content_type, metadata)
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        return ObjectInfo(key, size, plain(answer["ETag"]), sent_at(date))

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._puts.acquire(timeout=PUT_WITHIN):
            raise StorageUnavailable("too many objects wait for the store")
        try:
            yield
        finally:
            self._puts.release()

    def open(self, key: str, start: int = 0, stop: int | None = None) -> Body:
        if start < 0 or (stop is not None and stop < start):
            raise ValueError("a range begins at 0 or later and does not end before it begins")
        at = self._connection.at(key)
        wanted = None if (start, stop) == (0, None) else range_header(start, stop)
        try:
            if start == stop:
                raise RangeBeyondEnd("a range without bytes cannot be asked for")
            with self._connection.errors():
                answer = self._connection.short.get(at["Key"], wanted)
        except RangeBeyondEnd:
            nothing = partial(self._reopen, key, "", 0)
            return StreamedBody(
                self.stat(key), 0, None, reopen=nothing, errors=self._connection.errors
            )
        return self._body(key, answer, start, stop)

    def stat(self, key: str) -> ObjectInfo:
        return described(key, self._connection.head(key))

    def scan(self, prefix: str = "") -> Iterator[ObjectInfo]:
        folder, last = self.options.prefix, ""
        for entry in self._connection.listed(folder + prefix):
            key = entry["Key"].removeprefix(folder)
            if not (key.startswith(prefix) and is_valid(key)):
                continue
            if key <= last:
                raise StorageError(f"{self.options} lists objects out of order")
            last = key
            yield ObjectInfo(
                key, entry["Size"], plain(entry["ETag"]), in_utc(entry["LastModified"])
            )

    def delete(self, key: str) -> None:
        at = self._connection.at(key)
        with suppress(ObjectNotFound), self._connection.errors():
            self._connection.client.delete_object(**at)

    def copy(self, source: str, target: str, *, etag: str | None = None) -> ObjectInfo:
        try:
            return self.copy_as(source, target, etag=etag)
        except ObjectChanged as exc:
            if etag is None:
                raise
            raise IntegrityError(str(exc)) from exc

    def copy_as(
        self,
        source: str,
        target: str,
        *,
        content_type: str | None = None,
        token: str | None = None,
        size: int | None = None,
        etag: str | None = None,
    ) -> ObjectInfo:
        """Copy with another type, under a write's `token`, and only what has `size` and `etag`."""
        at = self._connection.at(target)
        head = self._connection.head(source)
        if etag not in (None, plain(head["ETag"])):
            raise IntegrityError(f"{self.options} holds another object than the one to be copied")
        found = head["ContentLength"]
        if size not in (None, found):
            raise IntegrityError(f"{self.options} holds {found} bytes of an object of {size}")
        content_type = content_type or head.get("ContentType", "application/octet-stream")
        if found > COPIED_AT_ONCE:
            return self._copy_in_parts(source, target, head, content_type, token)
        with self._connection.errors():
            answer = self._connection.client.copy_object(
                **at,
                CopySource=self._connection.path(source),
                CopySourceIfMatch=head["ETag"],
                MetadataDirective="REPLACE",
                ContentType=content_type,
                Metadata={TOKEN: token or random_name()},
            )
        copied = answer["CopyObjectResult"]
        return ObjectInfo(target, found, plain(copied["ETag"]), in_utc(copied["LastModified"]))

    def start(self, key: str, *, content_type: str, largest: int) -> State:
        return self._resumable.start(key, content_type=content_type, largest=largest)

    def append(self, key: str, state: State, offset: int) -> Appender:
        return self._resumable.append(key, state, offset)

    def finish(self, key: str, state: State, size: int) -> ObjectInfo:
        return self._resumable.finish(key, state, size)

    def discard(self, key: str, state: State) -> None:
        self._resumable.discard(key, state)

    def check(self) -> None:
        self._connection.find_bucket()
        prove(self)

    def close(self) -> None:
        self._connection.close()

    def _means(self) -> Means:
        return Means(self._connection.executor, self._budget, self._scratch)

    def _body(
        self, key: str, answer: "GetObjectOutputTypeDef", start: int, stop: int | None
    ) -> Body:
        """Make a body of an answer, whose range must be the one that was asked for."""
        size, stream = answer["ContentLength"], answer["Body"]
        if not {"ETag", "LastModified"} <= answer.keys():
            # As where a store tells of an error under status 200.
            stream.close()
            raise StorageUnavailable(f"{self.options} answers with what is no object")
        first, total = content_range(answer.get("ContentRange"), size)
        if first != start or size != (total if stop is None else min(stop, total)) - start:
            stream.close()
            raise IntegrityError(f"{self.options} answers another range than the one asked for")
        info = ObjectInfo(key, total, plain(answer["ETag"]), in_utc(answer["LastModified"]))

        def reopen(skip: int) -> Stream:
            return self._reopen(key, answer["ETag"], start + size, start + skip)

        return StreamedBody(info, size, stream, reopen=reopen, errors=self._connection.errors)

    def _reopen(self, key: str, etag: str, stop: int, start: int) -> Stream:
        """Open a range of that version only: bytes of two versions never meet in one body."""
        at = self._connection.at(key)
        try:
            with self._connection.errors():
                answer = self._connection.client.get_object(
                    **at, Range=range_header(start, stop), IfMatch=etag
                )
        except (ObjectNotFound, RangeBeyondEnd) as exc:
            raise StorageUnavailable("the object went away while it was read") from exc
        first, _ = content_range(answer.get("ContentRange"), answer["ContentLength"])
        if answer.get("ETag") != etag or first != start or answer["ContentLength"] != stop - start:
            answer["Body"].close()
            raise StorageUnavailable("the object changed while it was read")
        return answer["Body"]
