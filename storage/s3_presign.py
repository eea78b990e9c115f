"""Signed requests to an S3 store: the Presigner half of `storage.s3`.

botocore signs; here it is told the date, so that every process makes the same URL within a window,
and the public endpoint, so that no client sees the internal one. It computes only. What a request
says beside the signed headers is for the store to judge: AWS refuses any x-amz-* header that was
not signed. Knows the SDK's signers, and must not know what is signed for whom.
"""

import base64
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol

from botocore import UNSIGNED
from botocore.auth import SIGV4_TIMESTAMP, S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config

from storage.capabilities import SignedForm, SignedRequest
from storage.numbered import require_number
from storage.s3_answers import store_id
from storage.s3_multipart import Place
from storage.s3_options import S3Options, read_endpoint
from storage.s3_session import new_session

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials

LONGEST: Final = 7 * 24 * 3600
"""How many seconds a signature may hold (AWS Signature Version 4)."""
_HEADER: Final = re.compile(r"[\x20-\x7e]*", re.ASCII)
_LEFT_UNSIGNED: Final = "application/x-www-form-urlencoded; charset=utf-8"


class SigningBucket(Protocol):
    """What signing needs of a bucket's connection."""

    @property
    def options(self) -> S3Options: ...

    @property
    def credentials(self) -> "ReadOnlyCredentials":
        """The keys of this moment, with a token where they are temporary."""

    def at(self, key: str) -> Place: ...


class S3Presigner:
    """The capability Presigner over a bucket, at its public endpoint or else at its only one."""

    def __init__(self, bucket: SigningBucket, public_endpoint: str | None) -> None:
        self._signing = bucket
        try:
            self.public_endpoint = read_endpoint(public_endpoint) if public_endpoint else None
        except ValueError as exc:
            raise ValueError(f"public endpoint: {exc}") from exc
        self._addresses: dict[str | None, str] = {}

    def presign_get(
        self,
        key: str,
        *,
        signed_at: datetime,
        expires_in: int,
        content_type: str,
        disposition: str,
        cache_control: str = "",
        internal: bool = False,
    ) -> str:
        wanted = {
            "response-content-type": _header(content_type),
            "response-content-disposition": _header(disposition),
            "response-cache-control": _header(cache_control),
        }
        return self._signed(
            AWSRequest(
                "GET",
                self._url(key, internal=internal),
                params={name: value for name, value in wanted.items() if value},
            ),
            signed_at,
            expires_in,
        ).url

    def presign_put(
        self, key: str, *, size: int, content_type: str, signed_at: datetime, expires_in: int
    ) -> SignedRequest:
        if size < 0 or not content_type:
            raise ValueError("a PUT has a size of 0 or more bytes, and a type")
        if content_type == _LEFT_UNSIGNED:
            # botocore takes this very text for a header that nobody meant to send.
            content_type = content_type.replace("; ", ";")
        headers = {"Content-Length": str(size), "Content-Type": _header(content_type)}
        request = AWSRequest("PUT", self._url(key), headers=headers)
        return self._signed(request, signed_at, expires_in, headers)

    def presign_part(
        self, key: str, upload_id: str, number: int, *, signed_at: datetime, expires_in: int
    ) -> SignedRequest:
        which = {"partNumber": str(require_number(number)), "uploadId": store_id(upload_id)}
        request = AWSRequest("PUT", self._url(key), params=which)
        return self._signed(request, signed_at, expires_in)

    def presign_post(
        self,
        key: str,
        *,
        largest: int,
        content_type: str | None,
        signed_at: datetime,
        expires_in: int,
    ) -> SignedForm:
        """Sign a policy: every field of the form stands in it, so that none can be added."""
        if largest < 0:
            raise ValueError("a form allows 0 bytes or more")
        at, (date, ends) = self._signing.at(key), _validity(signed_at, expires_in)
        credentials = self._signing.credentials
        signer = SigV4Auth(credentials, "s3", self._signing.options.region)
        scoped = _dated(AWSRequest(), date)
        fields = {
            "key": at["Key"],
            "success_action_status": "201",
            "x-amz-algorithm": "AWS4-HMAC-SHA256",
            "x-amz-credential": signer.scope(scoped),
            "x-amz-date": date,
        }
        if credentials.token:
            fields["x-amz-security-token"] = credentials.token
        conditions: list[Any] = [{"bucket": at["Bucket"]}, ["content-length-range", 0, largest]]
        if content_type is None:
            conditions.append(["starts-with", "$Content-Type", ""])
        else:
            fields["Content-Type"] = _header(content_type)
        conditions += [{name: value} for name, value in fields.items()]
        expiration = ends.strftime("%Y-%m-%dT%H:%M:%SZ")
        policy = json.dumps({"expiration": expiration, "conditions": conditions}).encode()
        fields["policy"] = base64.b64encode(policy).decode()
        fields["x-amz-signature"] = signer.signature(fields["policy"], scoped)
        return SignedForm(self._address(self.public_endpoint), fields, ends)

    def _signed(
        self,
        request: AWSRequest,
        signed_at: datetime,
        expires_in: int,
        headers: dict[str, str] | None = None,
    ) -> SignedRequest:
        date, ends = _validity(signed_at, expires_in)
        region = self._signing.options.region
        _DatedAuth(self._signing.credentials, region, date, expires_in).add_auth(request)
        return SignedRequest(request.method or "", request.url or "", headers or {}, ends)

    def _url(self, key: str, *, internal: bool = False) -> str:
        endpoint = None if internal else self.public_endpoint
        return f"{self._address(endpoint)}/{self._signing.at(key)['Key']}"

    def _address(self, endpoint: str | None) -> str:
        """Return the bucket's URL at `endpoint`; None is the store's own."""
        if endpoint not in self._addresses:
            options = self._signing.options
            there = replace(options, endpoint=endpoint) if endpoint else options
            self._addresses[endpoint] = _bucket_url(there)
        return self._addresses[endpoint]


