"""Errors at the edge: one table from classes to statuses and codes, one shape for all answers.

`{"error": "message", "code": "stable_code"}`, or RFC 9457's `application/problem+json` where the
client prefers it. What is not in the table is a 500 that says nothing of its cause; the cause and
its stack go to the log.
"""

import logging
from dataclasses import dataclass

from flask import Flask, Response, current_app, request
from pydantic import ValidationError
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as BaseResponse

from services import errors
from services.problems import error_document
from storage import errors as storage_errors

log = logging.getLogger("holdall.errors")

RETRY_AFTER = "5"


@dataclass(frozen=True, slots=True)
class Answer:
    """How one class of error is answered; without `message` the error's own is shown."""

    status: int
    code: str
    message: str | None = None


DATABASE_DOWN = Answer(503, "database_unavailable", "The database does not answer at the moment")
DATABASE_FULL = Answer(507, "storage_full", "There is no room left")

TABLE: dict[type[Exception], Answer] = {
    errors.NoFileProvided: Answer(400, "no_file"),
    errors.TruncatedBody: Answer(400, "truncated_body"),
    errors.MalformedBody: Answer(400, "malformed_body"),
    errors.DigestMismatch: Answer(400, "digest_mismatch"),
    errors.InvalidField: Answer(400, "invalid_field"),
    errors.NotSignedIn: Answer(401, "unauthorized"),
    errors.NotPermitted: Answer(403, "forbidden"),
    errors.CrossSite: Answer(403, "cross_site"),
    errors.ForeignHost: Answer(403, "foreign_host"),
    errors.CsrfFailed: Answer(403, "csrf_failed"),
    errors.LinkInvalid: Answer(403, "link_invalid"),
    errors.LinkExpired: Answer(403, "link_expired"),
    errors.FileNotFound: Answer(404, "not_found"),
    errors.CollectionNotFound: Answer(404, "collection_not_found"),
    errors.ApiKeyNotFound: Answer(404, "not_found"),
    errors.StalledBody: Answer(408, "body_timeout"),
    errors.OffsetMismatch: Answer(409, "offset_mismatch"),
    errors.Conflict: Answer(409, "conflict"),
    errors.Gone: Answer(410, "gone"),
    errors.LinkUsed: Answer(410, "link_used"),
    errors.LengthRequired: Answer(411, "length_required"),
    errors.TooLarge: Answer(413, "too_large"),
    errors.UnsupportedBody: Answer(415, "unsupported_body"),
    errors.TypeNotAllowed: Answer(415, "type_not_allowed"),
    errors.NotAnImage: Answer(415, "not_an_image"),
    errors.ImageRefused: Answer(422, "image_refused"),
    errors.ThumbnailsBusy: Answer(503, "thumbnails_busy"),
    errors.VersionMismatch: Answer(412, "version_mismatch"),
    errors.KeyReused: Answer(422, "idempotency_key_reused"),
    errors.Locked: Answer(423, "locked"),
    errors.TooManyFailures: Answer(429, "too_many_failures"),
    errors.ChecksumMismatch: Answer(460, "checksum_mismatch"),
    errors.Stopping: Answer(503, "stopping"),
    errors.QuotaExceeded: Answer(507, "quota_exceeded"),
    storage_errors.StorageFull: Answer(507, "storage_full", "There is no room left for this file"),
    storage_errors.StorageUnavailable: Answer(
        503, "storage_unavailable", "The storage does not answer at the moment"
    ),
    storage_errors.ObjectNotFound: Answer(
        500, "object_missing", "The content of this file is missing from the storage"
    ),
    storage_errors.StorageError: Answer(500, "storage_error", "The storage failed"),
    OperationalError: DATABASE_DOWN,
    InterfaceError: DATABASE_DOWN,
    PoolTimeout: DATABASE_DOWN,
}
"""The nearest class in an error's ancestry counts."""

HTTP_CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_body",
}


def register(app: Flask) -> None:
    """Answer every error of `app` in our shape."""
    for kind in TABLE:
        app.register_error_handler(kind, known)
    app.register_error_handler(HTTPException, of_the_framework)
    app.register_error_handler(Exception, unforeseen)


def known(error: Exception) -> Response:
    """Answer an error of the table."""
    answer = next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)
    if isinstance(error, OperationalError) and _says_full(error.orig):
        answer = DATABASE_FULL
    if answer.status >= 500:
        log.error(answer.code, extra={"reason": str(error), "path": request.path})
    response = body(answer.status, answer.code, answer.message or str(error))
    if answer.status in (503, 507, 429):
        response.headers["Retry-After"] = str(getattr(error, "retry_after", RETRY_AFTER))
    if answer.status == 401 or isinstance(error, errors.NotPermitted):
        response.headers["WWW-Authenticate"] = _challenge(error)
    if isinstance(error, errors.OffsetMismatch):
        response.headers["Upload-Offset"] = str(error.offset)
    accept = getattr(error, "accept", None)
    if accept:
        response.headers["Accept"] = accept
    return response


def _challenge(error: Exception) -> str:
    """Say what is asked for, and what was wrong with a key that came (RFC 6750 §3)."""
    said = {errors.KeyInvalid: "invalid_token", errors.NotPermitted: "insufficient_scope"}
    reason = said.get(type(error))
    return 'Bearer realm="holdall"' + (f', error="{reason}"' if reason else "")


def _says_full(cause: BaseException | None) -> bool:
    """Say whether a driver reports a full disk: SQLite by name, PostgreSQL as SQLSTATE 53100."""
    names = (getattr(cause, "sqlite_errorname", None), getattr(cause, "sqlstate", None))
    return names[0] == "SQLITE_FULL" or names[1] == "53100"


def of_the_framework(error: HTTPException) -> BaseResponse:
    """Answer an error that the framework raised: no such URL, a method that is not allowed …"""
    if error.response is not None:
        return error.get_response()
    status = error.code or 500
    message = "Resource not found" if status == 404 else error.name
    response = body(status, HTTP_CODES.get(status, error.name.lower().replace(" ", "_")), message)
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def unforeseen(error: Exception) -> Response:
    """Answer an error that nobody foresaw; its stack is for the log alone."""
    if current_app.testing and current_app.config.get("PROPAGATE_EXCEPTIONS"):
        raise error
    log.exception("unforeseen", extra={"path": request.path})
    return body(500, "internal_error", "Something went wrong on our side")


def invalid_parameters(error: ValidationError) -> Response:
    """Answer parameters or a JSON body that the documented schema does not admit."""
    mistake = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in mistake["loc"]) or "body"
    return body(400, "invalid_field", f"{where}: {mistake['msg']}")


def body(status: int, code: str, message: str) -> Response:
    """Return an error in the form that the client prefers."""
    content_type, document = error_document(
        status, code, message, accept=request.headers.get("Accept", "")
    )
    return Response(document, status, content_type=content_type)
