"""Read the head of the commonest request: a GET or HEAD of a file, without a body.

A head is read here only if every way of reading it gives the same: one spelling of each line, no
field twice, nothing that frames a body or asks for another protocol. All else is None, and is
gunicorn's to read, so that there is one place that refuses (RFC 9112 §3, §5, §11.2).
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

END: Final = b"\r\n\r\n"
"""What ends a head."""

MOST: Final = 8192
"""Bytes of the longest head that is read here; gunicorn takes longer ones."""

PREFIXES: Final = (b"GET /uploads/", b"HEAD /uploads/")

KEPT: Final = 256
"""Sets of fields that are kept as they were read: clients say much the same in each request."""

# A target is visible ASCII (§3.2) without the `#` that none may have.
_LINE: Final = re.compile(rb"(GET|HEAD) (/uploads/[!\"$->@-~]*)(?:\?([!\"$-~]*))? HTTP/1\.1")
_FIELDS: Final = re.compile(rb"(?:[A-Za-z0-9-]+:[\t -~\x80-\xff]*\r\n){1,100}\r\n")
_NOT_HERE: Final = frozenset(
    {"content-length", "expect", "http2-settings", "transfer-encoding", "upgrade"}
)


class Head(NamedTuple):
    """A request: `path` and `query` as WSGI gives them (PEP 3333), `headers` in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    keep_alive: bool


def read_head(data: bytes) -> Head | None:
    """Return the request whose head `data` is, END included, or None for any that is not plain."""
    if len(data) > MOST:
        return None
    line, _, lines = data.partition(b"\r\n")
    asked = _LINE.fullmatch(line)
    headers = read_fields(lines) if asked else None
    if asked is None or headers is None or not _NOT_HERE.isdisjoint(headers):
        return None
    method, target, query = asked.groups()
    path = unquote_to_bytes(target) if b"%" in target else target
    asked_for = path.decode("latin-1"), (query or b"").decode("ascii")
    return Head(method.decode("ascii"), *asked_for, headers, stays(headers))


@lru_cache(KEPT)
def read_fields(lines: bytes) -> Mapping[str, str] | None:
    """Return the fields of a head by their names in lower case, or None for any that are not plain.

    Plain are fields with one spelling and no name twice, one of which names the host; and the
    connection is for no other protocol. `lines` have END.
    """
    if not _FIELDS.fullmatch(lines):
        return None
    fields = lines.decode("latin-1").split("\r\n")[:-2]
    headers = {}
    for field in fields:
        name, _, value = field.partition(":")
        headers[name.lower()] = value.strip(" \t")
    if (
        len(headers) != len(fields)
        or "host" not in headers
        or headers.get("connection", "close").lower() not in ("keep-alive", "close")
    ):
        return None
    return MappingProxyType(headers)


def stays(headers: Mapping[str, str]) -> bool:
    """Say whether the connection stays open after a request with such fields (RFC 9112 §9.3)."""
    return headers.get("connection", "keep-alive").lower() == "keep-alive"
