"""The doors for whole uploads: a form with one or many files, or the bare bytes of one."""

from contextlib import ExitStack
from urllib.parse import quote

from flask import Response, jsonify, request

from services.caller import Caller
from services.digests import RunningDigests, from_headers, from_hex
from services.errors import MalformedBody, NoFileProvided
from services.files import FileInfo
from services.form_upload import FormUpload
from services.forms import boundary_of, read_form
from services.ingest import Intake
from services.intake import Declaration
from services.publishing import Retry
from views import metrics
from views.body import RequestBody
from views.current import services, uploader
from views.schemas import UploadPath, UploadQuery, file_json
from views.transfers import lowercase_headers

_WITHOUT_FILES = ("", "application/x-www-form-urlencoded")


def create(query: UploadQuery) -> Response:
    """Upload one or many files by form.

    Every part called `file` is a file; they are all kept or none is. Other fields become the
    files' metadata. One file is answered with its fields, several with a list.
    """
    who, parts = uploader(), services()
    who.require("write")
    if request.mimetype in _WITHOUT_FILES:
        raise NoFileProvided
    boundary = boundary_of(request.headers["Content-Type"])
    body = _body()
    retry = _retry(who)
    if earlier := parts.publishing.earlier(retry):
        return _created(earlier)
    expected = from_headers(lowercase_headers())
    whole = RunningDigests.of(digest.algorithm for digest in expected) if expected else None
    with ExitStack() as stack:
        upload = FormUpload(parts.ingest, who, query.collection, stack, most=body.length)
        if query.sha256:
            upload.expect(from_hex(query.sha256))
        chunks = body.own_chunks(whole)
        upload.take(read_form(chunks, boundary, most_files=parts.settings.max_upload_files))
        if whole is not None:
            whole.verify(expected)
        return _published(upload.files, retry)


def put(path: UploadPath, query: UploadQuery) -> Response:
    """Upload one file as the bare body, of known length or in chunks."""
    who, parts = uploader(), services()
    who.require("write")
    if "Content-Range" in request.headers:
        # RFC 9110 §14.5: a server that does not do partial PUT must not take it for a whole one.
        raise MalformedBody("Content-Range is not supported here: send the whole file")
    body = _body()
    retry = _retry(who)
    if earlier := parts.publishing.earlier(retry):
        return _created(earlier)
    digests = from_headers(lowercase_headers())
    declared = Declaration(
        filename=path.filename,
        content_type=request.headers.get("Content-Type"),
        size=body.length,
        collection=query.collection,
        digests=(*digests, from_hex(query.sha256)) if query.sha256 else digests,
    )
    with parts.ingest.admit(who, declared) as intake:
        for chunk in body.chunks():
            intake.feed(chunk)
        intake.inspect()
        return _published([intake], retry)


def _body() -> RequestBody:
    return RequestBody(request, timeout=services().settings.body_timeout)


def _retry(who: Caller) -> Retry | None:
    return Retry.named(
        who, request.headers.get("Idempotency-Key"), f"{request.method} {quote(request.path)}"
    )


def _published(intakes: list[Intake], retry: Retry | None) -> Response:
    files = services().publishing.publish(intakes, retry)
    metrics.PUBLISHED.inc(len(files))
    metrics.RECEIVED.inc(sum(file.size for file in files))
    return _created(files)


def _created(files: list[FileInfo]) -> Response:
    public_url = services().settings.public_url
    items = [file_json(file, public_url) for file in files]
    if len(items) > 1:
        response = jsonify(items=items, total=len(items))
    else:
        response = jsonify(items[0])
        response.headers["Location"] = items[0]["url"]
    response.status_code = 201
    return response
