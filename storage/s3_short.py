"""The short way for the requests that come most: an object or a part put, and an object opened.

The SDK takes about two milliseconds of a processor for a request, nearly all of it to describe and
to choose what is the same each time, and copies what it sends in pieces of 16 KiB. Here its signer
signs, its pool of connections sends, and the rest is left out. What is no plain success goes to the
SDK as the outcome of its own first attempt: what that means, whether it is tried again, and until
when, is decided there and nowhere else.

It is a bucket's affair, knows requests and answers, and must not know what the objects are for.
"""

import threading
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, Final, cast
from urllib.parse import quote

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import ConnectionError as SdkConnectionError
from botocore.exceptions import HTTPClientError
from botocore.response import StreamingBody

from storage.s3_options import S3Options
from storage.s3_sent import Sent

if TYPE_CHECKING:
    from botocore.awsrequest import AWSResponse
    from botocore.credentials import Credentials
    from botocore.httpsession import URLLib3Session
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import (
        GetObjectOutputTypeDef,
        PutObjectOutputTypeDef,
        UploadPartOutputTypeDef,
    )

LARGEST: Final = 1024 * 1024
"""Bytes of a body that is sent without asking first (`Expect: 100-continue`), as the SDK does."""
_CAREFUL: Final = 500
"""Requests that go the long way after one that failed: the SDK allows as many successes until it
trusts a store again as it did before, and counts those that it sees."""
_DIRECTORY_BUCKET: Final = "--x-s3"
_ASK_FIRST: Final = cast(str, b"100-continue")
"""In bytes, by which the SDK's connection knows that it is to wait for the store's consent."""


class _Signer(S3SigV4Auth):
    """The SDK's signer, for bodies that tell their hash."""

    def payload(self, request: AWSRequest) -> str:
        """Return the SHA-256 of a request's body in hexadecimal."""
        body: Sent | None = request.data
        return str(super().payload(request)) if body is None else body.sha256()


