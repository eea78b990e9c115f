"""Requests that any HTTP client can make, for tests of what was presigned. Knows no SDK."""

import uuid
from email.message import Message
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from storage.capabilities import SignedForm

Answer = tuple[int, "Message[str, str]", bytes]
"""Status, headers and body."""


def ask(method: str, url: str, body: bytes | None = None, **headers: str) -> Answer:
    """Make one request the way any client would; `_` in a header's name stands for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with urlopen(Request(url, body, named, method=method), timeout=20) as answer:
            return answer.status, answer.headers, answer.read()
    except HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.headers, refusal.read()


def post(form: SignedForm, content: bytes, kind: str = "", **changed: str) -> int:
    """Send the form with `content` as its file, and with some fields changed or added."""
    boundary = uuid.uuid4().hex
    fields = form.fields | {name.replace("_", "-"): text for name, text in changed.items()}
    lines = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'
        for name, text in fields.items()
    ]
    lines.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n'
        + (f"Content-Type: {kind}\r\n\r\n" if kind else "\r\n")
    )
    body = "".join(lines).encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return ask("POST", form.url, body, Content_Type=f"multipart/form-data; boundary={boundary}")[0]
