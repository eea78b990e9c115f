"""Objects of a local disk that are put together from parts: a half of `storage.local`.

An upload is a folder `<key>.<id>` among the unfinished objects, its parts are the files in it, and
its id begins with the second in which it began. A part's tag is that of its file. Parts are joined
in a new file, inside the kernel where it can, which costs their room twice for as long where the
filesystem shares no blocks; a single part becomes the object as it is.

A lock on the folder (flock(2)) keeps it as it is while parts are joined: putting a part in its
place and joining share it, what removes files has it alone. An upload that is gone when it is
completed was completed before, if an object of its size is there.
"""

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import BinaryIO, Final

from storage.base import ObjectInfo
from storage.capabilities import Part
from storage.errors import IntegrityError, ObjectNotFound, StorageError
from storage.files import describe
from storage.folders import FOLDER_MODE, OPEN_FOLDER, Folders, changing, finding, list_names
from storage.keys import is_valid, random_name
from storage.local_files import LocalBody, LocalWriter
from storage.numbered import MAXIMUM_PARTS, pieces_of, require_number, require_order

_TIME_LENGTH: Final = 10
_UPLOAD_ID: Final = re.compile(rf"([0-9a-f]{{{_TIME_LENGTH}}})[a-z2-7]{{26}}", re.ASCII)

_PART: Final = re.compile(r"[0-9]{5}", re.ASCII)


