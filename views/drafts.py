"""The IETF drafts of resumable uploads, at the URLs of `views.tus`: the same uploads, other words.

`services.ietf` knows what each interop version says; every rule of uploads is in
`services.resumable`.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime

from flask import Response, json, request
from typing_extensions import Buffer

from services import ietf, tus
from services.errors import HoldallError, OffsetMismatch, TooLarge
from services.ietf import LATEST, InconsistentLength, Version
from services.problems import PROBLEM_TYPE
from services.resumable import LengthChanged
from services.resumed import Read, Request
from services.upload_rows import UploadInfo
from views import errors
from views.body import RequestBody
from views.current import services, uploader
from views.transfers import (
    body_of_request,
    completed,
    declaration,
    described,
    destination,
    empty,
    lowercase_headers,
)

PROTOCOL = "ietf"


def create() -> Response:
    """Begin an upload with the bytes that come along, which may be all of it."""
    headers, version = _spoken()
    body = body_of_request()
    try:
        asked = ietf.creation(headers, version, body.length)
        declared = declaration(
            # No draft has it, and clients that also speak tus send it all the same.
            tus.parse_metadata(headers.get("upload-metadata", "")),
            asked.length,
            filename=asked.filename or request.args.get("filename"),
            content_type=asked.content_type,
        )
        uploads = services().uploads
        info = uploads.create(uploader(), declared, protocol=PROTOCOL)
        if body.length != 0 or asked.complete:
            read = _announced(headers, version, info, body)
            sent = Request(read, body.length, last=asked.complete)
            info = uploads.append(uploader(), info.id, 0, sent)
    except HoldallError as error:
        return _explained(error, version)
    response = empty(ietf.CREATION_STATUS, _progress(version, info) + _limits(version, info))
    response.headers["Location"] = destination(info)
    return described(completed(response, info), info)


def resource(upload_id: str) -> Response:
    """Ask how far an upload is, go on with it, or cancel it."""
    headers, version = _spoken()
    try:
        # As in tus, for clients that speak both where a proxy lets no PATCH through.
        method = tus.effective_method(request.method, headers)
        if method == "PATCH":
            return _append(upload_id, headers, version)
        if method in ("HEAD", "DELETE"):
            ietf.require_bare(headers, version)
        if method == "HEAD":
            return _state(upload_id, version)
        if method == "DELETE":
            services().uploads.terminate(uploader(), upload_id)
            return empty(ietf.CANCELLATION_STATUS, ())
    except HoldallError as error:
        offset = ietf.parse_integer(headers.get("upload-offset"))
        return _explained(error, version, offset, upload_id)
    response = empty(405, ())
    response.headers["Allow"] = "HEAD, PATCH, DELETE, OPTIONS"
    return response


def _append(upload_id: str, headers: Mapping[str, str], version: Version) -> Response:
    body = body_of_request()
    asked = ietf.append(headers, version, body.length)
    sent = Request(body.chunks, body.length, last=asked.complete)
    info = services().uploads.append(uploader(), upload_id, asked.offset, sent, length=asked.length)
    status = ietf.append_status(version, complete=info.complete)
    response = empty(status, _progress(version, info) + _limits(version, info))
    return described(completed(response, info), info)


def _state(upload_id: str, version: Version) -> Response:
    info = services().uploads.get(uploader(), upload_id)
    told = ietf.state_headers(
        version, offset=info.offset, complete=info.complete, length=info.length
    )
    return completed(empty(ietf.STATE_STATUS, told + _limits(version, info)), info)


def _spoken() -> tuple[dict[str, str], Version]:
    headers = lowercase_headers()
    return headers, ietf.speaks(headers) or LATEST


def _progress(version: Version, info: UploadInfo) -> tuple[ietf.Header, ...]:
    return ietf.progress_headers(version, offset=info.offset, complete=info.complete)


def _limits(version: Version, info: UploadInfo) -> tuple[ietf.Header, ...]:
    left = None
    if info.expires_at is not None:
        left = int((info.expires_at - datetime.now(UTC)).total_seconds())
    size = services().settings.max_upload_size
    return ietf.limit_headers(version, max_size=size, seconds_left=left)


def _announced(
    headers: Mapping[str, str], version: Version, info: UploadInfo, body: RequestBody
) -> Read:
    """Read a body after telling the client where to resume, while its bytes are on the way.

    Not before it is read: whoever asks then waits for this request, and is told what it brought.
    """

    def read(idle: Callable[[], None]) -> Iterator[Buffer]:
        if body.length != 0 and ietf.takes_interim(headers):
            told = (("Location", destination(info)), *_limits(version, info))
            _send_interim(ietf.interim_response(version, told))
        yield from body.chunks(idle)

    return read


def _send_interim(response: bytes) -> None:
    socket = request.environ.get("gunicorn.socket")
    if socket is not None and request.environ.get("SERVER_PROTOCOL") == "HTTP/1.1":
        # Who is gone already is noticed when the body is read.
        with suppress(OSError):
            socket.sendall(response)


def _explained(
    error: HoldallError, version: Version, offset: int | None = None, upload_id: str = ""
) -> Response:
    """Answer an error with what the drafts add to it."""
    response = errors.known(error)
    said = InconsistentLength(str(error)) if isinstance(error, LengthChanged) else error
    if more := ietf.problem(said, offset):
        document = {**response.get_json(), **more, "status": response.status_code}
        response.set_data(json.dumps(document) + "\n")
        response.content_type = PROBLEM_TYPE
    if isinstance(error, OffsetMismatch):
        complete = _is_complete(upload_id)
        told = ietf.progress_headers(version, offset=error.offset, complete=complete)
        response.headers.update(dict(told))
    if isinstance(error, TooLarge):
        size = services().settings.max_upload_size
        response.headers.update(dict(ietf.limit_headers(version, max_size=size)))
    return response


def _is_complete(upload_id: str) -> bool:
    with suppress(HoldallError):
        return services().uploads.get(uploader(), upload_id).complete
    return False
