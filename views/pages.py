"""The web page at `/`, and the files that it is made of: HTML, CSS, ES modules and pictures.

They are read and compressed once a process and answered from memory. The URLs of the parts have the
version in them, so that caches keep them for good and a new version is loaded whole. What the page
shows it asks the API for; nothing here knows who asks.
"""

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from flask import Response, abort, render_template, request

from config import Settings
from views.current import services

ROOT: Final = Path(__file__).parents[1] / "static"
TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""What a part may be; a file of another kind is not served."""

_HTML: Final = "text/html; charset=utf-8"
_IMMUTABLE: Final = "public, max-age=31536000, immutable"
_ASK_FIRST: Final = "no-cache"
_SAFETY: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
_EARLY: Final = "js/early.js"


@dataclass(frozen=True, slots=True)
class Part:
    """One file, ready to be sent."""

    content_type: str
    plain: bytes
    packed: bytes
    etag: str


def index() -> Response:
    """Show the page."""
    response = _answer(_page(), _ASK_FIRST)
    response.headers["Content-Security-Policy"] = _policy(services().settings)
    response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    return response


def part(version: str, name: str) -> Response:
    """Send a file that the page is made of; another version's URL leads to this one's."""
    found = _parts().get(name)
    if found is None:
        abort(404)
    return _answer(found, _IMMUTABLE if version == _version() else _ASK_FIRST)


def _answer(part: Part, caching: str) -> Response:
    packs = request.accept_encodings["gzip"] > 0
    response = Response(part.packed if packs else part.plain, content_type=part.content_type)
    if packs:
        response.headers["Content-Encoding"] = "gzip"
    response.set_etag(part.etag + ("-gzip" if packs else ""))
    response.vary.add("Accept-Encoding")
    response.headers["Cache-Control"] = caching
    response.headers.extend(_SAFETY)
    response.make_conditional(request)
    return response


def _policy(settings: Settings) -> str:
    """Allow what the page needs: its own origin, and stores that files may be redirected to."""
    stores = "".join(f" {origin}" for origin in _stores(settings))
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; "
        f"img-src 'self' blob:{stores}; media-src 'self'{stores}; connect-src 'self'{stores}; "
        f"frame-src 'self'{stores}; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    )


def _stores(settings: Settings) -> list[str]:
    """Return where signed links of the S3 backends may lead, each once."""
    origins = set()
    for backend in settings.backends.values():
        if backend.url.startswith("s3:"):
            address = urlsplit(backend.public_endpoint or _endpoint(backend.url))
            if address.scheme in ("http", "https") and address.netloc:
                origins.add(f"{address.scheme}://{address.netloc}")
    return sorted(origins)


def _endpoint(url: str) -> str:
    query = dict(pair.partition("=")[::2] for pair in urlsplit(url).query.split("&"))
    return query.get("endpoint", "")


@cache
def _parts() -> dict[str, Part]:
    return {
        path.relative_to(ROOT).as_posix(): _made(path.read_bytes(), TYPES[path.suffix])
        for path in sorted(ROOT.rglob("*"))
        if path.suffix in TYPES
    }


@cache
def _version() -> str:
    digest = hashlib.sha256()
    for name, each in _parts().items():
        digest.update(f"{name} {each.etag}\n".encode())
    return digest.hexdigest()[:12]


@cache
def _page() -> Part:
    names = list(_parts())
    html = render_template(
        "page.html",
        parts=f"static/{_version()}",
        styles=[name for name in names if name.endswith(".css")],
        modules=[name for name in names if name.endswith(".js") and name != _EARLY],
        early=_EARLY,
    )
    return _made(html.encode(), _HTML)


def _made(content: bytes, content_type: str) -> Part:
    return Part(
        content_type=content_type,
        plain=content,
        packed=gzip.compress(content, mtime=0),
        etag=hashlib.sha256(content).hexdigest()[:32],
    )
