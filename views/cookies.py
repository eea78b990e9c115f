"""The cookie that a browser keeps its session in.

Where requests come by https it has the prefix `__Host-`, which no other host and no plain http can
set (draft-ietf-httpbis-rfc6265bis §4.1.3); scripts never see it, and no page of another site has
it sent. What is in it is for `services.sessions` to say.
"""

from typing import Final

from flask import Flask, Request, Response, request
from flask.sessions import NullSession, SecureCookieSessionInterface

from config import Settings

_NAME: Final = "holdall_session"


class NoSessions(SecureCookieSessionInterface):
    """Flask's own sessions left out: nothing reads them, and opening one takes time."""

    _none = NullSession()

    def open_session(self, app: Flask, request: Request) -> NullSession:
        return self._none


def shown(settings: Settings) -> str | None:
    """Return the cookie that the request shows."""
    return request.cookies.get(_name(settings))


def give(response: Response, settings: Settings, value: str, *, seconds: int) -> None:
    """Have the browser keep the cookie for a while; an empty one for none takes it away."""
    response.set_cookie(
        _name(settings),
        value,
        max_age=seconds,
        path="/",
        secure=_is_secure(settings),
        httponly=True,
        samesite="Strict",
    )


def take_back(response: Response, settings: Settings) -> None:
    """Have the browser forget the cookie."""
    give(response, settings, "", seconds=0)


def _name(settings: Settings) -> str:
    return f"__Host-{_NAME}" if _is_secure(settings) else _NAME


def _is_secure(settings: Settings) -> bool:
    return request.is_secure or settings.public_url.startswith("https:")
