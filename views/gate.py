"""Asks who sends a request and whether that is enough, before its view runs or a body is read.

What each view needs stands in the URL map (`routes.NEEDS`), and a view without an entry keeps the
service from starting. What a caller may do with one particular file or upload is for the services
to say, which ask for the scope once more.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Final

from flask import Flask, Response, request

from services.caller import Caller
from services.errors import NotSignedIn
from views.current import caller, uploader

FAILED: Final = "holdall.failed"
"""Where a short way ahead of the framework leaves the error that ended its try at a request."""


class Need(Enum):
    """What a caller must have for a view to run."""

    NOTHING = "nothing"
    READ = "read"
    WRITE = "write"
    UPLOAD = "write, or a signed upload link"
    DELETE = "delete"
    ANY_SCOPE = "any scope"
    ADMIN = "admin"
    ADMIN_OF_ALL = "admin, without a collection"


def register(app: Flask, needs: Mapping[str, Need]) -> None:
    """Look at every request that has a view; `needs` is by endpoint.

    What is answered to a caller is for that caller alone: no cache keeps it.
    """

    def need() -> Need:
        # A browser asks with OPTIONS what it may send, and has no key to show for that.
        asks = request.method == "OPTIONS"
        return Need.NOTHING if asks else needs.get(request.endpoint or "", Need.NOTHING)

    @app.before_request
    def check() -> None:
        if FAILED in request.environ:
            raise request.environ[FAILED]
        require(need())

    @app.after_request
    def keep_private(response: Response) -> Response:
        if need() is not Need.NOTHING:
            response.headers.setdefault(*kept_private())
        return response


def kept_private() -> tuple[str, str]:
    """Return the header by which no cache keeps an answer."""
    return "Cache-Control", "private, no-store"


def require(need: Need) -> None:
    """Raise NotSignedIn, KeyInvalid, NotPermitted, LinkInvalid … unless the caller has `need`."""
    if need is Need.NOTHING:
        return
    require_of(uploader() if need is Need.UPLOAD else caller(), need)


def require_of(who: Caller, need: Need) -> None:
    """Raise NotSignedIn or NotPermitted unless `who` has what is needed."""
    if not who.scopes:
        raise NotSignedIn("This needs an API key")
    if need is Need.ADMIN_OF_ALL:
        who.require_admin_of_all()
    elif need is not Need.ANY_SCOPE:
        who.require("write" if need is Need.UPLOAD else need.value)
