"""Direct uploads: signed requests for browsers and scripts, in our shape and in Uppy's.

`services.direct` has the rules. What comes to this service itself, where the storage takes nothing
from clients, is shown by a signature and not by a key (`services.direct_receipt`).
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from flask import Flask, Response, jsonify, request

from services.digests import from_headers
from services.direct import Begun, Ended
from services.direct_urls import part_path, whole_path
from services.errors import InvalidField
from services.forms import boundary_of, read_form
from services.intake import Declaration
from storage.capabilities import SignedForm, SignedRequest
from views import metrics
from views.body import RequestBody
from views.current import services, uploader
from views.direct_shapes import (
    DirectBegin,
    DirectKey,
    DirectPath,
    KeyQuery,
    LinkQuery,
    MultipartBegin,
    MultipartEnd,
    ParamsQuery,
    PartPath,
    SignedQuery,
)
from views.schemas import file_json, moment_text
from views.transfers import empty, lowercase_headers

_METADATA: Final = "metadata["


def register(app: Flask) -> None:
    """Keep the answers to those who asked."""
    app.after_request(_keep_private)


def begin(query: LinkQuery, body: DirectBegin) -> Response:
    """Begin an upload of known size, sent by one PUT to the URL in the answer."""
    declared = Declaration(
        filename=body.filename,
        content_type=body.content_type,
        size=body.size,
        collection=body.collection,
        metadata=body.metadata,
    )
    begun = services().direct.begin_put(uploader(), declared)
    assert isinstance(begun.request, SignedRequest)
    response = jsonify(
        id=begun.id,
        key=begun.key,
        method=begun.request.method,
        url=_absolute(begun.request.url),
        headers=begun.request.headers,
        expires_at=moment_text(begun.request.expires_at),
        confirm_url=_confirm_url(begun),
    )
    response.status_code = 201
    return response


def confirm(path: DirectPath, query: LinkQuery) -> Response:
    """Make the file of what was sent, once it was looked at; again, and it is the same file."""
    return _made(services().direct.confirm(uploader(), path.id))


def confirm_key(query: LinkQuery, body: DirectKey) -> Response:
    """Do the same by the field `key` of a form, which is all that Uppy tells of it."""
    return _made(services().direct.confirm_key(uploader(), body.key))


def end(path: DirectPath, query: LinkQuery) -> Response:
    """Give an upload up, and all that came of it."""
    services().direct.abort(uploader(), path.id)
    return empty(204, ())


def params(query: ParamsQuery) -> Response:
    """Begin an upload that is sent by one form."""
    told = {
        name.removeprefix(_METADATA).removesuffix("]"): value
        for name, value in request.args.items()
        if name.startswith(_METADATA) and name.endswith("]")
    }
    begun = services().direct.begin_form(uploader(), _declaration(query.filename, query.type, told))
    assert isinstance(begun.request, SignedForm)
    return jsonify(
        method="POST",
        url=_absolute(begun.request.url),
        fields=begun.request.fields,
        expires=_seconds(begun.request),
        id=begun.id,
        confirm_url=_confirm_url(begun),
    )


def create_multipart(query: LinkQuery, body: MultipartBegin) -> Response:
    """Begin an upload that is sent in parts."""
    declared = _declaration(body.filename, body.type, body.metadata or {})
    begun = services().direct.begin_parts(uploader(), declared)
    return jsonify(key=begun.key, uploadId=begun.id, bucket=begun.bucket)


def sign_part(path: PartPath, query: KeyQuery) -> Response:
    """Return the URL that one part is PUT to."""
    signed = services().direct.sign_part(uploader(), path.id, query.key, path.number)
    return jsonify(url=_absolute(signed.url), expires=_seconds(signed))


def list_parts(path: DirectPath, query: KeyQuery) -> Response:
    """List the parts that have arrived."""
    parts = services().direct.parts(uploader(), path.id, query.key)
    return jsonify(
        [{"PartNumber": part.number, "Size": part.size, "ETag": f'"{part.etag}"'} for part in parts]
    )


def complete(path: DirectPath, query: KeyQuery, body: MultipartEnd) -> Response:
    """Put the parts together and, once that was looked at, make it a file."""
    named = [(part.PartNumber, part.ETag) for part in body.parts]
    ended = services().direct.complete(uploader(), path.id, query.key, named)
    shown = _shown(ended)
    where = {"location": _absolute(shown["url"]), "key": query.key, "bucket": ended.bucket}
    return jsonify(where | shown)


def abort(path: DirectPath, query: KeyQuery) -> Response:
    """Give an upload in parts up, and all that came of it."""
    services().direct.abort(uploader(), path.id, query.key)
    return jsonify({})


def put_whole(path: DirectPath, query: SignedQuery) -> Response:
    """Take a whole file, sent to a URL that was signed here."""
    _verify(whole_path(path.id), query)
    body = _body()
    digests = from_headers(lowercase_headers())
    return _stored(services().receipt.whole(path.id, body.length, body.chunks(), digests))


def post_whole(path: DirectPath, query: SignedQuery) -> Response:
    """Take a whole file as the field `file` of a form."""
    _verify(whole_path(path.id), query)
    boundary = boundary_of(request.headers.get("Content-Type", ""))
    body = _body()
    events = read_form(body.chunks(), boundary, most_files=1)
    stored = _stored(services().receipt.form(path.id, body.length, events))
    stored.status_code = 201
    return stored


def put_part(path: PartPath, query: SignedQuery) -> Response:
    """Take one part, sent to a URL that was signed here."""
    _verify(part_path(path.id, path.number), query)
    body = _body()
    digests = from_headers(lowercase_headers())
    receipt = services().receipt
    return _stored(receipt.part(path.id, path.number, body.length, body.chunks(), digests))


def _keep_private(response: Response) -> Response:
    """Whoever has an answer has what it allows: no cache keeps one."""
    if request.path.startswith("/api/direct"):
        response.headers["Cache-Control"] = "private, no-store"
    return response


def _declaration(filename: str, content_type: str | None, told: Mapping[str, Any]) -> Declaration:
    """Read what Uppy's metadata says of the file; a plain number as `size` is its size.

    Its own `name`, `type` and empty `relativePath` say nothing more.
    """
    rest = {name: value for name, value in told.items() if name not in ("name", "type")}
    if rest.get("relativePath") in (None, "null"):
        rest.pop("relativePath", None)
    collection, size = rest.pop("collection", None), str(rest.pop("size", ""))
    if collection is not None and not isinstance(collection, str):
        raise InvalidField("collection is not a name")
    if size and not (size.isascii() and size.isdigit() and len(size) <= 18):
        raise InvalidField("size is not a number of bytes")
    return Declaration(
        filename=filename,
        content_type=content_type,
        size=int(size) if size else None,
        collection=collection or None,
        metadata=rest,
    )


def _verify(path: str, query: SignedQuery) -> None:
    services().own_urls.verify(request.method, path, query.expires, query.signature)


def _body() -> RequestBody:
    return RequestBody(request, timeout=services().settings.body_timeout)


def _stored(etag: str) -> Response:
    response = Response(status=200)
    response.headers["ETag"] = f'"{etag}"'
    del response.headers["Content-Type"]
    return response


def _made(ended: Ended) -> Response:
    shown = _shown(ended)
    response = jsonify(shown)
    response.status_code = 201 if ended.made else 200
    response.headers["Location"] = shown["url"]
    return response


def _shown(ended: Ended) -> dict[str, Any]:
    if ended.made:
        metrics.PUBLISHED.inc()
    return file_json(ended.file, services().settings.public_url)


def _absolute(url: str) -> str:
    """Return a URL that a page of another origin can use."""
    if not url.startswith("/"):
        return url
    return (services().settings.public_url or request.host_url.rstrip("/")) + url


def _confirm_url(begun: Begun) -> str:
    return _absolute(f"/api/direct/{begun.id}/confirm")


def _seconds(signed: SignedRequest | SignedForm) -> int:
    return max(0, int((signed.expires_at - datetime.now(UTC)).total_seconds()))
