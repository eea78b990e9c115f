"""What the doors for resumable uploads tell in the same way, whichever protocol they speak."""

from collections.abc import Mapping

from flask import Response, json, request

from services.filenames import link_path
from services.intake import Declaration
from services.upload_rows import UploadInfo
from views.body import RequestBody
from views.current import link_token, services
from views.schemas import file_json


def lowercase_headers() -> dict[str, str]:
    """Return the request's headers with lowercase names."""
    return {name.lower(): value for name, value in request.headers}


def declaration(
    told: Mapping[str, str],
    length: int | None,
    *,
    filename: str | None = None,
    content_type: str | None = None,
) -> Declaration:
    """Read what Upload-Metadata says of the file, in the names that clients use.

    `filename` and `content_type` are what other headers say, and count first.
    """
    rest = dict(told)
    names = [rest.pop(key, "") for key in ("filename", "name")]
    types = [rest.pop(key, "") for key in ("filetype", "type", "contentType")]
    collection = rest.pop("collection", "")
    return Declaration(
        filename=filename or next(filter(None, names), ""),
        content_type=content_type or next(filter(None, types), None),
        size=length,
        collection=request.args.get("collection") or collection or None,
        metadata=rest,
    )


def body_of_request() -> RequestBody:
    """Return the bytes that come along; there may be none."""
    timeout = services().settings.body_timeout
    return RequestBody(request, timeout=timeout, may_be_absent=True)


def empty(status: int, headers: tuple[tuple[str, str], ...]) -> Response:
    """Return an answer without a body."""
    response = Response(status=status)
    del response.headers["Content-Type"]
    response.headers.extend(headers)
    return response


def destination(info: UploadInfo) -> str:
    """Return the URL of an upload: relative, or on the URL that clients know the service by.

    It carries on the signed link that the upload was begun by.
    """
    token = link_token()
    carried = "" if token is None else f"?link={token}"
    return f"{services().settings.public_url}/api/tus/{info.id}{carried}"


def completed(response: Response, info: UploadInfo) -> Response:
    """Say which file the upload became, once it did."""
    if info.file_id is not None:
        file = services().files.for_delivery(info.file_id)
        response.headers["Upload-File-Id"] = info.file_id
        if file is not None:
            link = services().settings.public_url + link_path(file.id, file.filename)
            response.headers["Upload-File-Url"] = link
    return response


def described(response: Response, info: UploadInfo) -> Response:
    """Put the file into the answer where the client asks for it (RFC 7240 §4.2)."""
    if info.file_id is None or "return=representation" not in request.headers.get("Prefer", ""):
        return response
    file = services().files.describe(info.file_id)
    response.set_data(json.dumps(file_json(file, services().settings.public_url)))
    response.content_type = "application/json"
    response.headers["Preference-Applied"] = "return=representation"
    if response.status_code == 204:
        response.status_code = 200
    return response
