"""Copies one file from a store to another, and reads it back: what the threads of a migration do.

The copy has the key of the original, so that whoever comes after a crash finds it: an object of the
file's size at the target is read, and when it has the file's SHA-256 it is not sent again. Nothing
of a row is changed here. It must not know any concrete storage.
"""

import hashlib
import threading
from dataclasses import dataclass
from typing import Final

from services.fsck_reading import answers
from services.migration_figures import Interrupted, Stopped, Tally
from services.migration_rows import Row, Rows
from storage.base import Body, ObjectInfo, Storage
from storage.errors import (
    IntegrityError,
    ObjectNotFound,
    StorageError,
    StorageFull,
    StorageUnavailable,
)

PAUSES: Final = (1.0, 5.0)
"""Seconds before a file is tried again where a store did not answer."""


@dataclass(frozen=True, slots=True)
class Copied:
    """A file whose bytes were read back from the target; `reused` ones were there already."""

    row: Row
    sha256: str
    reused: bool = False


@dataclass(frozen=True, slots=True)
class NotCopied:
    """A file that is not to be switched, and why; None says that it was deleted meanwhile.

    `wrong_copy` says that other bytes than the file's are at the target.
    """

    row: Row
    reason: str | None
    wrong_copy: bool = False


Outcome = Copied | NotCopied


class _WrongCopy(IntegrityError):
    """The target gives back other bytes than it was given."""


class Mover:
    """Copy files, in any number of threads, and count in `tally` how far they are."""

    def __init__(self, source: Storage, target: Storage, rows: Rows, tally: Tally) -> None:
        self._source = source
        self._target = target
        self._rows = rows
        self._tally = tally
        self._counting = threading.Lock()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End every copy at its next piece."""
        self._stopped.set()

    def move(self, row: Row, found: ObjectInfo | None) -> Outcome:
        """Copy a file and read the copy. `found` is what is at its key at the target already.

        A store that does not answer is tried again. Raises Stopped when it still does not, or is
        full, and Interrupted.
        """
        progress = _Progress(self)
        for pause in PAUSES:
            try:
                return self._outcome(row, found, progress)
            except StorageUnavailable as error:
                if self._stopped.wait(pause):
                    raise Interrupted from error
                progress.settle(0)
                found = self._found(row.key)
        try:
            return self._outcome(row, found, progress)
        except StorageUnavailable as error:
            if answers(self._source) and answers(self._target):
                progress.settle(row.size)
                return NotCopied(row, str(error))
            raise Stopped(str(error)) from error

    def look_and_move(self, row: Row) -> Outcome:
        """Do what `move` does, and find out first what is at the target."""
        return self.move(row, self._found(row.key))

    def count(self, size: int) -> None:
        """Count bytes as dealt with."""
        with self._counting:
            self._tally.done_size += size

    def go_on(self) -> None:
        """Raise Interrupted when all is to end."""
        if self._stopped.is_set():
            raise Interrupted

    def _outcome(self, row: Row, found: ObjectInfo | None, progress: "_Progress") -> Outcome:
        """Try once. Raises StorageUnavailable, Stopped and Interrupted."""
        self.go_on()
        try:
            outcome: Outcome = self._recognised(row, found) or self._copied(row, progress)
        except ObjectNotFound as error:
            outcome = self._absent(row, error)
        except _WrongCopy as error:
            outcome = NotCopied(row, str(error), wrong_copy=True)
        except StorageFull as error:
            raise Stopped(str(error)) from error
        except StorageUnavailable:
            raise
        except StorageError as error:
            outcome = NotCopied(row, str(error))
        progress.settle(row.size)
        return outcome

    def _found(self, key: str) -> ObjectInfo | None:
        try:
            return self._target.stat(key)
        except StorageError:
            # If it is more than a missing object, the next try says so.
            return None

    def _recognised(self, row: Row, found: ObjectInfo | None) -> Copied | None:
        """Return what an earlier run has copied, if it is all there."""
        if found is None or found.size != row.size:
            return None
        try:
            sha256 = self._read(self._target.open(row.key), row)
        except (ObjectNotFound, IntegrityError):
            return None
        if sha256 != (row.sha256 or self._read(self._source.open(row.key), row)):
            return None
        return Copied(row, sha256, reused=True)

    def _copied(self, row: Row, progress: "_Progress") -> Copied:
        """Send the bytes, and read them back. Raises ObjectNotFound for the source alone."""
        sha256 = self._send(row, progress)
        try:
            back = self._read(self._target.open(row.key), row)
        except ObjectNotFound as error:
            raise _WrongCopy("the target has no object where it has just taken one") from error
        except IntegrityError as error:
            raise _WrongCopy(f"at the target, {error}") from error
        if back != sha256:
            raise _WrongCopy("the target gives back other bytes than it was given")
        return Copied(row, sha256)

    def _send(self, row: Row, progress: "_Progress") -> str:
        digest = hashlib.sha256()
        with (
            self._source.open(row.key) as body,
            self._target.create(row.key, content_type=row.content_type) as writer,
        ):
            _require_size(body, row)
            for piece in body:
                self.go_on()
                digest.update(piece)
                writer.write(piece)
                progress.add(len(piece))
            sha256 = digest.hexdigest()
            if row.sha256 not in (None, sha256):
                raise IntegrityError(f"the source has bytes with the SHA-256 {sha256}")
            writer.commit()
        return sha256

    def _read(self, opened: Body, row: Row) -> str:
        """Return the SHA-256 of an object, which must have the size of its row."""
        digest = hashlib.sha256()
        with opened as body:
            _require_size(body, row)
            for piece in body:
                self.go_on()
                digest.update(piece)
        return digest.hexdigest()

    def _absent(self, row: Row, error: ObjectNotFound) -> NotCopied:
        """Tell a file that was deleted meanwhile from one whose bytes are lost."""
        if not self._rows.on_source(row.key):
            return NotCopied(row, None)
        try:
            self._source.stat(row.key)
        except ObjectNotFound:
            return NotCopied(row, "its object is not on the source")
        return NotCopied(row, str(error))


class _Progress:
    """How many bytes of one file are counted as dealt with."""

    def __init__(self, mover: Mover) -> None:
        self._mover = mover
        self._counted = 0

    def add(self, size: int) -> None:
        self._mover.count(size)
        self._counted += size

    def settle(self, size: int) -> None:
        """Have `size` bytes counted, whatever was before."""
        self.add(size - self._counted)


def _require_size(body: Body, row: Row) -> None:
    if body.size != row.size:
        raise IntegrityError(f"the object has {body.size} bytes, and its row says {row.size}")
