"""Objects of a local disk that are written in several appends: a half of `storage.local`.

An unfinished object is one file, named after its key, in a folder that no scan looks into. Who
appends holds a lock on the open file (flock(2)), which ends with its process: another one is
refused meanwhile, and a file that was removed or finished under its name is noticed.

The state is a count of bytes; the rest stands in the file. It knows files, and must not know what
the bytes mean.
"""

import fcntl
import os
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

from typing_extensions import Buffer

from storage.base import ObjectInfo
from storage.capabilities import Appended, State
from storage.counted import Counted
from storage.errors import IntegrityError, ObjectNotFound, StorageUnavailable
from storage.files import FileWriter, describe
from storage.folders import Folders, changing
from storage.keys import validated

# O_NONBLOCK: opening a pipe that someone put in a file's place must not wait for its other end.
_WRITE: Final = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_FILE_MODE: Final = 0o640


class LocalResumable:
    """The capability Resumable over the folders of a local storage."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders

    def start(self, key: str, *, content_type: str, largest: int) -> State:
        """Begin an object; its file is made by the first append."""
        validated(key)
        return Counted().state()

    def append(self, key: str, state: State, offset: int) -> "LocalAppender":
        Counted.to_append(state, offset)
        with self._folders.unfinished(key, make=offset == 0) as (folder, name):
            fd = _open_alone(folder, name, make=offset == 0)
            try:
                if describe(key, os.fstat(fd)).size < offset:
                    raise IntegrityError("the unfinished object has lost bytes")
                os.lseek(fd, offset, os.SEEK_SET)
            except BaseException:
                os.close(fd)
                raise
        return LocalAppender(self._folders, key, fd, offset)

    def finish(self, key: str, state: State, size: int) -> ObjectInfo:
        """Rename the file, which `complete` has made durable, into place."""
        Counted.to_finish(state, size)
        try:
            with self._folders.unfinished(key) as (folder, name):
                fd = _open_alone(folder, name, make=False)
                try:
                    info = _require_size(describe(key, os.fstat(fd)), size)
                    self._settle(folder, name, key)
                finally:
                    os.close(fd)
            return info
        except ObjectNotFound:
            return self._finished(key, size)

    def discard(self, key: str, state: State) -> None:
        with suppress(ObjectNotFound), self._folders.unfinished(key) as (folder, name):
            os.unlink(name, dir_fd=folder)
            if self._folders.durable:
                os.fsync(folder)

    def _settle(self, source: int, unfinished: str, key: str) -> None:
        with self._folders.place(key, make=True) as (folder, name):
            os.rename(unfinished, name, src_dir_fd=source, dst_dir_fd=folder)
            if self._folders.durable:
                os.fsync(folder)

    def _finished(self, key: str, size: int) -> ObjectInfo:
        """Look for the object of an earlier `finish`, which may not have come to its fsync."""
        with self._folders.place(key) as (folder, name):
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if self._folders.durable:
                os.fsync(folder)
            return _require_size(describe(key, found), size)


class LocalAppender(FileWriter):
    """The open, locked file of an unfinished object.

    What lies beyond the offset is cut off by the first act and not before: who opens late, with a
    state that another one has gone beyond, may still find that out and leave.
    """

    __slots__ = ("_cut", "_folders", "_key", "_offset")

    def __init__(self, folders: Folders, key: str, fd: int, offset: int) -> None:
        super().__init__(fd)
        self._folders = folders
        self._key = key
        self._offset = offset
        self._cut = False

    def write(self, data: Buffer, /) -> None:
        self._cut_off()
        super().write(data)

    def keep(self) -> Appended:
        return Appended(Counted(size=self._make_durable()).state())

    def complete(self) -> Appended:
        return Appended(Counted(size=self._make_durable(), complete=True).state())

    def _make_durable(self) -> int:
        """Fsync the file, and at its beginning its name too, and return its size."""
        self._cut_off()
        self._take_step()
        with changing:
            if self._folders.durable:
                os.fsync(self._fd)
                if self._offset == 0:
                    with self._folders.unfinished(self._key) as (folder, _):
                        os.fsync(folder)
            found = os.fstat(self._fd)
            if found.st_nlink == 0:
                raise ObjectNotFound("the unfinished object was discarded meanwhile")
            self._close()
        return found.st_size

    def _cut_off(self) -> None:
        if not self._cut:
            self._take_step()
            with changing:
                os.ftruncate(self._fd, self._offset)
            self._usable = self._cut = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        """Give back the room of what was not kept; that it is dropped at the next append counts."""
        self._usable = False
        with suppress(OSError):
            if self._fd >= 0 and self._cut:
                os.ftruncate(self._fd, self._offset)
            self._close()


def _open_alone(folder: int, name: str, *, make: bool) -> int:
    """Open a file that nobody else is appending to, and that is still the one of that name."""
    fd = os.open(name, _WRITE | (os.O_CREAT if make else 0), _FILE_MODE, dir_fd=folder)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        named = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if not os.path.samestat(named, os.fstat(fd)):
            raise StorageUnavailable("the unfinished object was replaced while it was opened")
    except BlockingIOError as exc:
        os.close(fd)
        raise StorageUnavailable("another process is still appending to the object") from exc
    except BaseException:
        os.close(fd)
        raise
    return fd


def _require_size(info: ObjectInfo, size: int) -> ObjectInfo:
    if info.size != size:
        raise IntegrityError(f"the object has {info.size} bytes, not {size}")
    return info
