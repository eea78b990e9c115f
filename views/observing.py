"""What is known of each request: an id that travels with it, one log line, and the figures."""

import logging
import os
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from json.encoder import encode_basestring_ascii as _text
from secrets import token_hex
from typing import Final, Self

from flask import Flask, Response, g, request
from prometheus_client import Counter, Histogram
from werkzeug.wrappers import Response as BaseResponse

from services import cors
from views import metrics

log = logging.getLogger("holdall.request")

_NOT_FOUND_OUT: Final = vars(logging.makeLogRecord({}))
_GIVEN_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_QUIET: Final = frozenset({"/api/health", "/api/ready", "/metrics"})


@dataclass(frozen=True, slots=True)
class Observed:
    """A request that has begun: its id, and when that was."""

    request_id: str
    began: float

    @classmethod
    def begin(cls, given: str) -> Self:
        """Begin with the id that the client gave, or one of ours where that is none."""
        chosen = given if given and _GIVEN_ID.fullmatch(given) else token_hex(16)
        return cls(chosen, time.perf_counter())

    @property
    def field(self) -> str:
        """The header that tells the id, as it is sent."""
        return f"X-Request-ID: {self.request_id}\r\n"

    def end(
        self, *, method: str, path: str, route: str, status: int, length: int | None, client: str
    ) -> None:
        """Count the request and write its line; `length` is the body's, in bytes."""
        seconds = time.perf_counter() - self.began
        # Each label is kept for good, and a client may make up any method.
        label = method if method in cors.ALLOWED_METHODS else "other"
        requests, durations = _figures(label, route, status)
        requests.inc()
        durations.observe(seconds)
        if length and method != "HEAD":
            metrics.SENT.inc(length)
        level = logging.DEBUG if path in _QUIET else logging.INFO
        if log.isEnabledFor(level):
            told = (self.request_id, method, path, status, length, seconds * 1000, client)
            log.handle(RequestLine(level, *told))


class RequestLine(logging.LogRecord):
    """The record of one request.

    There is one for each, so it finds out nothing that is not in the line, and writes it itself.
    """

    def __init__(
        self,
        level: int,
        request_id: str,
        method: str,
        path: str,
        status: int,
        length: int | None,
        ms: float,
        client: str,
    ) -> None:
        vars(self).update(_NOT_FOUND_OUT)
        self.name, self.msg, self.args = log.name, "request", ()
        self.levelno, self.levelname = level, logging.getLevelName(level)
        self.created, self.process = time.time(), os.getpid()
        self.request_id, self.method, self.path = request_id, method, path
        self.status, self.bytes, self.ms, self.client = status, length, round(ms, 1), client

    def as_json(self) -> str:
        """Return the line as the formatter for all records would write it."""
        size = "null" if self.bytes is None else self.bytes
        return (
            f'{{"level": "{self.levelname}", "logger": "{self.name}", "message": "{self.msg}", '
            f'"process": {self.process}, "request_id": {_text(self.request_id)}, '
            f'"method": {_text(self.method)}, "path": {_text(self.path)}, '
            f'"status": {self.status}, "bytes": {size}, "ms": {self.ms}, '
            f'"client": {_text(self.client)}, '
            f'"time": "{datetime.fromtimestamp(self.created, UTC).isoformat()}"}}'
        )


@cache
def _figures(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    """Return the figures that a request counts in; finding them takes longer than counting."""
    return metrics.REQUESTS.labels(method, route, status), metrics.DURATION.labels(route)


def register(app: Flask) -> None:
    """Have every request of `app` observed."""
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    g.observed = Observed.begin(request.headers.get("X-Request-ID", ""))


def _end(response: Response) -> BaseResponse:
    observed: Observed = g.observed
    response.headers["X-Request-ID"] = observed.request_id
    observed.end(
        method=request.method,
        path=request.path,
        route=request.url_rule.rule if request.url_rule else "unmatched",
        status=response.status_code,
        length=response.content_length,
        client=request.remote_addr or "",
    )
    return response
