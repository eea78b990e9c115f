"""Objects as plain files under one folder of a local disk.

A key `k7/k7q2…` is the file `k7/k7q2…` under the root. What is being written lies in `.tmp` beside
the folders, so that a commit is one rename; a process that is killed leaves its file there. What is
written in several appends or in parts lies in `.unfinished` (see `storage.local_resumable` and
`storage.local_multipart`).

It knows files, and must not know what the bytes mean or who asks for them.
"""

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, Self
from urllib.parse import unquote, urlsplit

from storage.base import CHUNK_SIZE, ObjectInfo
from storage.errors import IntegrityError, InvalidKey, ObjectNotFound, StorageUnavailable
from storage.files import describe
from storage.folders import Folders, changing, finding, list_names
from storage.keys import validated
from storage.local_files import LocalBody, LocalWriter
from storage.local_multipart import LocalMultipart
from storage.local_resumable import LocalResumable
from storage.local_sweep import LocalSweep
from storage.selftest import prove

_SHARD: Final = re.compile(r"[0-9a-z]{2}", re.ASCII)


class LocalStorage(LocalMultipart, LocalResumable, LocalSweep):
    """The storage in the folder `root`; `durable` fsyncs before a commit or a delete returns.

    Implements Storage, Multipart, Resumable and Sweepable.
    """

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

    def create(self, key: str, *, content_type: str = "application/octet-stream") -> LocalWriter:
        """Begin the object in a temporary file. A file has no place for `content_type`."""
        return LocalWriter.begin(self._folders, key)

    def open(self, key: str, start: int = 0, stop: int | None = None) -> LocalBody:
        with finding:
            return LocalBody.of(key, self._folders.open_to_read(key), start, stop)

    def filed_at(self, key: str) -> str:
        return validated(key)

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

    def copy(self, source: str, target: str, *, etag: str | None = None) -> ObjectInfo:
        """Copy inside the kernel, which shares the blocks where the filesystem can."""
        validated(target)
        with self.open(source) as body:
            if etag not in (None, body.info.etag):
                raise IntegrityError("another object is stored there than the one to be copied")
            with self.create(target) as writer:
                writer.append(body)
                return writer.commit()

    def check(self) -> None:
        """Prove the contract; the message tells a missing, foreign, refused or full folder."""
        with changing:
            opened = os.fstat(self._folders.root())
            if not os.path.samestat(os.stat(self._folders.path), opened):
                raise StorageUnavailable("the storage's folder was replaced while in use")
        prove(self, large=2 * CHUNK_SIZE + 1)

    def make_ready(self) -> None:
        """Make the folders of all new keys at once: the first uploads would make one each.

        Raises StorageFull and StorageUnavailable.
        """
        self._folders.make_shards()

    def close(self) -> None:
        self._folders.close()


def _look(folder: int, shard: str, name: str) -> Iterator[ObjectInfo]:
    """Yield what is at `name` if it is an object; deleted ones and foreign files are none."""
    with suppress(InvalidKey, FileNotFoundError):
        key = validated(f"{shard}/{name}")
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if stat.S_ISREG(found.st_mode):
            yield describe(key, found)