class ShortWay:
    """Puts and gets of one bucket, beside a client of the SDK that is asked when they fail."""

    def __init__(
        self, client: "S3Client", options: S3Options, credentials: "Credentials | None"
    ) -> None:
        self._client = client
        self._options = options
        self._credentials = credentials
        # What the SDK sends with, with its proxies, certificates and timeouts.
        self._session: URLLib3Session = cast(Any, client)._endpoint.http_session
        self._first = threading.local()
        self._address: str | None = None
        self._careful = 0
        # The SDK checks and sends checksums, and has sessions for buckets that are directories.
        self._closed = (
            credentials is None
            or options.checksums != "when_required"
            or options.bucket.endswith(_DIRECTORY_BUCKET)
        )
        # The types leave out that an answer may be returned, which is then taken for the store's.
        client.meta.events.register("before-send.s3", cast(Any, self._take_first))

    def put(
        self, name: str, body: BinaryIO, content_type: str, metadata: dict[str, str]
    ) -> "PutObjectOutputTypeDef":
        """Put the rest of a file as an object, as the SDK does, with its exceptions."""
        headers = {"Content-Type": content_type}
        headers |= {f"x-amz-meta-{key}": value for key, value in metadata.items()}

        def long_way(content: bytes | BinaryIO) -> Any:
            return self._client.put_object(
                Bucket=self._options.bucket,
                Key=name,
                Body=content,
                ContentType=content_type,
                Metadata=metadata,
            )

        return cast("PutObjectOutputTypeDef", self._put(name, headers, body, long_way))

    def put_part(
        self, name: str, upload: str, number: int, body: BinaryIO
    ) -> "UploadPartOutputTypeDef":
        """Put the rest of a file as a part of an upload, as the SDK does, with its exceptions."""
        target = f"{name}?partNumber={number}&uploadId={quote(upload, safe='')}"

        def long_way(content: bytes | BinaryIO) -> Any:
            return self._client.upload_part(
                Bucket=self._options.bucket,
                Key=name,
                UploadId=upload,
                PartNumber=number,
                Body=content,
            )

        return cast("UploadPartOutputTypeDef", self._put(target, {}, body, long_way))

    def _put(
        self,
        target: str,
        headers: dict[str, str],
        body: BinaryIO,
        long_way: Callable[[bytes | BinaryIO], Any],
    ) -> Any:
        """Send a body from where it lies in memory; a large one that is a file, the long way."""
        with Sent.rest_of(body, at_once=LARGEST) as sent:
            if sent is None:
                return long_way(body)
            again = partial(long_way, body if len(sent) > LARGEST else sent.small)
            return self._ask("PUT", target, headers, sent, _stored, again)

    def get(self, name: str, byte_range: str | None) -> "GetObjectOutputTypeDef":
        """Open an object, or a range of it, as the SDK does, with its exceptions."""
        wanted: dict[str, Any] = {} if byte_range is None else {"Range": byte_range}
        return cast(
            "GetObjectOutputTypeDef",
            self._ask(
                "GET",
                name,
                wanted,
                None,
                _opened,
                lambda: self._client.get_object(Bucket=self._options.bucket, Key=name, **wanted),
            ),
        )

    def _ask(
        self,
        method: str,
        target: str,
        headers: dict[str, str],
        body: Sent | None,
        read: Callable[["AWSResponse"], Any],
        long_way: Callable[[], Any],
    ) -> Any:
        if self._closed or self._careful > 0:
            self._careful -= 1
            return long_way()
        outcome = self._attempt(method, target, headers, body)
        if not isinstance(outcome, Exception) and outcome.status_code in (200, 206):
            try:
                return read(outcome)
            except (KeyError, ValueError, TypeError):
                pass  # An answer that lacks something, of which the SDK may make more.
        self._learn(outcome)
        self._first.outcome = outcome
        try:
            return long_way()
        finally:
            self._first.outcome = None

    def _attempt(
        self, method: str, target: str, headers: dict[str, str], body: Sent | None
    ) -> "AWSResponse | Exception":
        """Send a request once; return the answer, for a GET without its body, or the exception."""
        address = self._address or self._find_address()
        request = AWSRequest(
            method, f"{address}/{target}", headers, body, stream_output=body is None
        )
        credentials = cast("Credentials", self._credentials).get_frozen_credentials()
        _Signer(credentials, "s3", self._options.region).add_auth(request)
        if body is not None and len(body) > LARGEST:
            request.headers["Expect"] = _ASK_FIRST
        try:
            return self._session.send(request.prepare())
        except (HTTPClientError, SdkConnectionError) as error:
            return error

    def _learn(self, outcome: "AWSResponse | Exception") -> None:
        """Leave the short way for a while, or for good where the store wants to be asked elsewhere.

        An object that is not there is no reason to.
        """
        status = 500 if isinstance(outcome, Exception) else outcome.status_code
        if status >= 500 or status == 429:
            self._careful = _CAREFUL
        elif status == 400 or 300 <= status < 400:
            self._closed = True

    def _take_first(self, **_: object) -> "AWSResponse | None":
        """Give the SDK what became of the short way in place of its first attempt, in a thread."""
        outcome = getattr(self._first, "outcome", None)
        self._first.outcome = None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _find_address(self) -> str:
        """Ask the SDK where the bucket is: in the path, or in the host's name."""
        there = self._client.generate_presigned_url("head_bucket", {"Bucket": self._options.bucket})
        self._address = there.partition("?")[0].rstrip("/")
        return self._address


def _stored(answer: "AWSResponse") -> Any:
    """Return what the SDK says of an answer to a PUT. Raises KeyError and ValueError."""
    if answer.content:
        raise ValueError("an answer to a PUT has a body only to tell of an error")
    answered = {key.lower(): value for key, value in answer.headers.items()}
    return {"ETag": answered["etag"], "ResponseMetadata": {"HTTPHeaders": answered}}


def _opened(answer: "AWSResponse") -> Any:
    """Return what the SDK says of an answer to a GET. Raises KeyError and ValueError."""
    headers = answer.headers
    size = int(headers["Content-Length"])
    opened = {
        "ContentLength": size,
        "ETag": headers["ETag"],
        "LastModified": parsedate_to_datetime(headers["Last-Modified"]),
        "Body": StreamingBody(answer.raw, size),
    }
    if (content_range := headers.get("Content-Range")) is not None:
        opened["ContentRange"] = content_range
    return opened
