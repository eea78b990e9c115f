"""What a local storage does with one open file: describe it, and write until a step fails.

It knows descriptors, and must not know folders or names.
"""

import os
import stat
from datetime import UTC, datetime

from typing_extensions import Buffer

from storage.base import ObjectInfo
from storage.errors import StorageUnavailable
from storage.folders import changing


def describe(key: str, found: os.stat_result) -> ObjectInfo:
    """Describe the file at `key`, which has to be a plain one."""
    if not stat.S_ISREG(found.st_mode):
        raise StorageUnavailable("the storage's folder holds something else in an object's place")
    etag = f"{found.st_mtime_ns:x}-{found.st_size:x}-{found.st_ino:x}"
    return ObjectInfo(key, found.st_size, etag, datetime.fromtimestamp(found.st_mtime, UTC))


def write_all(fd: int, data: Buffer) -> None:
    """Write every byte: the system may take less than it is given. Raises OSError."""
    with memoryview(data).cast("B") as view:
        written = os.write(fd, view)
        while written < len(view):
            written += os.write(fd, view[written:])


class FileWriter:
    """An open file that takes bytes, until a step of it has failed."""

    __slots__ = ("_fd", "_usable")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._usable = True

    def write(self, data: Buffer, /) -> None:
        self._take_step()
        with changing:
            write_all(self._fd, data)
        self._usable = True

    def _take_step(self) -> None:
        """Allow one more step, but none after one that failed: an fsync that failed may not be
        tried again, because the kernel forgets the pages that it could not write.
        """
        if not self._usable:
            raise ValueError("nothing more can be written: it was ended, left, or failed before")
        self._usable = False

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
