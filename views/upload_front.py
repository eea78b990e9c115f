"""A short way for the commonest upload: a small form without a query, ahead of the framework.

It takes the same steps as `views.uploads`, by the same functions, and leaves out what Flask does
around a view. Whatever it is not made for (a browser's request, a link, a retry's key, a body that
is large, coded or of unknown length) it hands on untouched. What goes wrong goes along, so that
nothing is tried twice: the framework's way begins with it (`views.gate`) and answers it.
"""

import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

from flask import Request

from services.caller import EVERYONE, Caller
from services.sites import host_of, is_loopback
from views.body import close_unless_read
from views.current import Services
from views.gate import FAILED, Need, kept_private, require_of
from views.observing import Observed
from views.proxies import Application
from views.schemas import UploadQuery
from views.sites import SAFETY
from views.uploads import document, form_files

SMALL: Final = 256 * 1024
"""Bytes of the largest form that what Flask takes makes a difference for."""

_PATH: Final = "/api/upload"
_FORM: Final = "multipart/form-data;"
_OTHERWISE: Final = (
    "HTTP_CONTENT_ENCODING",
    "HTTP_COOKIE",
    "HTTP_IDEMPOTENCY_KEY",
    "HTTP_ORIGIN",
    "HTTP_SEC_FETCH_SITE",
    "HTTP_TRANSFER_ENCODING",
)
_NOTHING: Final = UploadQuery()  # type: ignore[call-arg]


class UploadFront:
    """A WSGI application before another: takes small forms, and hands on all else."""

    def __init__(self, application: Application, services: Services) -> None:
        self._application = application
        self._services = services
        settings = services.settings
        self._open = settings.auth_mode == "open"
        # Where pages of other sites are let in, answers have headers that a library makes.
        self._listed = bool(settings.cors_origins)
        self._own_hosts_only = self._open and is_loopback(settings.host)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] != _PATH or not self._is_plain(environ):
            return self._application(environ, start_response)
        observed = Observed.begin(environ.get("HTTP_X_REQUEST_ID", ""))
        try:
            shown = self._taken(environ)
        except Exception as error:
            environ[FAILED] = error
            return self._application(environ, start_response)
        close_unless_read(environ)
        content = json.dumps(shown, separators=(",", ":")).encode() + b"\n"
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
        if "url" in shown:
            headers.append(("Location", shown["url"]))
        told = ("X-Request-ID", observed.request_id)
        start_response("201 CREATED", [*headers, kept_private(), *SAFETY, told])
        observed.end(
            method="POST",
            path=_PATH,
            route=_PATH,
            status=201,
            length=len(content),
            client=environ.get("REMOTE_ADDR", ""),
        )
        return [content]

    def _is_plain(self, environ: dict[str, Any]) -> bool:
        """Say whether a request is a small form of a client that is no browser."""
        length = environ.get("CONTENT_LENGTH", "")
        return (
            environ["REQUEST_METHOD"] == "POST"
            and not environ.get("QUERY_STRING")
            and environ.get("CONTENT_TYPE", "").startswith(_FORM)
            and len(length) <= 6
            and length.isascii()
            and length.isdigit()
            and int(length) <= SMALL
            and environ.keys().isdisjoint(_OTHERWISE)
            and (self._open or "HTTP_AUTHORIZATION" in environ)
            and not self._listed
            and not (self._own_hosts_only and not _is_here(environ.get("HTTP_HOST", "")))
        )

    def _taken(self, environ: dict[str, Any]) -> dict[str, Any]:
        who = self._caller(environ)
        require_of(who, Need.UPLOAD)
        files = form_files(self._services, who, Request(environ), _NOTHING)
        return document(files, self._services.settings.public_url)

    def _caller(self, environ: dict[str, Any]) -> Caller:
        if self._open:
            return EVERYONE
        shown = environ["HTTP_AUTHORIZATION"]
        return self._services.keys.authenticate(shown, environ.get("REMOTE_ADDR"))


@lru_cache(64)
def _is_here(host: str) -> bool:
    """Say whether a Host header names this machine by an address or name of its own."""
    return is_loopback(host_of(host))
