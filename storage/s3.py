"""Objects in an S3-compatible store. The only module that knows boto3 and botocore.

It differs from the contract of `storage.base` in these points:

* A commit is as durable as the store says.
* `modified` of a small object's commit is the time of the store's answer.
* A writer whose store is unavailable has its parts discarded in the background. Where the store
  stays away, a lifecycle rule of the bucket (AbortIncompleteMultipartUpload) collects them.
"""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import boto3.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    HTTPClientError,
    NoCredentialsError,
    PartialCredentialsError,
    ReadTimeoutError,
    SSLError,
)
from botocore.exceptions import ConnectionError as SdkConnectionError
from botocore.response import StreamingBody
from urllib3.exceptions import HTTPError

from storage.base import Body, ObjectInfo, Writer
from storage.errors import (
    IntegrityError,
    InvalidKey,
    ObjectNotFound,
    StorageError,
    StorageUnavailable,
)
from storage.keys import random_name, validated
from storage.multipart import PartWriter
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
from storage.s3_body import StreamedBody
from storage.s3_check import prove
from storage.s3_errors import RangeBeyondEnd, storage_error
from storage.s3_multipart import COPIED_AT_ONCE, Place, S3Multipart
from storage.s3_options import S3Options

if TYPE_CHECKING:
    from botocore.awsrequest import AWSRequest
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import (
        GetObjectOutputTypeDef,
        HeadObjectOutputTypeDef,
        ObjectTypeDef,
    )

_SENDING_THREADS: Final = 8
_TIMEOUTS_ALLOWED: Final = {"CompleteMultipartUpload": 1, "HeadObject": 1}
"""How many attempts of an operation may time out; two of any other."""


class S3Storage(S3Multipart):
    """A bucket, or a folder of one. Implements Storage and Multipart."""

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
        super().__init__(self._connection)
        self.options = options
        self.public_endpoint = public_endpoint
        self._scratch = scratch
        self._budget = budget

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
            content_type=content_type,
            part_size=self.options.part_size,
            executor=self._connection.executor,
            budget=self._budget,
            scratch=self._scratch,
        )

    def put(self, key: str, body: BinaryIO, *, content_type: str) -> ObjectInfo:
        """Store the whole object in one request."""
        at, size = self._connection.at(key), size_of(body)
        with self._connection.errors():
            answer = self._connection.client.put_object(
                **at,
                Body=body,
                ContentType=content_type,
                Metadata={TOKEN: random_name()},
            )
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        return ObjectInfo(key, size, plain(answer["ETag"]), sent_at(date))

    def open(self, key: str, start: int = 0, stop: int | None = None) -> Body:
        if start < 0 or (stop is not None and stop < start):
            raise ValueError("a range begins at 0 or later and does not end before it begins")
        at = self._connection.at(key)
        wanted: dict[str, Any] = {}
        if (start, stop) != (0, None):
            wanted["Range"] = range_header(start, stop)
        try:
            if start == stop:
                raise RangeBeyondEnd("a range without bytes cannot be asked for")
            with self._connection.errors():
                answer = self._connection.client.get_object(**at, **wanted)
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
            if not (key.startswith(prefix) and _is_valid(key)):
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

    def copy(self, source: str, target: str) -> ObjectInfo:
        at = self._connection.at(target)
        head = self._connection.head(source)
        if head["ContentLength"] > COPIED_AT_ONCE:
            return self._copy_in_parts(source, target, head)
        with self._connection.errors():
            answer = self._connection.client.copy_object(
                **at,
                CopySource=self._connection.path(source),
                CopySourceIfMatch=head["ETag"],
                MetadataDirective="REPLACE",
                ContentType=head.get("ContentType", "application/octet-stream"),
                Metadata={TOKEN: random_name()},
            )
        copied = answer["CopyObjectResult"]
        size, modified = head["ContentLength"], in_utc(copied["LastModified"])
        return ObjectInfo(target, size, plain(copied["ETag"]), modified)

    def check(self) -> None:
        self._connection.find_bucket()
        prove(self)

    def close(self) -> None:
        self._connection.close()

    def _body(
        self, key: str, answer: "GetObjectOutputTypeDef", start: int, stop: int | None
    ) -> Body:
        """Make a body of an answer, whose range must be the one that was asked for."""
        size, stream = answer["ContentLength"], answer["Body"]
        first, total = content_range(answer.get("ContentRange"), size)
        if first != start or size != (total if stop is None else min(stop, total)) - start:
            stream.close()
            raise IntegrityError(f"{self.options} answers another range than the one asked for")
        info = ObjectInfo(key, total, plain(answer["ETag"]), in_utc(answer["LastModified"]))

        def reopen(skip: int) -> StreamingBody:
            return self._reopen(key, answer["ETag"], start + size, start + skip)

        return StreamedBody(info, size, stream, reopen=reopen, errors=self._connection.errors)

    def _reopen(self, key: str, etag: str, stop: int, start: int) -> StreamingBody:
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
        if answer["ETag"] != etag or first != start or answer["ContentLength"] != stop - start:
            answer["Body"].close()
            raise StorageUnavailable("the object changed while it was read")
        return answer["Body"]


@dataclass(frozen=True, slots=True)
class _Live:
    """What belongs to one process: sockets and threads do not survive a fork."""

    pid: int
    client: "S3Client"
    executor: ThreadPoolExecutor


