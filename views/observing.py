"""What is known of each request: an id that travels with it, one log line, and the figures."""

import logging
import re
import time
from typing import Final

from flask import Flask, Response, g, request
from werkzeug.wrappers import Response as BaseResponse

from services import cors
from storage.keys import random_name
from views import metrics

log = logging.getLogger("holdall.request")

_GIVEN_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_QUIET: Final = frozenset({"/api/health", "/api/ready", "/metrics"})


def register(app: Flask) -> None:
    """Have every request of `app` observed."""
    app.before_request(_begin)
    app.after_request(_end)


def _begin() -> None:
    given = request.headers.get("X-Request-ID", "")
    g.request_id = given if _GIVEN_ID.fullmatch(given) else random_name()
    g.began = time.perf_counter()


def _end(response: Response) -> BaseResponse:
    seconds = time.perf_counter() - g.began
    response.headers["X-Request-ID"] = g.request_id
    route = request.url_rule.rule if request.url_rule else "unmatched"
    # Each label is kept for good, and a client may make up any method.
    method = request.method if request.method in cors.ALLOWED_METHODS else "other"
    metrics.REQUESTS.labels(method, route, response.status_code).inc()
    metrics.DURATION.labels(route).observe(seconds)
    length = response.content_length
    if length and request.method != "HEAD":
        metrics.SENT.inc(length)
    level = logging.DEBUG if request.path in _QUIET else logging.INFO
    log.log(
        level,
        "request",
        extra={
            "request_id": g.request_id,
            "method": request.method,
            "path": request.path,
            "status": response.status_code,
            "bytes": length,
            "ms": round(seconds * 1000, 1),
            "client": request.remote_addr,
        },
    )
    return response
