"""Tell office documents and e-books from plain zip archives by the first names inside.

OOXML (ECMA-376 part 2) stores `[Content_Types].xml` and a folder by application; OpenDocument
and EPUB store an uncompressed `mimetype` entry first (ODF 1.3 part 2 §3.3, EPUB OCF §4.3). Only
the local headers in the first bytes are read (APPNOTE.TXT §4.3.7), never the entries.
"""

import struct
from collections.abc import Iterator
from typing import Final

_LOCAL_HEADER: Final = struct.Struct("<4s5H3I2H")
_OOXML: Final = "application/vnd.openxmlformats-officedocument."
_OOXML_FOLDERS: Final = {
    "word/": _OOXML + "wordprocessingml.document",
    "xl/": _OOXML + "spreadsheetml.sheet",
    "ppt/": _OOXML + "presentationml.presentation",
}
_OOXML_EXTENSIONS: Final = {
    "docx": _OOXML_FOLDERS["word/"],
    "xlsx": _OOXML_FOLDERS["xl/"],
    "pptx": _OOXML_FOLDERS["ppt/"],
}
_OOXML_MARKS: Final = ("[Content_Types].xml", "_rels/", "docProps/")
_MIMETYPES: Final = ("application/vnd.oasis.opendocument.", "application/epub+zip")


def office_type(head: bytes, extension: str) -> str | None:
    """Return the type of the document whose zip begins with `head`, or None for a plain zip.

    The extension only chooses among OOXML types, once the names inside say that it is one.
    """
    ooxml = False
    for name, content in _entries(head):
        if name == "mimetype" and content.startswith(_MIMETYPES):
            return content
        for folder, content_type in _OOXML_FOLDERS.items():
            if name.startswith(folder):
                return content_type
        ooxml = ooxml or name.startswith(_OOXML_MARKS)
    return _OOXML_EXTENSIONS.get(extension) if ooxml else None


def _entries(head: bytes) -> Iterator[tuple[str, str]]:
    """Yield name and, where it is stored whole and short, content of the first entries."""
    position = 0
    while position + _LOCAL_HEADER.size <= len(head):
        fields = _LOCAL_HEADER.unpack_from(head, position)
        signature, flags, method, packed = fields[0], fields[2], fields[3], fields[7]
        name_length, extra_length = fields[9], fields[10]
        if signature != b"PK\x03\x04":
            return
        start = position + _LOCAL_HEADER.size
        name = head[start : start + name_length].decode("utf-8", "replace")
        content = start + name_length + extra_length
        stored = head[content : content + packed] if method == 0 and packed < 256 else b""
        yield name, stored.decode("ascii", "replace")
        if flags & 0x08 and not packed:
            # The sizes follow the data (streamed zips): go on at the next header that shows.
            position = head.find(b"PK\x03\x04", content)
            if position < 0:
                return
        else:
            position = content + packed
