"""Read a small upload by form that has come whole, head and body.

As in `worker.heads`, a request is read here only if every way of reading it gives the same; all
else is None, and is gunicorn's to read. The body's length is told once, in plain digits, and by
nothing else (RFC 9112 §6.3). Who sends it and what is in the form are the application's to judge.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from worker.heads import END, MOST, read_fields, stays

PREFIX: Final = b"POST /api/upload HTTP/1.1\r\n"
"""What such a request begins with: it has no query."""

_LENGTH: Final = re.compile(r"[1-9][0-9]{0,4}")
_NOT_HERE: Final = frozenset(
    {"content-encoding", "expect", "http2-settings", "transfer-encoding", "upgrade"}
)


@dataclass(frozen=True, slots=True)
class Form:
    """A request whole: `headers` in lower case, `client` as its socket tells the peer's address.

    `size` is how many bytes it has, head and body.
    """

    headers: Mapping[str, str]
    body: bytes
    client: Any
    keep_alive: bool
    size: int


def read_form(received: bytes, client: Any) -> Form | None:
    """Return the request at the beginning of `received`, or None for one that is not plain, or not
    there whole.
    """
    end = received.find(END)
    if not 0 <= end <= MOST - len(END):
        return None
    begin = end + len(END)
    lines = received[len(PREFIX) : begin]
    headers = read_fields(lines)
    if headers is None or not _NOT_HERE.isdisjoint(headers):
        return None
    length = headers.get("content-length", "")
    if not _LENGTH.fullmatch(length) or len(received) < begin + int(length):
        return None
    size = begin + int(length)
    return Form(headers, received[begin:size], client, stays(headers), size)