class Connection:
    """A bucket's client, made on first use, and the translation of the SDK's errors."""

    def __init__(
        self, options: S3Options, access_key_id: str | None, secret_access_key: str | None
    ) -> None:
        self.options = options
        self._keys = (access_key_id, secret_access_key)
        self._lock = threading.Lock()
        self._live: _Live | None = None

    @property
    def client(self) -> "S3Client":
        return self._connected().client

    @property
    def executor(self) -> ThreadPoolExecutor:
        return self._connected().executor

    def close(self) -> None:
        with self._lock:
            live, self._live = self._live, None
        if live is not None and live.pid == os.getpid():
            live.executor.shutdown()
            live.client.close()

    def at(self, key: str) -> Place:
        return {"Bucket": self.options.bucket, "Key": self.options.prefix + validated(key)}

    def path(self, key: str) -> str:
        return f"{self.options.bucket}/{self.options.prefix}{validated(key)}"

    @contextmanager
    def errors(self) -> Iterator[None]:
        try:
            yield
        except StorageError:
            raise
        except ClientError as exc:
            status = exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            raise storage_error(_code(exc), status, str(self.options)) from exc
        except (BotoCoreError, HTTPError, OSError) as exc:
            raise StorageUnavailable(f"{self.options} {_sentence(exc)}") from exc

    def head(self, key: str) -> "HeadObjectOutputTypeDef":
        """Look at an object; a HEAD's 404 does not say whether the key or the bucket is missing."""
        at = self.at(key)
        try:
            with self.errors():
                return self.client.head_object(**at)
        except ObjectNotFound:
            self._require_bucket()
            raise

    def listed(self, prefix: str) -> Iterator["ObjectTypeDef"]:
        """Yield what the bucket lists below `prefix`, a page at a time."""
        further: dict[str, Any] = {}
        while True:
            with self.errors():
                page = self.client.list_objects_v2(
                    Bucket=self.options.bucket, Prefix=prefix, **further
                )
            yield from page.get("Contents", [])
            if not page.get("IsTruncated"):
                return
            further = {"ContinuationToken": page["NextContinuationToken"]}

    def find_bucket(self) -> None:
        """List one key, which proves address, credentials and bucket; make the bucket if asked."""
        bucket, prefix = self.options.bucket, self.options.prefix
        try:
            with self.errors():
                self.client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1)
        except StorageUnavailable as exc:
            if not (self.options.create_bucket and _code(exc.__cause__) == "NoSuchBucket"):
                raise
            self._create_bucket()

    def _create_bucket(self) -> None:
        where: dict[str, Any] = {}
        if self.options.region not in ("us-east-1", "auto"):
            where["CreateBucketConfiguration"] = {"LocationConstraint": self.options.region}
        try:
            with self.errors():
                self.client.create_bucket(Bucket=self.options.bucket, **where)
        except StorageError as exc:
            if _code(exc.__cause__) not in ("BucketAlreadyOwnedByYou", "BucketAlreadyExists"):
                raise
            self._require_bucket()

    def _require_bucket(self) -> None:
        try:
            with self.errors():
                self.client.head_bucket(Bucket=self.options.bucket)
        except ObjectNotFound as exc:
            raise storage_error("NoSuchBucket", 404, str(self.options)) from exc

    def _connected(self) -> _Live:
        live = self._live
        if live is not None and live.pid == os.getpid():
            return live
        with self._lock, self.errors():
            if self._live is None or self._live.pid != os.getpid():
                client = _make_client(self.options, *self._keys)
                pool = ThreadPoolExecutor(_SENDING_THREADS, "s3-parts")
                self._live = _Live(os.getpid(), client, pool)
            return self._live


def _make_client(
    options: S3Options, access_key_id: str | None, secret_access_key: str | None
) -> "S3Client":
    checksums: Any = options.checksums
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=options.endpoint,
        region_name=options.region,
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
        verify=str(options.ca_bundle) if options.ca_bundle else None,
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "path" if options.path_style else "virtual"},
            request_checksum_calculation=checksums,
            response_checksum_validation=checksums,
            retries={"mode": "standard", "total_max_attempts": options.max_attempts},
            connect_timeout=options.connect_timeout,
            read_timeout=options.read_timeout,
            max_pool_connections=options.pool,
            tcp_keepalive=True,
        ),
    )
    client.meta.events.register("response-received.s3", _note_timeout)
    client.meta.events.register("request-created.s3", _stop_after_timeouts)
    return client


def _note_timeout(exception: Exception | None, context: dict[str, Any], **_: object) -> None:
    if isinstance(exception, ConnectTimeoutError | ReadTimeoutError):
        context.setdefault("holdall-timeouts", []).append(exception)


def _stop_after_timeouts(request: "AWSRequest", operation_name: str, **_: object) -> None:
    """Refuse a further attempt of a call to a store that hangs, by raising its last timeout."""
    timeouts: list[Exception] = request.context.get("holdall-timeouts", [])
    if len(timeouts) >= _TIMEOUTS_ALLOWED.get(operation_name, 2):
        raise timeouts[-1]


def _code(exc: BaseException | None) -> str:
    return str(exc.response["Error"].get("Code", "")) if isinstance(exc, ClientError) else ""


def _sentence(exc: Exception) -> str:
    """Say why the store gave no answer; the SDK's own text may hold a whole URL."""
    match exc:
        case NoCredentialsError() | PartialCredentialsError():
            return "cannot be used: no credentials are set"
        case SSLError():
            return "cannot be trusted: its TLS certificate does not verify (see ca_bundle)"
        case ConnectTimeoutError() | ReadTimeoutError():
            return "does not answer in time"
        case SdkConnectionError() | HTTPClientError() | HTTPError() | OSError():
            return f"cannot be reached, or broke off ({type(exc).__name__})"
        case _:
            return f"cannot be used ({type(exc).__name__})"


def _is_valid(key: str) -> bool:
    try:
        return bool(validated(key))
    except InvalidKey:
        return False
