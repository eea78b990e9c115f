"""Refuses what a browser sends for a page that may not make it do so, before any body is read.

It matters where a request is believed for nothing that its sender had to know: in `open` mode, and
wherever a browser adds a cookie by itself. A key in Authorization, or a signed link, is known only
to those whom it was given to. The rules are those of `services.sites`.
"""

from typing import Final

from flask import Flask, Response, request

from config import Settings
from services.errors import CrossSite, ForeignHost
from services.sites import SAFE_METHODS, host_of, is_from_elsewhere, is_loopback, origin_of

_CHANGED_BY_GET: Final = frozenset({"/api/direct/s3/params"})
"""URLs that begin something by GET, as the clients of their protocol ask for it."""
_SESSION: Final = "/api/session"
SAFETY: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)


def register(app: Flask, settings: Settings) -> None:
    """Look at every request before its view does, and say whom answers of the API are for."""
    app.before_request(lambda: check(settings))
    app.after_request(_add_safety)


def check(settings: Settings) -> None:
    """Raise CrossSite or ForeignHost for a request that a page of another site brought about."""
    if settings.auth_mode == "open" and is_loopback(settings.host):
        require_own_host(settings)
    ambient = settings.auth_mode == "open" or "Cookie" in request.headers or _signs_in()
    if ambient and may_change_something() and _comes_from_elsewhere(settings):
        raise CrossSite


def require_own_host(settings: Settings) -> None:
    """Raise ForeignHost unless the request names this machine, or the host of PUBLIC_URL."""
    host = host_of(request.headers.get("Host", "localhost"))
    if not is_loopback(host) and host != host_of(settings.public_url.partition("://")[2]):
        raise ForeignHost


def _signs_in() -> bool:
    """Say whether the answer may set a cookie, by which a page would have us know its visitor."""
    return request.path == _SESSION


def may_change_something() -> bool:
    """Say whether the request may be one that changes something."""
    if request.path in _CHANGED_BY_GET:
        return request.method != "OPTIONS"
    return request.method not in SAFE_METHODS


def _comes_from_elsewhere(settings: Settings) -> bool:
    here = origin_of(f"{request.scheme}://{request.headers.get('Host', '')}")
    own = (here, origin_of(settings.public_url))
    return is_from_elsewhere(
        origin=request.headers.get("Origin"),
        site=request.headers.get("Sec-Fetch-Site"),
        own=[origin for origin in own if origin],
        listed=settings.cors_origins,
    )


def _add_safety(response: Response) -> Response:
    """Have an answer of the API taken for what it says it is, and kept from pages elsewhere."""
    if request.path.startswith("/api/"):
        for name, value in SAFETY:
            response.headers.setdefault(name, value)
    return response
