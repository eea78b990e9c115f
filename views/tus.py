"""tus 1.0.0 at `/api/tus`: what its requests ask of resumable uploads, and how it is told.

The headers are read and written by `services.tus`; every rule of uploads is in
`services.resumable`. Clients that speak the IETF draft come to the same URLs (`views.drafts`).
"""

from collections.abc import Mapping

from flask import Flask, Response, request

from services import ietf, tus
from services.resumed import Request
from services.upload_rows import PART, WHOLE, UploadInfo
from views import drafts
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

PROTOCOL = "tus"


def register(app: Flask) -> None:
    """Have every answer of this protocol carry its version, errors too."""
    app.after_request(_with_version)


def options(upload_id: str | None = None) -> Response:
    """Say what is spoken here, whatever version the client asked with."""
    size = services().settings.max_upload_size
    accepted = ("Accept-Patch", f"{tus.OFFSET_TYPE}, {ietf.PARTIAL_TYPE}")
    limits = ietf.limit_headers(ietf.LATEST, max_size=size)
    return empty(204, (*tus.discovery_headers(size), accepted, *limits))


def create() -> Response:
    """Begin an upload, with its first bytes where they come along, or join finished parts."""
    headers = lowercase_headers()
    if ietf.speaks(headers):
        return drafts.create()
    tus.require_version(headers)
    asked = tus.creation(headers, has_body=_has_body())
    declared = declaration(asked.metadata, asked.length)
    kept = {
        "metadata": asked.metadata_header,
        "concat": tus.concat_header(partial=asked.partial, parts=asked.parts),
    }
    uploads = services().uploads
    if asked.parts:
        info = uploads.joining.join(uploader(), declared, asked.parts, protocol=PROTOCOL, kept=kept)
        return _created(info, with_offset=False)
    role = PART if asked.partial else WHOLE
    info = uploads.create(uploader(), declared, protocol=PROTOCOL, role=role, kept=kept)
    if asked.with_upload and _has_body():
        info = uploads.append(uploader(), info.id, 0, _request(asked))
    elif info.length == 0:
        info = uploads.get(uploader(), info.id)
    return _created(info, with_offset=asked.with_upload)


def resource(upload_id: str) -> Response:
    """Ask how far an upload is, go on with it, or end it."""
    headers = lowercase_headers()
    if ietf.speaks(headers):
        return drafts.resource(upload_id)
    tus.require_version(headers)
    method = tus.effective_method(request.method, headers)
    if method == "HEAD":
        return _state(upload_id)
    if method == "PATCH":
        return _append(upload_id, headers)
    if method == "DELETE":
        services().uploads.terminate(uploader(), upload_id)
        return empty(204, ())
    response = empty(405, ())
    response.headers["Allow"] = "HEAD, PATCH, DELETE, OPTIONS"
    return response


def _state(upload_id: str) -> Response:
    info = services().uploads.get(uploader(), upload_id)
    headers = tus.state_headers(
        offset=info.offset,
        length=info.length,
        metadata=info.protocol.get("metadata"),
        concat=info.protocol.get("concat"),
        expires=info.expires_at,
    )
    return completed(empty(200, headers), info)


def _append(upload_id: str, headers: Mapping[str, str]) -> Response:
    asked = tus.append(headers)
    uploads = services().uploads
    info = uploads.append(uploader(), upload_id, asked.offset, _request(asked), length=asked.length)
    answer = completed(empty(204, tus.append_headers(info.offset, info.expires_at)), info)
    return described(answer, info)


def _request(asked: tus.Creation | tus.Append) -> Request:
    body = body_of_request()
    return Request(body.chunks, body.length, checksum=asked.checksum)


def _created(info: UploadInfo, *, with_offset: bool) -> Response:
    told = (
        tus.append_headers(info.offset, info.expires_at)
        if with_offset
        else tus.expiry_headers(info.expires_at)
    )
    response = completed(empty(201, told), info)
    response.headers["Location"] = destination(info)
    return described(response, info)


def _has_body() -> bool:
    return bool(request.content_length) or "Transfer-Encoding" in request.headers


def _with_version(response: Response) -> Response:
    if request.path.startswith("/api/tus") and not ietf.speaks(lowercase_headers()):
        if request.method != "OPTIONS":
            response.headers["Tus-Resumable"] = tus.VERSION
        if response.status_code == 412:
            response.headers["Tus-Version"] = tus.VERSION
    return response
