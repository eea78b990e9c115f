"""One HTTP request to an address that a setting names, without following it anywhere else.

A URL may hold a signature: no message here shows more of it than scheme and host.
"""

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from services.sites import host_of, is_loopback

_LARGEST: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: `headers` have lowercase names, `body` its first 64 KiB."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NoReply(Exception):
    """Nothing that speaks HTTP answered; the message says why, in a few words."""


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Leave a redirect as the answer that it is."""


_OPENER: Final = build_opener(_NoRedirects)
_HERE: Final = build_opener(_NoRedirects, ProxyHandler({}))
"""For this machine itself, which no proxy that the environment names can reach."""


def ask(
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    seconds: float = 5,
) -> Reply:
    """Send one request, and wait at most `seconds` for each step of the answer. Raises NoReply."""
    try:
        request = Request(url, body, dict(headers or {}), method=method)
        opener = _HERE if is_loopback(host_of(request.host)) else _OPENER
        with opener.open(request, timeout=seconds) as answer:
            return _reply(answer.status, answer.headers, answer.read(_LARGEST))
    except HTTPError as answer:
        with answer:
            return _reply(answer.code, answer.headers, answer.read(_LARGEST))
    except URLError as error:
        raise NoReply(_reason(error.reason)) from error
    except (OSError, HTTPException, ValueError) as error:
        raise NoReply(_reason(error)) from error


def _reply(status: int, headers: Message, body: bytes) -> Reply:
    merged: dict[str, str] = {}
    for name, value in headers.items():
        name = name.lower()
        merged[name] = f"{merged[name]}, {value}" if name in merged else value
    return Reply(status, merged, body)


def _reason(error: object) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return "its TLS certificate does not verify"
        case ssl.SSLError():
            return "it does not speak TLS there"
        case socket.gaierror():
            return "no such host is known"
        case TimeoutError():
            return "it does not answer in time"
        case ConnectionRefusedError():
            return "nothing listens there"
        case OSError():
            return f"it cannot be reached ({error.strerror or type(error).__name__})"
        case _:
            return "it does not speak HTTP there"