class LocalMultipart:
    """The capability Multipart over the folders of a local storage."""

    minimum_part_size = 1
    maximum_parts = MAXIMUM_PARTS

    def __init__(self, folders: Folders) -> None:
        self._folders = folders

    def begin(self, key: str, *, content_type: str = "application/octet-stream") -> str:
        """Make the upload's folder. A file has no place for `content_type`."""
        upload_id = f"{int(time.time()):0{_TIME_LENGTH}x}{random_name()}"
        with self._folders.unfinished(key, make=True) as (folder, name):
            os.mkdir(f"{name}.{upload_id}", FOLDER_MODE, dir_fd=folder)
            if self._folders.durable:
                os.fsync(folder)
        return upload_id

    def put_part(self, key: str, upload_id: str, number: int, data: bytes | BinaryIO) -> Part:
        name = _part_name(number)
        with (
            self._opened(key, upload_id) as folder,
            LocalWriter.begin(
                self._folders, key, partial(self._settle_part, folder, name)
            ) as writer,
        ):
            for piece in pieces_of(data):
                writer.write(piece)
            return _part(number, writer.commit())

    def copy_part(
        self, key: str, upload_id: str, number: int, source: str, start: int, stop: int
    ) -> Part:
        if not 0 <= start < stop:
            raise ValueError("a copied part has at least one byte")
        name = _part_name(number)
        with self._folders.place(source) as (shard, source_name):
            body = LocalBody.open(source, shard, source_name, start, stop)
        with body, self._opened(key, upload_id) as folder:
            if body.size != stop - start:
                raise IntegrityError("the object to copy from has no bytes in that range")
            settle = partial(self._settle_part, folder, name)
            with LocalWriter.begin(self._folders, key, settle) as writer:
                writer.append(body)
                return _part(number, writer.commit())

    def list_parts(self, key: str, upload_id: str) -> list[Part]:
        with self._locked(key, upload_id, fcntl.LOCK_SH) as folder:
            return _parts_in(folder, key)

    def complete(self, key: str, upload_id: str, parts: list[Part]) -> ObjectInfo:
        require_order(parts)
        # Only a single part is taken out of the folder.
        how = fcntl.LOCK_EX if len(parts) == 1 else fcntl.LOCK_SH
        try:
            with self._locked(key, upload_id, how) as folder:
                info = self._object_of(key, folder, parts)
        except ObjectNotFound:
            return self._completed(key, sum(part.size for part in parts))
        with suppress(StorageError):
            self.abort(key, upload_id)
        return info

    def abort(self, key: str, upload_id: str) -> None:
        with (
            suppress(ObjectNotFound),
            self._locked(key, upload_id, fcntl.LOCK_EX) as folder,
            self._folders.unfinished(key) as (parent, name),
        ):
            # Under another id first: who dies in the middle leaves a stale upload, not half of one.
            going = f"{name}.{upload_id[:_TIME_LENGTH]}{random_name()}"
            os.rename(f"{name}.{upload_id}", going, src_dir_fd=parent, dst_dir_fd=parent)
            for part in list_names(folder):
                os.unlink(part, dir_fd=folder)
            os.rmdir(going, dir_fd=parent)
            if self._folders.durable:
                os.fsync(parent)

    def stale_multiparts(self, older_than: datetime) -> Iterator[tuple[str, str, datetime]]:
        for name in self._folders.unfinished_names():
            stem, _, upload_id = name.rpartition(".")
            key, made = stem.replace(".", "/", 1), _UPLOAD_ID.fullmatch(upload_id)
            if made is None or not is_valid(key):
                continue
            begun = datetime.fromtimestamp(int(made[1], 16), UTC)
            if begun < older_than and self._is_untouched_since(key, name, older_than):
                yield key, upload_id, begun

    def _is_untouched_since(self, key: str, name: str, moment: datetime) -> bool:
        """Say whether no part was put in an upload's folder, which dates the folder."""
        try:
            with self._folders.unfinished(key) as (parent, _):
                found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except ObjectNotFound:
            return False
        return found.st_mtime < moment.timestamp()

    @contextmanager
    def _opened(self, key: str, upload_id: str) -> Iterator[int]:
        """Open the upload's folder; what fails in the block is not translated."""
        with self._folders.unfinished(key) as (parent, name):
            if not _UPLOAD_ID.fullmatch(upload_id):
                raise ObjectNotFound("there is no such upload")
            flags = OPEN_FOLDER | os.O_NOFOLLOW
            folder = os.open(f"{name}.{upload_id}", flags, dir_fd=parent)
        try:
            yield folder
        finally:
            os.close(folder)

    @contextmanager
    def _locked(self, key: str, upload_id: str, how: int) -> Iterator[int]:
        """Open the folder and wait for the lock, which closing it releases."""
        with self._opened(key, upload_id) as folder, changing:
            fcntl.flock(folder, how)
            if os.fstat(folder).st_nlink == 0:
                raise ObjectNotFound("there is no such upload")
            yield folder

    def _settle_part(self, folder: int, name: str, temporary: str) -> None:
        fcntl.flock(folder, fcntl.LOCK_SH)
        with finding:
            self._folders.settle_as(temporary, folder, name)

    def _object_of(self, key: str, folder: int, parts: list[Part]) -> ObjectInfo:
        """Make the object; an earlier call may have taken a single part to its place already."""
        stored = _parts_in(folder, key)
        if len(parts) == 1 and parts[0] not in stored:
            with suppress(ObjectNotFound):
                found = self._look(key)
                if _part(parts[0].number, found) == parts[0]:
                    return found
        if not set(parts) <= set(stored):
            raise IntegrityError("a part of the upload is missing, or another one by now")
        if len(parts) == 1:
            return self._take(key, folder, parts[0])
        with LocalWriter.begin(self._folders, key) as writer:
            for part in parts:
                with LocalBody.open(key, folder, _part_name(part.number)) as body:
                    if _part(part.number, body.info) != part:
                        raise IntegrityError("a part of the upload was replaced meanwhile")
                    writer.append(body)
            return writer.commit()

    def _take(self, key: str, folder: int, part: Part) -> ObjectInfo:
        """Rename a part, which is durable since it was put, to be the object."""
        with self._folders.place(key, make=True) as (shard, name):
            os.rename(_part_name(part.number), name, src_dir_fd=folder, dst_dir_fd=shard)
        return self._look(key)

    def _completed(self, key: str, size: int) -> ObjectInfo:
        """Look for the object of an earlier call, which may not have come to its fsync."""
        if (found := self._look(key)).size != size:
            raise ObjectNotFound("there is no such upload")
        return found

    def _look(self, key: str) -> ObjectInfo:
        """Describe the object at `key`, and make sure that its name is durable."""
        with self._folders.place(key) as (shard, name):
            found = describe(key, os.stat(name, dir_fd=shard, follow_symlinks=False))
            if self._folders.durable:
                os.fsync(shard)
            return found


def _part_name(number: int) -> str:
    return f"{require_number(number):05}"


def _part(number: int, info: ObjectInfo) -> Part:
    return Part(number, info.etag, info.size)


def _parts_in(folder: int, key: str) -> list[Part]:
    return [
        _part(int(name), describe(key, os.stat(name, dir_fd=folder, follow_symlinks=False)))
        for name in list_names(folder)
        if _PART.fullmatch(name)
    ]
