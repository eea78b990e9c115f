"""A signed upload link in the path, for clients that put their own path behind an address.

Uppy's S3 plugin is given an address and adds `/s3/multipart` and the like, a query too: a token
can only stand in front. `/api/direct/by/<token>/s3/…` is `/api/direct/s3/…?link=<token>`, and
nothing further in sees, routes or logs it otherwise.
"""

from collections.abc import Iterable
from typing import Any, Final

from views.proxies import Application

_BY: Final = "/api/direct/by/"


class LinkInPath:
    """A WSGI application before another, which moves the token to where links are looked for."""

    def __init__(self, application: Application) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path: str = environ["PATH_INFO"]
        if path.startswith(_BY):
            token, slash, rest = path[len(_BY) :].partition("/")
            query = environ.get("QUERY_STRING", "")
            environ["PATH_INFO"] = f"/api/direct{slash}{rest}"
            environ["QUERY_STRING"] = f"{query}&link={_quoted(token)}".lstrip("&")
        return self._application(environ, start_response)


def _quoted(token: str) -> str:
    """Return what a token has, and nothing that would end it in a query."""
    return "".join(
        char if char.isascii() and (char.isalnum() or char in "-_.") else "+" for char in token
    )
