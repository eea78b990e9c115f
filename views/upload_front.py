"""A short way for the commonest upload: a small form without a query, ahead of the framework.

It takes the same steps as `views.uploads`, by the same functions, and leaves out what Flask does
around a view. Whatever it is not made for (a browser's request, a link, a retry's key, a body that
is large, coded or of unknown length) it hands on untouched. What goes wrong goes along, so that
nothing is tried twice: the framework's way begins with it (`views.gate`) and answers it.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Self

from flask import Request

from config import Settings
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

PATH: Final = "/api/upload"
FORM: Final = "multipart/form-data;"
_OTHERWISE: Final = (
    "HTTP_CONTENT_ENCODING",
    "HTTP_COOKIE",
    "HTTP_IDEMPOTENCY_KEY",
    "HTTP_ORIGIN",
    "HTTP_SEC_FETCH_SITE",
    "HTTP_TRANSFER_ENCODING",
)
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))
_NOTHING: Final = UploadQuery()  # type: ignore[call-arg]


@dataclass(frozen=True, slots=True)
class Rules:
    """Which requests can go ahead of the framework, by how the service is set."""

    is_open: bool
    lists_origins: bool
    own_hosts_only: bool

    @classmethod
    def of(cls, settings: Settings) -> Self:
        is_open = settings.auth_mode == "open"
        # Where pages of other sites are let in, answers have headers that a library makes.
        return cls(is_open, bool(settings.cors_origins), is_open and is_loopback(settings.host))

    def take(self, host: str, authorization: str | None) -> bool:
        """Say whether a request for `host` that shows a key, or none, can."""
        return (
            (self.is_open or authorization is not None)
            and not self.lists_origins
            and not (self.own_hosts_only and not _is_here(host))
        )


class UploadFront:
    """A WSGI application before another: takes small forms, and hands on all else."""

    def __init__(self, application: Application, services: Services) -> None:
        self._application = application
        self._services = services
        self._rules = Rules.of(services.settings)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if FAILED in environ:
            # It was taken whole where it failed, so the connection can go on as well.
            environ["wsgi.input"].read()
            return self._application(environ, start_response)
        if environ["PATH_INFO"] != PATH or not self._is_plain(environ):
            return self._application(environ, start_response)
        observed = Observed.begin(environ.get("HTTP_X_REQUEST_ID", ""))
        try:
            shown = self._taken(environ)
        except Exception as error:
            environ[FAILED] = error
            return self._application(environ, start_response)
        close_unless_read(environ)
        content = as_json(shown)
        told = ("X-Request-ID", observed.request_id)
        start_response("201 CREATED", [*fields_of(shown, content), told])
        observed.end(
            method="POST",
            path=PATH,
            route=PATH,
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
            and environ.get("CONTENT_TYPE", "").startswith(FORM)
            and len(length) <= 6
            and length.isascii()
            and length.isdigit()
            and int(length) <= SMALL
            and environ.keys().isdisjoint(_OTHERWISE)
            and self._rules.take(environ.get("HTTP_HOST", ""), environ.get("HTTP_AUTHORIZATION"))
        )

    def _taken(self, environ: dict[str, Any]) -> dict[str, Any]:
        who = self._caller(environ)
        require_of(who, Need.UPLOAD)
        files = form_files(self._services, who, Request(environ), _NOTHING)
        return document(files, self._services.settings.public_url)

    def _caller(self, environ: dict[str, Any]) -> Caller:
        if self._rules.is_open:
            return EVERYONE
        shown = environ["HTTP_AUTHORIZATION"]
        return self._services.keys.authenticate(shown, environ.get("REMOTE_ADDR"))


def as_json(shown: dict[str, Any]) -> bytes:
    """Write an answer's body as the framework does."""
    return _ENCODER.encode(shown).encode() + b"\n"


def fields_of(shown: dict[str, Any], content: bytes) -> list[tuple[str, str]]:
    """Return the headers of an answer, but for the request's id."""
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(content)))]
    if "url" in shown:
        headers.append(("Location", shown["url"]))
    return [*headers, kept_private(), *SAFETY]


@lru_cache(64)
def _is_here(host: str) -> bool:
    """Say whether a Host header names this machine by an address or name of its own."""
    return is_loopback(host_of(host))