class _DatedAuth(S3SigV4QueryAuth):
    """botocore's signer of URLs, with the date that it is given instead of the present one."""

    def __init__(
        self, credentials: "ReadOnlyCredentials", region: str, date: str, expires_in: int
    ) -> None:
        super().__init__(credentials, "s3", region, expires=expires_in)
        self._date = date

    # The types of botocore leave out the step in which a URL gets all but its signature.
    def _modify_request_before_signing(self, request: AWSRequest) -> None:
        super()._modify_request_before_signing(  # type: ignore[misc]
            _dated(request, self._date)
        )


def _dated(request: AWSRequest, date: str) -> AWSRequest:
    request.context["timestamp"] = date
    return request


def _validity(signed_at: datetime, expires_in: int) -> tuple[str, datetime]:
    """Return the date as it is signed, and when the signature ends."""
    if not 1 <= expires_in <= LONGEST:
        raise ValueError(f"a signature holds for 1 to {LONGEST} seconds")
    if signed_at.utcoffset() is None:
        raise ValueError("a signature's date needs its time zone")
    begins = signed_at.astimezone(UTC).replace(microsecond=0)
    return begins.strftime(SIGV4_TIMESTAMP), begins + timedelta(seconds=expires_in)


def _header(value: str) -> str:
    if not _HEADER.fullmatch(value):
        raise ValueError("a header that is signed has printable ASCII characters only")
    return value


def _bucket_url(options: S3Options) -> str:
    """Ask the SDK where it would look for the bucket: in the path, or in the host's name."""
    style: Any = "path" if options.path_style else "virtual"
    client = new_session("none", "none").client(
        "s3",
        endpoint_url=options.endpoint,
        region_name=options.region,
        config=Config(signature_version=UNSIGNED, s3={"addressing_style": style}),
    )
    try:
        where: str = client.generate_presigned_url("head_bucket", {"Bucket": options.bucket})
        return where.partition("?")[0].rstrip("/")
    finally:
        client.close()
