"""The folders under a local storage's root, reached without following a link.

Every step goes from an open folder to a name in it, so a symlink that is swapped in under the root
leads nowhere; the root itself may be a link that the operator made. It is opened at the first use,
after a fork. This module turns keys into places and the system's errors into the storage's, and
must not know what is read or written there.
"""

import errno
import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final

from storage.errors import ObjectNotFound, StorageError, StorageFull, StorageUnavailable
from storage.keys import folders, validated

_TEMPORARY: Final = ".tmp"
_UNFINISHED: Final = ".unfinished"
OPEN_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
FOLDER_MODE: Final = 0o750  # a front server in the same group may read what it is told to send
_FILE_MODE: Final = 0o640
# O_NONBLOCK: opening a pipe that someone put in a file's place must not wait for its other end.
OPEN_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FOREIGN: Final = frozenset({errno.ELOOP, errno.ENOTDIR, errno.EISDIR})


class _Translation:
    """A `with` block in which the system's errors become the storage's, free of any path."""

    def __init__(self, missing: type[StorageError]) -> None:
        self._missing = missing

    def __enter__(self) -> None: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        if isinstance(error, OSError) and not isinstance(error, StorageError):
            raise self._translate(error) from error

    def _translate(self, error: OSError) -> StorageError:
        if error.errno == errno.ENOENT:
            if self._missing is ObjectNotFound:
                return ObjectNotFound("no object is stored at this key")
            return StorageUnavailable("the storage's folder is gone")
        if error.errno in _FULL:
            return StorageFull("the storage's disk has no room left")
        if error.errno in _FOREIGN:
            return StorageUnavailable("the storage's folder holds a link or a folder out of place")
        reason = os.strerror(error.errno or 0)
        return StorageUnavailable(f"the storage's disk refused: {reason}")


finding: Final = _Translation(missing=ObjectNotFound)
"""For what looks an object up: a missing file is ObjectNotFound."""
changing: Final = _Translation(missing=StorageUnavailable)
"""For what writes: a missing folder means that the storage is gone."""


