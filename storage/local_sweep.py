"""What killed processes leave on a local disk beside the objects: a half of `storage.local`.

Who writes a temporary file holds a lock on it (flock(2)), which ends with its process. One is left
behind when it is old and its lock is free; either alone is not enough. What cannot be dated stays.

It knows names and ages, and must not know rows.
"""

import fcntl
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from storage.capabilities import Leftover
from storage.errors import ObjectNotFound
from storage.folders import OPEN_FILE, Folders, changing, list_names
from storage.keys import is_valid

_TEMPORARY: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)
# O_NONBLOCK: opening a pipe that someone put in a file's place must not wait for its other end.


class LocalSweep:
    """The capability Sweepable over the folders of a local storage."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders

    def sweep(self, older_than: datetime, *, remove: bool) -> Iterator[Leftover]:
        with suppress(ObjectNotFound), self._folders.temporaries() as folder:
            for name in list_names(folder):
                if _TEMPORARY.fullmatch(name):
                    yield from _left(folder, name, older_than, remove=remove)

    def stale_unfinished(self, older_than: datetime) -> Iterator[Leftover]:
        for name in self._folders.unfinished_names():
            key = name.replace(".", "/", 1)
            if not is_valid(key):
                continue
            try:
                # Not locked: an append that begins just now would be refused.
                with self._folders.unfinished(key) as (folder, _):
                    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except ObjectNotFound:
                continue
            if _is_old(found, older_than):
                yield _described(key, found)


def _left(folder: int, name: str, older_than: datetime, *, remove: bool) -> Iterator[Leftover]:
    """Yield the plain file `name` if it is old and nobody holds it; foreign things are left."""
    with changing, suppress(FileNotFoundError, BlockingIOError):
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not _is_old(found, older_than):
            return
        fd = os.open(name, OPEN_FILE, dir_fd=folder)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Again with the lock: it may have been written, or replaced, since it was looked at.
            found = os.fstat(fd)
            named = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if not _is_old(found, older_than) or not os.path.samestat(found, named):
                return
            if remove:
                os.unlink(name, dir_fd=folder)
        finally:
            os.close(fd)
        yield _described(name, found)


def _described(name: str, found: os.stat_result) -> Leftover:
    return Leftover(name, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))


def _is_old(found: os.stat_result, older_than: datetime) -> bool:
    """Say whether a plain file was last written before then; one of 1970 has no date."""
    return stat.S_ISREG(found.st_mode) and 1 <= found.st_mtime < older_than.timestamp()
