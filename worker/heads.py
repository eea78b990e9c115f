"""Read the head of the commonest request: a GET or HEAD of a file, without a body.

A head is read here only if every way of reading it gives the same: one spelling of each line, no
field twice, nothing that frames a body or asks for another protocol. All else is None, and is
gunicorn's to read, so that there is one place that refuses (RFC 9112 §3, §5, §11.2).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes

END: Final = b"\r\n\r\n"
"""What ends a head."""

MOST: Final = 8192
"""Bytes of the longest head that is read here; gunicorn takes longer ones."""

PREFIXES: Final = (b"GET /uploads/", b"HEAD /uploads/")

# A target is visible ASCII (§3.2) without the `#` that none may have.
_HEAD: Final = re.compile(
    rb"(GET|HEAD) (/uploads/[!\"$->@-~]*)(?:\?([!\"$-~]*))? HTTP/1\.1\r\n"
    rb"((?:[A-Za-z0-9-]+:[\t -~\x80-\xff]*\r\n){1,100})\r\n"
)
_NOT_HERE: Final = frozenset(
    {"content-length", "expect", "http2-settings", "transfer-encoding", "upgrade"}
)


@dataclass(frozen=True, slots=True)
class Head:
    """A request: `path` and `query` as WSGI gives them (PEP 3333), `headers` in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    keep_alive: bool


def read_head(data: bytes) -> Head | None:
    """Return the request whose head `data` is, END included, or None for any that is not plain."""
    found = _HEAD.fullmatch(data) if len(data) <= MOST else None
    if found is None:
        return None
    method, target, query, lines = found.groups()
    fields = lines.decode("latin-1").split("\r\n")
    fields.pop()
    headers = {}
    for field in fields:
        name, _, value = field.partition(":")
        headers[name.lower()] = value.strip(" \t")
    connection = headers.get("connection", "keep-alive").lower()
    if (
        len(headers) != len(fields)
        or "host" not in headers
        or connection not in ("keep-alive", "close")
        or not _NOT_HERE.isdisjoint(headers)
    ):
        return None
    path = unquote_to_bytes(target) if b"%" in target else target
    keep_alive = connection == "keep-alive"
    asked = (method.decode("ascii"), path.decode("latin-1"), (query or b"").decode("ascii"))
    return Head(*asked, headers, keep_alive)
