"""How a browser is to take a file: shown in place or saved, and under which name.

RFC 6266 and 8187. It trusts neither the name, which a client chose, nor any type that can carry
a script.
"""

import re
import unicodedata
from functools import lru_cache
from typing import Final
from urllib.parse import quote

INLINE_TYPES: Final = frozenset(
    {
        "application/pdf",
        "audio/aac",
        "audio/flac",
        "audio/mp4",
        "audio/mpeg",
        "audio/ogg",
        "audio/wav",
        "audio/webm",
        "audio/x-flac",
        "audio/x-m4a",
        "audio/x-wav",
        "image/apng",
        "image/avif",
        "image/bmp",
        "image/gif",
        "image/jpeg",
        "image/png",
        "image/vnd.microsoft.icon",
        "image/webp",
        "image/x-icon",
        "image/x-ms-bmp",
        "text/plain",
        "video/mp4",
        "video/ogg",
        "video/quicktime",
        "video/webm",
        "video/x-m4v",
    }
)
"""What browsers show by themselves and never run. Not among them: SVG, HTML, XML, scripts."""

_ATTR_CHARS: Final = "!#$&+-.^_`|~"
"""What RFC 8187 lets stand beside letters and digits (`quote` never touches those)."""

_NEVER_IN_A_NAME: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069/\\]")
"""Controls, line ends, separators of paths, and the marks that make `gpj.exe` read as `exe.jpg`."""

_NOT_PLAIN: Final = re.compile(r'[^\x20-\x7e]|["%]')
"""What the quoted form spells differently from one browser to the next (RFC 6266, appendix D)."""


@lru_cache(1024)
def content_disposition(filename: str, content_type: str, *, download: bool) -> str:
    """Return the Content-Disposition of a file; `download` forces `attachment`.

    `filename` is the ASCII approximation; `filename*` follows wherever that is not the name.
    """
    essence = content_type.partition(";")[0].strip().lower()
    kind = "inline" if essence in INLINE_TYPES and not download else "attachment"
    name = _NEVER_IN_A_NAME.sub("_", filename)
    if not name:
        return kind
    plain = _plain(name)
    exact = "" if plain == name else f"; filename*=UTF-8''{_percent_encoded(name)}"
    return f'{kind}; filename="{plain}"{exact}'


def _plain(name: str) -> str:
    """Approximate `name` in ASCII that needs no escapes: `é` becomes `e`, what has no like `_`."""
    decomposed = unicodedata.normalize("NFKD", name)
    letters = "".join(sign for sign in decomposed if not unicodedata.combining(sign))
    return _NOT_PLAIN.sub("_", _NEVER_IN_A_NAME.sub("_", letters))


def _percent_encoded(name: str) -> str:
    """Write `name` as RFC 8187 does. A lone surrogate, which no encoding has, becomes `?`."""
    return quote(name.encode("utf-8", "replace"), safe=_ATTR_CHARS)
