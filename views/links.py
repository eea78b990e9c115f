"""Signed links: made here for files and for uploads, and recognised where one opens a file."""

from flask import Response, jsonify, request

from services.delivery import Access, Grant
from services.links import READING
from services.thumbnails_wanted import without
from views.current import caller, services
from views.schemas import FilePath, LinkRequest, UploadLinkRequest, moment_text


def make(path: FilePath, body: LinkRequest) -> Response:
    """Make a link by which anybody can read the file for a while, without a key.

    Whoever asks for the same before a quarter of `expires_in` is over gets the same link.
    """
    link = services().links.to_read(
        caller(),
        path.id,
        expires_in=body.expires_in,
        disposition=body.disposition,
        filename=body.filename,
    )
    return _made(
        url=services().settings.public_url + link.path,
        disposition=link.disposition,
        filename=link.filename,
        expires_at=moment_text(link.expires_at),
    )


def make_upload(body: UploadLinkRequest) -> Response:
    """Make a link by which anybody can upload one file for a while, without a key."""
    link = services().links.to_upload(
        caller(),
        expires_in=body.expires_in,
        collection=body.collection,
        max_size=body.max_size,
        filename=body.filename,
        content_type=body.content_type,
    )
    public_url = services().settings.public_url
    return _made(
        url=f"{public_url}/api/upload?link={link.token}",
        tus_url=f"{public_url}/api/tus?link={link.token}",
        token=link.token,
        collection=link.collection,
        max_size=link.max_size,
        filename=link.filename,
        content_type=link.content_type,
        expires_at=moment_text(link.expires_at),
    )


def shown_link() -> Access | None:
    """Return the access that the request's own URL gives, None where it is no signed link.

    Nothing is looked up for it, so that a refusal tells nothing of what exists. Raises
    LinkInvalid and LinkExpired.
    """
    if READING.isdisjoint(request.args):
        return None
    # WSGI gives the bytes of both as Latin-1 (PEP 3333).
    path = request.environ["PATH_INFO"].encode("latin-1")
    # A smaller picture of what the link gives whole needs no link of its own.
    query = without(request.environ.get("QUERY_STRING", ""))
    return Access(Grant.SIGNED, services().links.verify(request.method, path, query))


def _made(**fields: object) -> Response:
    response = jsonify(**fields)
    response.status_code = 201
    return response
