"""An object of a local disk while its file is open: to be written, or to be read.

It knows open files and `storage.folders`, and must not know how keys become places.
"""

import errno
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from io import FileIO
from types import TracebackType
from typing import Final, Self

from storage.base import CHUNK_SIZE, ObjectInfo
from storage.errors import StorageError, StorageUnavailable
from storage.files import FileWriter, describe
from storage.folders import OPEN_FILE, Folders, changing
from storage.keys import validated

_NO_RANGE_COPY: Final = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EXDEV})


class LocalWriter(FileWriter):
    """A temporary file that a commit renames into place."""

    __slots__ = ("_folders", "_key", "_settle", "_temporary")

    def __init__(
        self,
        folders: Folders,
        key: str,
        temporary: str,
        fd: int,
        settle: Callable[[str], None] | None,
    ) -> None:
        super().__init__(fd)
        self._folders = folders
        self._key = key
        self._temporary = temporary
        self._settle = settle or partial(folders.settle, key=key)

    @classmethod
    def begin(cls, folders: Folders, key: str, settle: Callable[[str], None] | None = None) -> Self:
        """Make the temporary file; `settle` renames it to another place than that of `key`."""
        validated(key)
        temporary = secrets.token_hex(16)
        return cls(folders, key, temporary, folders.open_temporary(temporary), settle)

    def append(self, body: "LocalBody") -> None:
        """Append all bytes of `body`, a file of the same disk."""
        self._take_step()
        with changing:
            while body.left and (copied := _copy_range(body.file, self._fd, body.left)):
                body.left -= copied
        self._usable = True
        for piece in body:
            self.write(piece)

    def commit(self) -> ObjectInfo:
        """Fsync the file, rename it, fsync its folder. When only the last of these fails, the
        object is there, whole, and the error says that a crash may still take it away.
        """
        self._take_step()
        with changing:
            if self._folders.durable:
                os.fsync(self._fd)
            info = describe(self._key, os.fstat(self._fd))
            self._close()
            self._settle(self._temporary)
        self._temporary = ""
        return info

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        self._usable = False
        with suppress(OSError):
            self._close()
        temporary, self._temporary = self._temporary, ""
        if temporary:
            # The error that ends the block says more than a file that could not be removed.
            with suppress(*((StorageError,) if error else ())):
                self._folders.discard(temporary)


class LocalBody:
    """An open file and how much of it is to be read."""

    __slots__ = ("file", "info", "left", "size")

    @classmethod
    def open(
        cls, key: str, folder: int, name: str, start: int = 0, stop: int | None = None
    ) -> Self:
        """Open a range of the file `name`. Raises OSError."""
        return cls.of(key, os.open(name, OPEN_FILE, dir_fd=folder), start, stop)

    @classmethod
    def of(cls, key: str, fd: int, start: int = 0, stop: int | None = None) -> Self:
        """Take over an open file, and have a range of it read. Raises OSError."""
        try:
            if start < 0 or (stop is not None and stop < start):
                raise ValueError("a range begins at 0 or later and ends no earlier than it begins")
            info = describe(key, os.fstat(fd))
            window = range(info.size)[start:stop]
            if window.start:
                os.lseek(fd, window.start, os.SEEK_SET)
        except BaseException:
            os.close(fd)
            raise
        return cls(info, fd, len(window))

    def __init__(self, info: ObjectInfo, fd: int, size: int) -> None:
        self.info = info
        self.file = FileIO(fd, "rb")
        self.size = size
        self.left = size

    def __iter__(self) -> Iterator[bytes]:
        while self.left:
            yield self.read()

    def read(self) -> bytes:
        """Read the next piece, while there is something left."""
        with changing:
            piece = self.file.read(min(self.left, CHUNK_SIZE))
        if not piece:
            raise StorageUnavailable("the object's file is shorter than it was when opened")
        self.left -= len(piece)
        return piece

    def close(self) -> None:
        self.file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        self.close()


def _copy_range(source: FileIO, target: int, size: int) -> int:
    """Copy up to `size` bytes between two files' positions; 0 where the kernel has no way."""
    try:
        return os.copy_file_range(source.fileno(), target, size)
    except OSError as error:
        if error.errno not in _NO_RANGE_COPY:
            raise
        return 0
