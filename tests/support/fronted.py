"""Ask for every download twice: through WSGI, and as the worker's event loop answers at once.

Each GET and HEAD under `/uploads` that a test sends is written as the bytes of a request, read by
the loop's own parser and given to `at_once`; where that has an answer, it must be the same.
"""

import os
from collections.abc import Mapping
from typing import Any
from unittest.mock import patch
from urllib.parse import quote

from flask import Flask
from werkzeug.test import TestResponse

import views.at_once
from views.at_once import written
from worker.front import head_of
from worker.heads import read_head
from worker.sending import Ready


def request_bytes(environ: Mapping[str, Any]) -> bytes:
    """Write the head of a request as a client would send it."""
    target = quote(environ["PATH_INFO"].encode("latin-1"), safe="/!$&'()*+,;=:@~")
    if environ.get("QUERY_STRING"):
        target += "?" + environ["QUERY_STRING"]
    lines = [f"{environ['REQUEST_METHOD']} {target} HTTP/1.1"]
    for name, value in environ.items():
        if name.startswith("HTTP_"):
            lines.append(f"{name.removeprefix('HTTP_').replace('_', '-').title()}: {value}")
        elif name in ("CONTENT_LENGTH", "CONTENT_TYPE"):
            lines.append(f"{name.replace('_', '-').title()}: {value}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def answer_at_once(app: Flask, environ: Mapping[str, Any]) -> Ready | None:
    """Return what the loop answers, None where it hands the request over; nothing is counted."""
    asked = read_head(request_bytes(environ))
    if asked is None or not asked.path.startswith("/uploads/"):
        return None
    peer = (environ.get("REMOTE_ADDR", ""), 0)
    with patch.object(views.at_once, "ended", lambda *_: None):
        at_once = vars(app)["at_once"]
        at_once.begin_turn()
        told = (asked.method, asked.path, asked.query, asked.headers, peer)
        answer: Ready | None = at_once.answer(*told)
    return answer


def require_alike(app: Flask, response: TestResponse) -> bool:
    """Hold an answer against the loop's, and say whether the loop had one."""
    answer = answer_at_once(app, response.request.environ)
    if answer is None:
        return False
    content = answer.content
    if answer.body is not None:
        content = os.pread(answer.body.file.fileno(), answer.length, answer.start)
        answer.body.close()
    told = [each for each in response.headers.items() if each[0] != "X-Request-ID"]
    assert answer.status == response.status
    assert answer.fields.partition("X-Request-ID: ")[0] == written(told)
    assert content == response.data
    assert head_of(answer, keep_alive=True).startswith(f"HTTP/1.1 {response.status}\r\n".encode())
    return True
