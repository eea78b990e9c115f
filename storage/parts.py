"""Bytes that wait to be sent as one part, in memory under one budget or in a nameless file.

A part takes memory only for the bytes that arrived. When the process's budget is used up, the
part goes on in an unlinked file, so that many slow senders cost disk and not memory. Knows
nothing of stores or the network.
"""

import contextlib
import errno
import io
import mmap
import tempfile
import threading
from pathlib import Path
from typing import IO, BinaryIO, Final, cast

from storage.errors import StorageError, StorageFull

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_OUR_OWN: Final = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS

_LARGE_PAGES: Final[int | None] = getattr(mmap, "MADV_HUGEPAGE", None)

LARGE_PAGE: Final = 2 * 1024 * 1024
"""Bytes that the system gives at once where it has large pages; 512 small ones cost more than the
SHA-256 of what goes into them."""


class Budget:
    """A number of bytes that all parts of a process share."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._used = 0
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """How many bytes are taken now."""
        return self._used

    def take(self, size: int) -> bool:
        """Take `size` bytes if they are left, and say whether they were."""
        with self._lock:
            if self._used + size > self.limit:
                return False
            self._used += size
            return True

    def give_back(self, size: int) -> None:
        with self._lock:
            self._used -= size


PROCESS_BUDGET: Final = Budget(32 * 1024 * 1024)
"""What the parts of all S3 storages of this process may hold in memory together."""


class Window(io.RawIOBase):
    """A stretch of an open file as a file of its own, so that a retry can go back to its start.

    Closing the window leaves the file open.
    """

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file = file
        self._start = start
        self._size = size
        self._position = 0

    def __len__(self) -> int:
        return self._size

    def read(self, size: int = -1, /) -> bytes:
        left = self._size - self._position
        size = left if size < 0 else min(size, left)
        self._file.seek(self._start + self._position)
        piece = self._file.read(size)
        self._position += len(piece)
        return piece

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, origin + offset)
        return self._position

    def tell(self) -> int:
        return self._position


def size_of(file: BinaryIO) -> int:
    """Return how many bytes lie between a file's position and its end; it must be seekable."""
    start = file.tell()
    file.seek(0, io.SEEK_END)
    end = file.tell()
    file.seek(start)
    return max(0, end - start)


def rewindable(file: BinaryIO) -> BinaryIO:
    """Return the rest of a file as a file that begins at 0, where a retry goes back to."""
    start = file.tell()
    return file if start == 0 else cast("BinaryIO", Window(file, start, size_of(file)))


class PartBuffer:
    """Up to `capacity` bytes, appended piece by piece and then read as a file.

    Memory is an anonymous mapping: pages exist once they are written, and go back to the system
    at `close`, which may be called more than once. With `large_pages`, for a part that is likely to
    be filled soon, memory is taken and counted in those.
    """

    def __init__(
        self, capacity: int, *, budget: Budget, scratch: Path, large_pages: bool = False
    ) -> None:
        self.capacity = capacity
        self.size = 0
        self._step = LARGE_PAGE if large_pages else 1
        self._budget = budget
        self._scratch = scratch
        self._taken = 0
        self._memory: mmap.mmap | None = None
        self._file: IO[bytes] | None = None

    @property
    def room(self) -> int:
        """How many bytes still fit."""
        return self.capacity - self.size

    @property
    def in_memory(self) -> bool:
        """Whether the bytes, if there are any, are held in memory."""
        return self._file is None

    def take_memory(self, size: int) -> bool:
        """Get hold of memory for `size` more bytes, and say whether there is any."""
        needed = -(-(self.size + size) // self._step) * self._step
        missing = max(0, needed - self._taken)
        if self._file is not None or not self._budget.take(missing):
            return False
        self._taken += missing
        return True

    def append(self, data: memoryview) -> None:
        """Copy in `data`, which fits the room: to memory if take_memory got any, else to a file.

        Raises StorageFull when the disk has no room for the file.
        """
        if self._file is None and self._taken >= self.size + len(data):
            if self._memory is None:
                self._memory = self._new_memory()
            self._memory[self.size : self.size + len(data)] = data
        else:
            try:
                self._append_to_file(data)
            except OSError as exc:
                kind = StorageFull if exc.errno in _FULL else StorageError
                raise kind(f"a part could not be kept in the scratch folder: {exc}") from exc
        self.size += len(data)

    def reader(self) -> BinaryIO:
        """Open the bytes for reading from the first on; nothing is appended afterwards."""
        if self._file is not None:
            self._file.seek(0)
            return cast("BinaryIO", self._file)
        if self._memory is None:
            return io.BytesIO()
        if len(self._memory) > self.size:
            self._memory.resize(self.size)
        self._memory.seek(0)
        return cast("BinaryIO", self._memory)

    def close(self) -> None:
        """Let go of the memory or the file."""
        self._drop_memory()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _new_memory(self) -> mmap.mmap:
        memory = mmap.mmap(-1, min(self.capacity, self._budget.limit), flags=_OUR_OWN)
        if self._step > 1 and _LARGE_PAGES is not None:
            # A kernel without large pages says so, and gives small ones.
            with contextlib.suppress(OSError):
                memory.madvise(_LARGE_PAGES)
        return memory

    def _append_to_file(self, data: memoryview) -> None:
        if self._file is None:
            self._scratch.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=self._scratch, buffering=0)  # noqa: SIM115
            if self._memory is not None:
                with memoryview(self._memory) as held, held[: self.size] as filled:
                    _write_all(self._file, filled)
            self._drop_memory()
        _write_all(self._file, data)

    def _drop_memory(self) -> None:
        if self._memory is not None:
            self._memory.close()
            self._memory = None
        self._budget.give_back(self._taken)
        self._taken = 0


def _write_all(file: IO[bytes], data: memoryview) -> None:
    """Write every byte: an unbuffered file may take less than it is given."""
    written = 0
    while written < len(data):
        written += file.write(data[written:])
