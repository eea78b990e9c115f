"""Signing in with an API key, and out again; and what a page has to know before all else."""

from typing import cast

from flask import Response, current_app, jsonify, request
from flask_openapi3.openapi import OpenAPI

from services.caller import ANONYMOUS, Caller
from services.sessions import LASTS, Session
from views import cookies
from views.current import caller, services
from views.current import session as shown_session
from views.session_shapes import SessionRequest


def read() -> Response:
    """Say who asks, by key or by cookie, and what the service takes."""
    if services().settings.auth_mode == "open":
        return _told(caller())
    if "Authorization" in request.headers:
        who = caller()
        holder = services().keys.holder(who.owner or "")
        return _told(who, name=None if holder is None else holder.name)
    return _of(shown_session())


def begin(body: SessionRequest) -> Response:
    """Sign in with a key: the answer sets a cookie that stands for it for twelve hours."""
    settings = services().settings
    if settings.auth_mode == "open":
        return _told(caller())
    session = services().sessions.begin(body.key, request.remote_addr)
    response = _of(session)
    cookies.give(response, settings, session.cookie, seconds=LASTS)
    return response


def end() -> Response:
    """Sign out: the browser forgets its cookie. It needs the token of the session, if any."""
    session = shown_session()
    if session is not None:
        services().sessions.require_token(session, request.headers.get("X-CSRF-Token"))
    response = Response(status=204)
    del response.headers["Content-Type"]
    cookies.take_back(response, services().settings)
    return _private(response)


def _of(session: Session | None) -> Response:
    if session is None:
        return _told(ANONYMOUS)
    return _told(session.caller, name=session.name, token=session.token)


def _told(who: Caller, *, name: str | None = None, token: str | None = None) -> Response:
    settings = services().settings
    told = jsonify(
        auth_mode=settings.auth_mode,
        signed_in=bool(who.scopes),
        name=name,
        scopes=sorted(who.scopes),
        collection=who.collection,
        csrf_token=token,
        max_upload_size=settings.max_upload_size,
        version=cast(OpenAPI, current_app).info.version,
        trash_expires_in=settings.trash_expires_in,
    )
    return _private(told)


def _private(response: Response) -> Response:
    """Have no cache keep it: it hangs on the cookie, and holds the session's token."""
    response.headers["Cache-Control"] = "private, no-store"
    return response
