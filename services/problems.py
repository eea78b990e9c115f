"""The one shape of an error's body: ours, or RFC 9457's where the client names that."""

import json
from typing import Final

PROBLEM_TYPE: Final = "application/problem+json"


def error_document(status: int, code: str, message: str, *, accept: str = "") -> tuple[str, bytes]:
    """Return the content type and the body of an error, for a client that sent `accept`.

    `code` is stable and for programs, `message` a sentence for people.
    """
    shape: dict[str, str | int] = {"error": message, "code": code}
    content_type = "application/json"
    if PROBLEM_TYPE in accept.lower():
        content_type = PROBLEM_TYPE
        shape |= {"type": "about:blank", "title": message, "status": status}
    return content_type, json.dumps(shape).encode() + b"\n"
