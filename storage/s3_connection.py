"""The connection to an S3 store: one bucket's client, and the SDK's errors put into ours.

The only module that knows boto3 and botocore, apart from the types of answers, the signers of
`storage.s3_presign`, and `storage.s3_short`. Knows nothing of what the objects are for.
"""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

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
from urllib3.exceptions import HTTPError

from storage.errors import ObjectNotFound, StorageError, StorageUnavailable
from storage.keys import validated
from storage.s3_errors import storage_error
from storage.s3_multipart import Place
from storage.s3_options import S3Options
from storage.s3_session import new_session
from storage.s3_short import ShortWay

if TYPE_CHECKING:
    from boto3.session import Session
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials, ReadOnlyCredentials
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef, ObjectTypeDef

_SENDING_THREADS: Final = 8
_TIMEOUTS_ALLOWED: Final = {"CompleteMultipartUpload": 1, "HeadObject": 1}
"""How many attempts of an operation may time out; two of any other."""


@dataclass(frozen=True, slots=True)
class _Live:
    """What belongs to one process: sockets and threads do not survive a fork."""

    pid: int
    client: "S3Client"
    executor: ThreadPoolExecutor
    credentials: "Credentials | None"
    short: ShortWay


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
    def short(self) -> ShortWay:
        """The short way to put and get; to be used where `errors` turns exceptions into ours."""
        return self._connected().short

    @property
    def executor(self) -> ThreadPoolExecutor:
        return self._connected().executor

    @property
    def credentials(self) -> "ReadOnlyCredentials":
        with self.errors():
            if (credentials := self._connected().credentials) is None:
                raise NoCredentialsError
            return credentials.get_frozen_credentials()

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
                session = new_session(*self._keys)
                client = _make_client(session, self.options)
                pool = ThreadPoolExecutor(_SENDING_THREADS, "s3-parts")
                credentials = session.get_credentials()
                short = ShortWay(client, self.options, credentials)
                self._live = _Live(os.getpid(), client, pool, credentials, short)
            return self._live


def _make_client(session: "Session", options: S3Options) -> "S3Client":
    checksums: Any = options.checksums
    client = session.client(
        "s3",
        endpoint_url=options.endpoint,
        region_name=options.region,
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
    if _is_timeout(exception):
        context.setdefault("holdall-timeouts", []).append(exception)


def _is_timeout(exception: BaseException | None) -> bool:
    """Tell a timeout, also one of a store that took no more of a request's body."""
    if isinstance(exception, ConnectTimeoutError | ReadTimeoutError | TimeoutError):
        return True
    return exception is not None and _is_timeout(exception.__cause__ or exception.__context__)


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