class Folders:
    """The open root of a storage and the ways from it to files."""

    def __init__(self, root: Path, durable: bool) -> None:
        self.path = root
        self.durable = durable
        self._lock = threading.Lock()
        self._root: int | None = None
        self._temporary: int | None = None
        self._made: set[str] = set()

    @contextmanager
    def place(self, key: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """Turn `key` into an open folder and a name in it: the one way from a key to a file.

        With `make` a missing folder is made, and with `durable` it outlives a crash. Errors of the
        block are translated too.
        """
        shard, name = validated(key).split("/")
        with self._opened(shard, make) as folder:
            yield folder, name

    def open_to_read(self, key: str) -> int:
        """Open the file at `key`. Raises OSError."""
        shard, name = validated(key).split("/")
        folder = self.open_shard(shard)
        try:
            return os.open(name, OPEN_FILE, dir_fd=folder)
        finally:
            os.close(folder)

    @contextmanager
    def unfinished(self, key: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """Turn `key` in the same way into where its object grows until it is finished."""
        name = validated(key).replace("/", ".")
        with self._opened(_UNFINISHED, make) as folder:
            yield folder, name

    @contextmanager
    def _opened(self, name: str, make: bool) -> Iterator[int]:
        with changing if make else finding:
            folder = self._made_shard(name) if make else self.open_shard(name)
            try:
                yield folder
            finally:
                os.close(folder)

    def open_shard(self, shard: str) -> int:
        return os.open(shard, OPEN_FOLDER | os.O_NOFOLLOW, dir_fd=self.root())

    def _made_shard(self, shard: str) -> int:
        if shard not in self._made:
            self._make_shard(shard)
        try:
            return self.open_shard(shard)
        except FileNotFoundError:
            self._make_shard(shard)
            return self.open_shard(shard)

    def make_shards(self) -> None:
        """Make every folder that a new key may name, where it is missing."""
        with changing:
            for shard in folders():
                with suppress(FileExistsError):
                    os.mkdir(shard.rstrip("/"), FOLDER_MODE, dir_fd=self.root())
            if self.durable:
                os.fsync(self.root())

    def _make_shard(self, shard: str) -> None:
        with suppress(FileExistsError):
            os.mkdir(shard, FOLDER_MODE, dir_fd=self.root())
        if self.durable:
            # Also when it was there: who made it may not have come to this line yet.
            os.fsync(self.root())
        self._made.add(shard)

    def open_temporary(self, name: str) -> int:
        """Make, open and lock the temporary file `name`."""
        with changing:
            try:
                made = os.open(name, _CREATE, _FILE_MODE, dir_fd=self._temporary_folder())
            except FileNotFoundError:
                self._remake_temporary_folder()
                made = os.open(name, _CREATE, _FILE_MODE, dir_fd=self._temporary_folder())
        # Tells a file that is being written from one of a killed process (`storage.local_sweep`),
        # which its age does too: so a filesystem without locks is no fault.
        with suppress(OSError):
            fcntl.flock(made, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return made

    def discard(self, name: str) -> None:
        """Remove the temporary file `name`, if it is there."""
        with changing, suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._temporary_folder())

    def settle(self, temporary: str, key: str) -> None:
        """Rename the temporary file to where `key` is looked up."""
        with self.place(key, make=True) as (folder, name):
            self.settle_as(temporary, folder, name)

    def settle_as(self, temporary: str, folder: int, name: str) -> None:
        """Rename the temporary file to `name` in an open folder. Raises OSError."""
        os.rename(temporary, name, src_dir_fd=self._temporary_folder(), dst_dir_fd=folder)
        if self.durable:
            os.fsync(folder)

    @contextmanager
    def temporaries(self) -> Iterator[int]:
        """Open the folder of temporary files; ObjectNotFound where there is none yet."""
        with self._opened(_TEMPORARY, make=False) as folder:
            yield folder

    def unfinished_names(self) -> list[str]:
        """Return the names of all that is unfinished, sorted."""
        with suppress(ObjectNotFound), self._opened(_UNFINISHED, make=False) as folder:
            return list_names(folder)
        return []

    def root(self) -> int:
        """Return the open root, which is made at the first use when its parent is there."""
        if self._root is None:
            with self._lock:
                if self._root is None:
                    self._root = _open_root(self.path, self.durable)
        return self._root

    def _temporary_folder(self) -> int:
        if self._temporary is None:
            root = self.root()
            with self._lock:
                if self._temporary is None:
                    self._temporary = _make_folder(root, _TEMPORARY)
        return self._temporary

    def _remake_temporary_folder(self) -> None:
        """Put a new temporary folder in the place of one that was removed while in use."""
        with self._lock:
            made = _make_folder(self._root, _TEMPORARY)
            if self._temporary is None:
                self._temporary = made
                return
            # The number stays the same, so that no thread is left with a closed one.
            os.dup2(made, self._temporary, inheritable=False)
            os.close(made)

    def close(self) -> None:
        with self._lock:
            opened = (self._root, self._temporary)
            self._root = self._temporary = None
        for folder in opened:
            if folder is not None:
                os.close(folder)


def list_names(folder: int) -> list[str]:
    """Return the names in `folder`, sorted."""
    # A descriptor of its own: threads that list through one descriptor share its position.
    own = os.open(".", OPEN_FOLDER, dir_fd=folder)
    try:
        return sorted(os.listdir(own))
    finally:
        os.close(own)


def _make_folder(parent: int | None, name: str) -> int:
    with suppress(FileExistsError):
        os.mkdir(name, FOLDER_MODE, dir_fd=parent)
    return os.open(name, OPEN_FOLDER | os.O_NOFOLLOW, dir_fd=parent)


def _open_root(root: Path, durable: bool) -> int:
    """Open the folder `root`, made if only it is missing: a missing parent is a missing disk."""
    try:
        if not os.path.lexists(root):
            with suppress(FileExistsError):
                os.mkdir(root, FOLDER_MODE)
        if durable:
            # Also when it was there: who made it may not have come to this line yet.
            sync_names(root)
        return os.open(root, OPEN_FOLDER)
    except FileNotFoundError as error:
        raise StorageUnavailable(
            "the storage's folder cannot be made, because the folder above it is missing: "
            "is the disk mounted?"
        ) from error
    except NotADirectoryError as error:
        raise StorageUnavailable("the storage's place is not a folder") from error


def sync_names(folder: Path) -> None:
    """Make the name of `folder`, and of each above it on its disk, outlive a crash.

    Those that lie in a folder which is not ours to read were made by somebody else. Raises OSError.
    """
    disk = os.stat(folder).st_dev
    for parent in folder.absolute().parents:
        if os.stat(parent).st_dev != disk:
            return
        with suppress(PermissionError):
            opened = os.open(parent, OPEN_FOLDER)
            try:
                os.fsync(opened)
            finally:
                os.close(opened)
