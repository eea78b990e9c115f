"""JSON bodies: whole, of bounded size, and nothing that JSON does not have.

Werkzeug's own reader takes a body of any length, takes one that was cut short for a whole one, and
takes NaN, which no other client could read back. What the fields mean is the schemas' business.
"""

import json
from collections.abc import Iterator
from typing import Any, Final, NoReturn

from flask import Request

from services.errors import MalformedBody, TooLarge, UnsupportedBody
from views.body import RequestBody
from views.current import services

LARGEST_JSON: Final = 1024 * 1024
"""Bytes that a JSON body has at the most."""


class StrictRequest(Request):
    """A request that reads its JSON so, whoever asks for it."""

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:
        """Return the body's value; it is read once, and no error is ever silent.

        Raises UnsupportedBody for another media type, TooLarge, and what RequestBody raises.
        """
        if not self.is_json:
            raise UnsupportedBody("Send application/json", accept="application/json")
        return parsed(b"".join(self._within_bounds()))

    def _within_bounds(self) -> Iterator[bytes]:
        body = RequestBody(self, timeout=services().settings.body_timeout)
        _require_room(body.length or 0)
        received = 0
        for piece in body.chunks():
            received += len(piece)
            _require_room(received)
            yield bytes(piece)


def _require_room(size: int) -> None:
    if size > LARGEST_JSON:
        raise TooLarge(f"A JSON body may have at most {LARGEST_JSON} bytes")


def parsed(text: bytes) -> Any:
    """Return the value of a JSON text in UTF-8 (RFC 8259). Raises MalformedBody."""
    try:
        return json.loads(text.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise MalformedBody("The body is not JSON, or is nested too deeply") from error


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
