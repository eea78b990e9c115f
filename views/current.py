"""What a view works with: the service's parts, and who asks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from flask import current_app, g, request

from config import Settings
from services.archive import Archives
from services.caller import ANONYMOUS, EVERYONE, Caller
from services.collections import Collections
from services.direct import Direct
from services.direct_receipt import Receipt
from services.direct_urls import OwnUrls
from services.errors import LinkInvalid
from services.expiry import Expiry
from services.files import Files
from services.gc import Collector
from services.hashing import Hashing
from services.ingest import Ingest
from services.keys import Keys
from services.links import Links
from services.listing import Listing
from services.loop import EventLoop
from services.mirroring_work import Mirroring
from services.probes import Probes
from services.publishing import Publishing
from services.resumable import Uploads
from services.rows_at_once import RowsAtOnce
from services.sessions import Session, Sessions
from services.thumbnails import Thumbnails
from services.thumbnails_media import Media
from services.trash import Trash
from services.usage import Usages
from services.ways import Ways
from storage.base import Storage
from views import cookies
from views.sites import may_change_something

EXTENSION = "holdall"


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of one application, made once by `create_app`."""

    settings: Settings
    storages: Mapping[str, Storage]
    loop: EventLoop
    ingest: Ingest
    publishing: Publishing
    files: Files
    rows_at_once: RowsAtOnce
    uploads: Uploads
    direct: Direct
    receipt: Receipt
    own_urls: OwnUrls
    expiry: Expiry
    collector: Collector
    hashing: Hashing
    mirroring: Mirroring
    listing: Listing
    archives: Archives
    keys: Keys
    sessions: Sessions
    trash: Trash
    collections: Collections
    usages: Usages
    links: Links
    media: Media
    thumbnails: Thumbnails
    ways: Ways
    probes: Probes


def services() -> Services:
    """Return the parts of the application that handles this request."""
    return cast(Services, current_app.extensions[EXTENSION])


def uploader() -> Caller:
    """Return who sends a file: the holder of a key, or of the signed upload link in the URL.

    With a link, the link alone counts. Raises LinkInvalid and LinkExpired.
    """
    token = link_token()
    if token is None:
        return caller()
    if "uploader" not in g:
        g.uploader = services().links.uploader(token)
    return cast(Caller, g.uploader)


def link_token() -> str | None:
    """Return the `link` of the URL, None where it has none. Raises LinkInvalid for several."""
    tokens = request.args.getlist("link")
    if len(tokens) > 1:
        raise LinkInvalid("A request has one link at the most")
    return tokens[0] if tokens else None


def caller() -> Caller:
    """Return who makes this request, by key or else by cookie; looked up once.

    Raises NotSignedIn, KeyInvalid, TooManyFailures, and CsrfFailed where the cookie alone does not
    do for what is asked.
    """
    if services().settings.auth_mode == "open":
        return EVERYONE
    if "caller" not in g:
        shown = request.headers.get("Authorization")
        keys = services().keys
        g.caller = _of_session() if shown is None else keys.authenticate(shown, request.remote_addr)
    return cast(Caller, g.caller)


def session() -> Session | None:
    """Return the session that the request's cookie stands for, if any; looked up once."""
    if "session" not in g:
        cookie = cookies.shown(services().settings)
        g.session = None if cookie is None else services().sessions.find(cookie)
    return cast(Session | None, g.session)


def _of_session() -> Caller:
    found = session()
    if found is None:
        return ANONYMOUS
    if may_change_something():
        services().sessions.require_token(found, request.headers.get("X-CSRF-Token"))
    return found.caller
