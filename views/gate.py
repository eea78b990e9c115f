"""Asks who sends a request and whether that is enough, before its view runs or a body is read.

What each view needs stands in the URL map (`routes.NEEDS`), and a view without an entry keeps the
service from starting. What a caller may do with one particular file or upload is for the services
to say, which ask for the scope once more.
"""

from collections.abc import Mapping
from enum import Enum

from flask import Flask, Response, request

from services.errors import NotSignedIn
from views.current import caller, uploader


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
        require(need())

    @app.after_request
    def keep_private(response: Response) -> Response:
        if need() is not Need.NOTHING:
            response.headers.setdefault("Cache-Control", "private, no-store")
        return response


def require(need: Need) -> None:
    """Raise NotSignedIn, KeyInvalid, NotPermitted, LinkInvalid … unless the caller has `need`."""
    if need is Need.NOTHING:
        return
    who = uploader() if need is Need.UPLOAD else caller()
    if not who.scopes:
        raise NotSignedIn("This needs an API key")
    if need is Need.ADMIN_OF_ALL:
        who.require_admin_of_all()
    elif need is not Need.ANY_SCOPE:
        who.require("write" if need is Need.UPLOAD else need.value)
