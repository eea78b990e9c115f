"""Keys, sizes and contents for tests of a storage, and the few acts they all make.

It knows `storage.base` only, and must not know any backend.
"""

import random
from collections.abc import Callable, Iterable, Iterator

from storage.base import CHUNK_SIZE, LARGEST_CHUNK, ObjectInfo, Storage
from storage.errors import ObjectNotFound

MIB = 1024 * 1024

INVALID_KEYS = {
    "empty": "",
    "no folder": "abcdef",
    "no name": "ab/",
    "only a slash": "/",
    "parent folder": "../passwd",
    "parent folder inside": "ab/../../passwd",
    "a dot": "ab/.",
    "two dots": "ab/..",
    "hidden": "ab/.hidden",
    "temporary folder": ".tmp/abc",
    "absolute": "/etc/passwd",
    "absolute in form": "/ab/abc",
    "upper case": "ab/ABC",
    "hyphen": "ab/a-b",
    "backslash": "ab\\abc",
    "percent": "ab/%2e%2e",
    "NUL": "ab/abc\0",
    "newline at the end": "ab/abc\n",
    "space": "ab/a b",
    "letters beyond ASCII": "ab/é",
    "digits beyond ASCII": "ab/٣",
    "lone surrogate": "ab/\udc80",
    "three levels": "ab/cd/ef",
    "short folder": "a/abc",
    "long folder": "abc/abc",
    "name too long": "ab/" + "a" * 65,
}

SIZES: dict[str, Callable[[int], int]] = {
    "0": lambda part: 0,
    "1": lambda part: 1,
    "chunk-1": lambda part: CHUNK_SIZE - 1,
    "chunk": lambda part: CHUNK_SIZE,
    "chunk+1": lambda part: CHUNK_SIZE + 1,
    "part-1": lambda part: part - 1,
    "part": lambda part: part,
    "part+1": lambda part: part + 1,
    "2 parts+7": lambda part: 2 * part + 7,
}


def content_of(size: int) -> bytes:
    """Return `size` bytes in which no two places look alike."""
    return random.Random(size).randbytes(size)


def cut(content: bytes, step: int) -> Iterator[bytes]:
    return (content[start : start + step] for start in range(0, len(content), step))


def put(storage: Storage, key: str, *pieces: bytes) -> ObjectInfo:
    return put_all(storage, key, pieces)


def put_all(storage: Storage, key: str, pieces: Iterable[bytes]) -> ObjectInfo:
    with storage.create(key) as writer:
        for piece in pieces:
            writer.write(piece)
        return writer.commit()


def get(storage: Storage, key: str, start: int = 0, stop: int | None = None) -> bytes:
    """Read a range, holding the body to its promises about pieces."""
    with storage.open(key, start, stop) as body:
        pieces = list(body)
        assert all(0 < len(piece) <= LARGEST_CHUNK for piece in pieces)
        assert sum(map(len, pieces)) == body.size
    return b"".join(pieces)


def keys_of(storage: Storage, prefix: str = "") -> list[str]:
    return [info.key for info in storage.scan(prefix)]


def is_absent(storage: Storage, key: str) -> bool:
    try:
        storage.stat(key)
    except ObjectNotFound:
        return not keys_of(storage, key)
    return False
