"""The doors for whole uploads: a form with one or many files, or the bare bytes of one."""

from contextlib import ExitStack
from typing import Any
from urllib.parse import quote

from flask import Request, Response, jsonify, request

from services.caller import Caller
from services.digests import DIGESTS, ExpectedDigest, RunningDigests, from_headers, from_hex
from services.errors import MalformedBody, NoFileProvided
from services.files import FileInfo
from services.form_upload import FormUpload
from services.forms import boundary_of, read_form
from services.ingest import Intake
from services.intake import Declaration
from services.retries import Retry
from views import metrics
from views.body import RequestBody
from views.current import Services, services, uploader
from views.schemas import UploadPath, UploadQuery, file_json

_WITHOUT_FILES = ("", "application/x-www-form-urlencoded")


def create(query: UploadQuery) -> Response:
    """Upload one or many files by form.

    Every part called `file` is a file; they are all kept or none is. Other fields become the
    files' metadata. One file is answered with its fields, several with a list.
    """
    return _created(form_files(services(), uploader(), request, query))


def form_files(parts: Services, who: Caller, asked: Request, query: UploadQuery) -> list[FileInfo]:
    """Take in the files of a form, or find those that it made when it was sent before."""
    who.require("write")
    if asked.mimetype in _WITHOUT_FILES:
        raise NoFileProvided
    boundary = boundary_of(asked.headers["Content-Type"])
    body = RequestBody(asked, timeout=parts.settings.body_timeout)
    retry = _retry(asked, who)
    if earlier := parts.publishing.earlier(retry):
        return earlier
    expected = _digests(asked)
    whole = RunningDigests.of(digest.algorithm for digest in expected) if expected else None
    with ExitStack() as stack:
        upload = FormUpload(parts.ingest, who, query.collection, stack, most=body.length)
        if query.sha256:
            upload.expect(from_hex(query.sha256))
        chunks = body.chunks(digests=whole)
        upload.take(read_form(chunks, boundary, most_files=parts.settings.max_upload_files))
        if whole is not None:
            whole.verify(expected)
        return _published(parts, upload.files, retry)


def put(path: UploadPath, query: UploadQuery) -> Response:
    """Upload one file as the bare body, of known length or in chunks."""
    who, parts = uploader(), services()
    who.require("write")
    if "Content-Range" in request.headers:
        # RFC 9110 §14.5: a server that does not do partial PUT must not take it for a whole one.
        raise MalformedBody("Content-Range is not supported here: send the whole file")
    body = RequestBody(request, timeout=parts.settings.body_timeout)
    retry = _retry(request, who)
    if earlier := parts.publishing.earlier(retry):
        return _created(earlier)
    digests = _digests(request)
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
        return _created(_published(parts, [intake], retry))


def _retry(asked: Request, who: Caller) -> Retry | None:
    key = asked.headers.get("Idempotency-Key")
    if key is None:
        return None
    return Retry.named(who, key, f"{asked.method} {quote(asked.path)}")


def _digests(asked: Request) -> tuple[ExpectedDigest, ...]:
    """Return what the headers say that the content has to be."""
    given = {name: asked.headers[name] for name in DIGESTS if name in asked.headers}
    return from_headers(given) if given else ()


def _published(parts: Services, intakes: list[Intake], retry: Retry | None) -> list[FileInfo]:
    files = parts.publishing.publish(intakes, retry)
    metrics.PUBLISHED.inc(len(files))
    metrics.RECEIVED.inc(sum(file.size for file in files))
    return files


def document(files: list[FileInfo], public_url: str) -> dict[str, Any]:
    """Describe what was uploaded: one file by its fields, several as a list."""
    items = [file_json(file, public_url) for file in files]
    return items[0] if len(items) == 1 else {"items": items, "total": len(items)}


def _created(files: list[FileInfo]) -> Response:
    shown = document(files, services().settings.public_url)
    response = jsonify(shown)
    response.status_code = 201
    if "url" in shown:
        response.headers["Location"] = shown["url"]
    return response
