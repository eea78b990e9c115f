"""Which pages of other origins may call the service and read what it answers (Fetch §3.2).

Credentials are never allowed across origins: a page elsewhere sends a key in Authorization, which
is not a credential in the sense of CORS, and a cookie is only good for pages of our own.
"""

from dataclasses import dataclass
from typing import Final

Header = tuple[str, str]

ALLOWED_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

ALLOWED_HEADERS: Final = (
    "Authorization",
    "Content-Type",
    "Range",
    "If-Match",
    "If-None-Match",
    "If-Modified-Since",
    "If-Unmodified-Since",
    "If-Range",
    "Tus-Resumable",
    "Upload-Checksum",
    "Upload-Complete",
    "Upload-Concat",
    "Upload-Defer-Length",
    "Upload-Draft-Interop-Version",
    "Upload-Incomplete",
    "Upload-Length",
    "Upload-Metadata",
    "Upload-Offset",
    "Content-Disposition",
    "Prefer",
    "X-HTTP-Method-Override",
    "X-Request-ID",
    "X-Requested-With",
    "Content-Digest",
    "Repr-Digest",
    "Want-Repr-Digest",
    "Idempotency-Key",
)

EXPOSED_HEADERS: Final = (
    "Location",
    "ETag",
    "Upload-Offset",
    "Upload-Length",
    "Upload-Metadata",
    "Upload-Defer-Length",
    "Upload-Concat",
    "Upload-Expires",
    "Upload-Complete",
    "Upload-Incomplete",
    "Upload-File-Id",
    "Upload-File-Url",
    "Upload-Limit",
    "Upload-Draft-Interop-Version",
    "Tus-Resumable",
    "Tus-Version",
    "Tus-Extension",
    "Tus-Max-Size",
    "Tus-Checksum-Algorithm",
    "Content-Range",
    "Accept-Ranges",
    "Content-Disposition",
    "Repr-Digest",
    "Retry-After",
    "Link",
    "Accept-Patch",
    "Preference-Applied",
)

PREFLIGHT_MAX_AGE: Final = 7200
"""Seconds that a preflight holds; Chromium keeps none for longer."""

_EXPOSE: Final[Header] = ("Access-Control-Expose-Headers", ", ".join(EXPOSED_HEADERS))
_PREFLIGHT: Final[tuple[Header, ...]] = (
    ("Access-Control-Allow-Methods", ", ".join(ALLOWED_METHODS)),
    ("Access-Control-Allow-Headers", ", ".join(ALLOWED_HEADERS)),
    ("Access-Control-Max-Age", str(PREFLIGHT_MAX_AGE)),
)


@dataclass(frozen=True, slots=True)
class CorsPolicy:
    """The origins whose pages may read answers: none, those listed, or all (`*`)."""

    origins: tuple[str, ...] = ()

    def headers(self, origin: str | None) -> tuple[Header, ...]:
        """Return what an answer to a page of `origin` carries."""
        allowed = self._allow(origin)
        return (*self._vary(), *allowed, _EXPOSE) if allowed else self._vary()

    def preflight_headers(self, origin: str | None) -> tuple[Header, ...]:
        """Return what the answer to a preflight from `origin` carries."""
        allowed = self._allow(origin)
        return (*self._vary(), *allowed, *_PREFLIGHT) if allowed else self._vary()

    def _vary(self) -> tuple[Header, ...]:
        """Tell caches that the answer hangs on the origin, to requests without one too."""
        return (("Vary", "Origin"),) if self.origins and "*" not in self.origins else ()

    def _allow(self, origin: str | None) -> tuple[Header, ...]:
        if "*" in self.origins:
            return (("Access-Control-Allow-Origin", "*"),)
        if origin is not None and origin in self.origins:
            return (("Access-Control-Allow-Origin", origin),)
        return ()
