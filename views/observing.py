"""What is known of each request: an id that travels with it, one log line, and the figures."""

import logging
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import groupby
from json.encoder import encode_basestring_ascii as _text
from secrets import token_hex
from typing import Any, Final, NamedTuple, Self

from flask import Flask, Response, g, request
from prometheus_client import Counter, Histogram
from werkzeug.wrappers import Response as BaseResponse

from services import cors
from views import metrics

log = logging.getLogger("holdall.request")

_NOT_FOUND_OUT: Final = vars(logging.makeLogRecord({}))
_GIVEN_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_QUIET: Final = frozenset({"/api/health", "/api/ready", "/metrics"})


class Ended(NamedTuple):
    """A request that was answered: `length` in bytes of the body, `at` in seconds since 1970."""

    request_id: str
    method: str
    path: str
    route: str
    status: int
    length: int | None
    seconds: float
    client: str
    at: float


@dataclass(slots=True)
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

    def ended(
        self, *, method: str, path: str, route: str, status: int, length: int | None, client: str
    ) -> Ended:
        """End the request; `write` counts it."""
        seconds = time.perf_counter() - self.began
        return Ended(
            self.request_id, method, path, route, status, length, seconds, client, time.time()
        )

    def end(self, **told: Any) -> None:
        """End the request, count it and write its line."""
        write((self.ended(**told),))


def write(ended: Sequence[Ended]) -> None:
    """Count requests, and write a line for each: many at once take a fraction of the time."""
    sent = 0
    numbers: dict[tuple[str, str, int], int] = {}
    for each in ended:
        # Each label is kept for good, and a client may make up any method.
        label = each.method if each.method in cors.ALLOWED_METHODS else "other"
        what = (label, each.route, each.status)
        numbers[what] = numbers.get(what, 0) + 1
        _duration(each.route).observe(each.seconds)
        if each.length and each.method != "HEAD":
            sent += each.length
    for what, number in numbers.items():
        _requests(*what).inc(number)
    if sent:
        metrics.SENT.inc(sent)
    for level, lines in groupby(ended, _level):
        if log.isEnabledFor(level):
            log.handle(RequestLines(level, tuple(lines)))


def _level(ended: Ended) -> int:
    return logging.DEBUG if ended.path in _QUIET else logging.INFO


class RequestLines(logging.LogRecord):
    """The record of requests: what it carries is the first one's, what is written of it all's.

    It finds out nothing that is not in a line, and writes them itself.
    """

    def __init__(self, level: int, ended: Sequence[Ended]) -> None:
        vars(self).update(_NOT_FOUND_OUT)
        self.name, self.msg, self.args = log.name, "request", ()
        self.levelno, self.levelname = level, logging.getLevelName(level)
        self.process = os.getpid()
        self.created = ended[0].at
        vars(self).update(_carried(ended[0]))
        self._ended = ended

    def as_json(self) -> str:
        """Return the lines as the formatter for all records would write them."""
        begin = (
            f'{{"level": "{self.levelname}", "logger": "{self.name}", "message": "{self.msg}", '
            f'"process": {self.process}, "request_id": '
        )
        return "\n".join([begin + _as_json(each) for each in self._ended])

    def each(self) -> Iterator[logging.LogRecord]:
        """Return a record for each request."""
        plain = {name: value for name, value in vars(self).items() if name != "_ended"}
        for ended in self._ended:
            yield logging.makeLogRecord({**plain, **_carried(ended), "created": ended.at})


def _carried(ended: Ended) -> dict[str, Any]:
    """Return what a request's record has beside its message, in the order it is written in."""
    return {
        "request_id": ended.request_id,
        "method": ended.method,
        "path": ended.path,
        "status": ended.status,
        "bytes": ended.length,
        "ms": round(ended.seconds * 1000, 1),
        "client": ended.client,
    }


def _as_json(ended: Ended) -> str:
    """Return a line from the value of its request's id on."""
    return (
        f'{_text(ended.request_id)}, "method": {_text(ended.method)}, "path": {_text(ended.path)}, '
        f'"status": {ended.status}, "bytes": {"null" if ended.length is None else ended.length}, '
        f'"ms": {round(ended.seconds * 1000, 1)}, "client": {_text(ended.client)}, '
        f'"time": "{datetime.fromtimestamp(ended.at, UTC).isoformat()}"}}'
    )


# Finding a figure by its labels takes longer than counting.
@cache
def _requests(method: str, route: str, status: int) -> Counter:
    return metrics.REQUESTS.labels(method, route, status)


@cache
def _duration(route: str) -> Histogram:
    return metrics.DURATION.labels(route)


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
