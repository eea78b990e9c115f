"""Objects as plain files under one folder of a local disk.

A key `k7/k7q2…` is the file `k7/k7q2…` under the root. What is being written lies in `.tmp` beside
the folders, so that a commit is one rename; a process that is killed leaves its file there. What is
written in several appends lies in `.unfinished` (see `storage.local_resumable`).

It knows files, and must not know what the bytes mean or who asks for them.
"""

import errno
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import unquote, urlsplit

from storage.base import CHUNK_SIZE, ObjectInfo
from storage.errors import InvalidKey, ObjectNotFound, StorageError, StorageUnavailable
from storage.files import FileWriter, describe
from storage.folders import Folders, changing, finding, list_names
from storage.keys import validated
from storage.local_resumable import LocalResumable
from storage.selftest import prove

_SHARD: Final = re.compile(r"[0-9a-z]{2}", re.ASCII)
# O_NONBLOCK: opening a pipe that someone put in a file's place must not wait for its other end.
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_NO_RANGE_COPY: Final = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EXDEV})


class LocalStorage(LocalResumable):
    """The storage in the folder `root`; `durable` fsyncs before a commit or a delete returns."""

    def __init__(self, root: Path, durable: bool = True) -> None:
        super().__init__(Folders(root, durable))

    @classmethod
    def from_url(cls, url: str, *, durable: bool = True) -> Self:
        """Make the storage of `file:///folder`, an absolute folder of this machine."""
        parts = urlsplit(url)
        root = unquote(parts.path)
        if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
            raise ValueError("a local folder is written file:///folder, with three slashes")
        if parts.query or parts.fragment or "\0" in root:
            raise ValueError("a file:// URL has no ? and no #: write %3F and %23 in a name")
        if not root.startswith("/") or not root.strip("/"):
            raise ValueError("a file:// URL names an absolute folder, and not /")
        return cls(Path(root), durable=durable)

    def create(self, key: str, *, content_type: str = "application/octet-stream") -> "LocalWriter":
        """Begin the object in a temporary file. A file has no place for `content_type`."""
        validated(key)
        temporary = secrets.token_hex(16)
        return LocalWriter(self._folders, key, temporary, self._folders.open_temporary(temporary))

    def open(self, key: str, start: int = 0, stop: int | None = None) -> "LocalBody":
        if start < 0 or (stop is not None and stop < start):
            raise ValueError("a range begins at 0 or later and ends no earlier than it begins")
        with self._folders.place(key) as (folder, name):
            fd = os.open(name, _READ, dir_fd=folder)
            try:
                info = describe(key, os.fstat(fd))
                window = range(info.size)[start:stop]
                if window.start:
                    os.lseek(fd, window.start, os.SEEK_SET)
            except BaseException:
                os.close(fd)
                raise
        return LocalBody(info, fd, len(window))

    def stat(self, key: str) -> ObjectInfo:
        with self._folders.place(key) as (folder, name):
            return describe(key, os.stat(name, dir_fd=folder, follow_symlinks=False))

    def scan(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield the objects; memory grows with the names of one folder, not of all."""
        with finding:
            shards = list_names(self._folders.root())
        for shard in shards:
            if _SHARD.fullmatch(shard) and f"{shard}/".startswith(prefix[:3]):
                yield from self._scan_shard(shard, prefix)

    def _scan_shard(self, shard: str, prefix: str) -> Iterator[ObjectInfo]:
        with suppress(ObjectNotFound), finding:
            folder = self._folders.open_shard(shard)
            try:
                for name in list_names(folder):
                    if f"{shard}/{name}".startswith(prefix):
                        yield from _look(folder, shard, name)
            finally:
                os.close(folder)

    def delete(self, key: str) -> None:
        with suppress(ObjectNotFound), self._folders.place(key) as (folder, name):
            os.unlink(name, dir_fd=folder)
            if self._folders.durable:
                os.fsync(folder)

    def copy(self, source: str, target: str) -> ObjectInfo:
        """Copy inside the kernel, which shares the blocks where the filesystem can."""
        validated(target)
        with self.open(source) as body, self.create(target) as writer:
            writer.append(body)
            return writer.commit()

    def check(self) -> None:
        """Prove the contract; the message tells a missing, foreign, refused or full folder."""
        with changing:
            opened = os.fstat(self._folders.root())
            if not os.path.samestat(os.stat(self._folders.path), opened):
                raise StorageUnavailable("the storage's folder was replaced while in use")
        prove(self, large=2 * CHUNK_SIZE + 1)

    def close(self) -> None:
        self._folders.close()


class LocalWriter(FileWriter):
    """A temporary file that a commit renames into place."""

    __slots__ = ("_folders", "_key", "_temporary")

    def __init__(self, folders: Folders, key: str, temporary: str, fd: int) -> None:
        super().__init__(fd)
        self._folders = folders
        self._key = key
        self._temporary = temporary

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
            self._folders.settle(self._temporary, self._key)
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


def _look(folder: int, shard: str, name: str) -> Iterator[ObjectInfo]:
    """Yield what is at `name` if it is an object; deleted ones and foreign files are none."""
    with suppress(InvalidKey, FileNotFoundError):
        key = validated(f"{shard}/{name}")
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISREG(found.st_mode):
            yield describe(key, found)


def _copy_range(source: FileIO, target: int, size: int) -> int:
    """Copy up to `size` bytes between two files' positions; 0 where the kernel has no way."""
    try:
        return os.copy_file_range(source.fileno(), target, size)
    except OSError as error:
        if error.errno not in _NO_RANGE_COPY:
            raise
        return 0
