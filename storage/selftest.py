"""A trial of any storage by the contract alone: what the backends' `check` does.

It works on objects that it names itself and removes again, whatever happened. Knows only
`storage.base`.
"""

import secrets
from contextlib import suppress

from storage.base import Storage
from storage.errors import IntegrityError, ObjectNotFound, StorageError
from storage.keys import new_key


def prove(storage: Storage, *, large: int) -> None:
    """Put, read whole and by range, abandon and delete, on an empty to a `large` object (bytes).

    Raises the StorageError that names what is wrong.
    """
    key, abandoned = new_key(), new_key()
    try:
        for size in (0, 1_000, large):
            _prove_put(storage, key, secrets.token_bytes(size))
        with storage.create(abandoned) as writer:
            writer.write(secrets.token_bytes(large))
        _require_absent(storage, abandoned, "an object that was abandoned")
        storage.delete(key)
        _require_absent(storage, key, "an object that was deleted")
    except BaseException:
        for left in (key, abandoned):
            with suppress(StorageError):
                storage.delete(left)
        raise


def _prove_put(storage: Storage, key: str, content: bytes) -> None:
    with storage.create(key) as writer:
        writer.write(content)
        writer.commit()
    for start, stop in ((0, None), (len(content) // 3, len(content) // 2)):
        with storage.open(key, start, stop) as body:
            if b"".join(body) != content[start:stop]:
                raise IntegrityError("the storage returns other bytes than were stored")


def _require_absent(storage: Storage, key: str, what: str) -> None:
    with suppress(ObjectNotFound):
        storage.stat(key)
        raise IntegrityError(f"the storage still has {what}")
