"""What is known of each request: an id that travels with it, one log line, and the figures."""

import logging
import re
import time
from dataclasses import dataclass
from typing import Final, Self

from flask import Flask, Response, g, request
from werkzeug.wrappers import Response as BaseResponse

from services import cors
from storage.keys import random_name
from views import metrics

log = logging.getLogger("holdall.request")

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
        chosen = given if _GIVEN_ID.fullmatch(given) else random_name()
        return cls(chosen, time.perf_counter())

    def end(
        self, *, method: str, path: str, route: str, status: int, length: int | None, client: str
    ) -> None:
        """Count the request and write its line; `length` is the body's, in bytes."""
        seconds = time.perf_counter() - self.began
        # Each label is kept for good, and a client may make up any method.
        label = method if method in cors.ALLOWED_METHODS else "other"
        metrics.REQUESTS.labels(label, route, status).inc()
        metrics.DURATION.labels(route).observe(seconds)
        if length and method != "HEAD":
            metrics.SENT.inc(length)
        line = {
            "request_id": self.request_id,
            "method": method,
            "path": path,
            "status": status,
            "bytes": length,
            "ms": round(seconds * 1000, 1),
            "client": client,
        }
        log.log(logging.DEBUG if path in _QUIET else logging.INFO, "request", extra=line)


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
