"""Filenames as clients give them, made fit to be shown and saved. Never used as a path."""

import re
import unicodedata
from typing import Final
from urllib.parse import quote

LONGEST: Final = 255
"""Bytes of UTF-8 that a filename has at the most, as on common file systems."""

FALLBACK: Final = "file"

_UNSHOWN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_DEVICE: Final = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


def clean_filename(name: str) -> str:
    """Return the last component of `name` without control, invisible or unpaired characters.

    Normalised to NFC, no spaces around it and no dots at its end, at most LONGEST bytes
    with the extension kept, and never empty.
    """
    last = re.split(r"[/\\]", name)[-1]
    if not (last.isascii() and last.isprintable()):
        shown = "".join(char for char in last if unicodedata.category(char) not in _UNSHOWN)
        last = unicodedata.normalize("NFC", shown)
    trimmed = last.strip().rstrip(". ")
    if not trimmed:
        return FALLBACK
    if _DEVICE.fullmatch(trimmed):
        trimmed = f"_{trimmed}"
    return _shortened(trimmed)


def _shortened(name: str) -> str:
    """Cut the stem, on a character's boundary, so that the whole has at most LONGEST bytes."""
    if len(name.encode()) <= LONGEST:
        return name
    stem, dot, extension = name.rpartition(".")
    if not stem or len(extension.encode()) > 16:
        stem, dot, extension = name, "", ""
    room = LONGEST - len((dot + extension).encode())
    return stem.encode()[:room].decode("utf-8", "ignore").rstrip(". ") + dot + extension


def folded(name: str) -> str:
    """Return `name` as search and sorting see it: compatibility forms and case folded."""
    return unicodedata.normalize("NFKC", name).casefold()


def link_path(file_id: str, filename: str) -> str:
    """Return the path of a file's link: `/uploads/<id>/<filename>`, percent-encoded."""
    return f"/uploads/{file_id}/{quote(filename, safe='')}"
