"""A trial of a store, by the store's own contract: what `check` does where parts exist.

It works on objects that it names itself and removes again, whatever happened. Knows only
`storage.base`.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from storage.base import Storage
from storage.capabilities import Multipart
from storage.errors import IntegrityError, ObjectNotFound, StorageError
from storage.keys import new_key


class Store(Storage, Multipart, Protocol):
    """A storage that takes parts."""


def prove(store: Store) -> None:
    """Put, read ranges, put in parts, abandon and delete; raise the error that says what fails."""
    with _own_key(store) as key:
        _prove_small(store, key, secrets.token_bytes(70_000))
        _prove_parts(store, key, secrets.token_bytes(store.minimum_part_size), b"the last part")
        _prove_abandoned(store, key)
        store.delete(key)
        with suppress(ObjectNotFound):
            store.stat(key)
            raise IntegrityError("the store still has an object after it was deleted")


@contextmanager
def _own_key(store: Store) -> Iterator[str]:
    """Lend a key, and leave no object at it; the first error is the one that is raised."""
    key = new_key()
    try:
        yield key
    except BaseException:
        with suppress(StorageError):
            store.delete(key)
        raise


def _prove_small(store: Store, key: str, content: bytes) -> None:
    with store.create(key) as writer:
        writer.write(content)
        writer.commit()
    _compare(store, key, content, 0, None)
    _compare(store, key, content, 1_000, 66_000)


def _prove_parts(store: Store, key: str, first: bytes, last: bytes) -> None:
    upload_id = store.begin(key)
    try:
        parts = [store.put_part(key, upload_id, 1, first), store.put_part(key, upload_id, 2, last)]
        store.complete(key, upload_id, parts)
    except BaseException:
        with suppress(StorageError):
            store.abort(key, upload_id)
        raise
    _compare(store, key, first + last, 0, None)
    _compare(store, key, first + last, len(first) - 3, len(first) + 3)


def _prove_abandoned(store: Store, key: str) -> None:
    upload_id = store.begin(key)
    try:
        store.put_part(key, upload_id, 1, b"abandoned")
    finally:
        store.abort(key, upload_id)
    with suppress(ObjectNotFound):
        if store.list_parts(key, upload_id):
            raise IntegrityError("the store keeps the parts of an upload that was aborted")


def _compare(store: Store, key: str, content: bytes, start: int, stop: int | None) -> None:
    with store.open(key, start, stop) as body:
        stored = b"".join(body)
    if stored == content[start:stop]:
        return
    if b"chunk-signature=" in stored or b"x-amz-checksum-" in stored or _is_framed(stored):
        raise IntegrityError(
            "the store keeps the chunk framing of requests as if it were content: "
            "try checksums=when_required in the URL, or a newer version of the store"
        )
    raise IntegrityError(
        f"the store returns other bytes than were stored: {len(stored)} bytes "
        f"where {len(content[start:stop])} were expected"
    )


def _is_framed(stored: bytes) -> bool:
    """Say whether the bytes begin like a chunk: a hexadecimal length and a line end."""
    length, separator, _ = stored[:16].partition(b"\r\n")
    return bool(separator) and all(digit in b"0123456789abcdefABCDEF" for digit in length)
