"""Whether the rows and the objects agree: what `flask fsck` does.

    walk both sides in the order of keys ──▸ note what differs ──▸ wait ──▸ look again ──▸ report
       └──▸ with `verify`, read what agrees                                    └──▸ repair

It runs beside a service that works: uploads publish and deletes remove while it walks. So what the
walk finds is only noted, and looked at again once a moment has passed. A row is never deleted.

It must not know any concrete storage, nor who asked.
"""

import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from sqlalchemy import update

from models import File, now
from services.database import Database
from services.fsck_findings import Finding, Tally, is_sound, judge
from services.fsck_names import backends_named
from services.fsck_reading import Reading
from services.fsck_second_look import Notes, SecondLook, taking_notes
from services.mirroring_fsck import Mending
from services.mirroring_members import Place, places, with_mirrors
from services.thumbnails_wanted import original_of
from services.walking import ELSEWHERE, READY, Row, Rows, side_by_side
from storage.base import ObjectInfo, Storage
from storage.errors import ObjectNotFound, StorageError, StorageFull
from storage.keys import new_key

GRACE: Final = timedelta(hours=24)
"""The age at which an object that nothing names is an orphan: longer than any upload lasts."""

PATIENCE: Final = timedelta(seconds=5)
"""How long after the walk the second look comes: a delete removes the row, then the object."""
REPAIR_PATIENCE: Final = timedelta(seconds=30)
"""The same before a repair: longer than a row that is being written may wait for its turn."""

_AGAIN: Final = 200
_STATS_AT_ONCE: Final = 16
_TICK: Final = 500
_SAMPLE: Final = 24
_ENOUGH: Final = 8

log = logging.getLogger("holdall.fsck")


class Unchecked(Exception):
    """A backend could not be checked to the end; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to check. `force` goes on where nearly nothing agrees, which looks like a wrong setting.

    `workers` is how many objects are read at a time. `patience` is how long the second look waits,
    PATIENCE or REPAIR_PATIENCE unless given. With `prefixes`, only keys that begin so are walked,
    and the rows are not counted nor the store's self-test made beforehand.
    """

    verify: bool = False
    repair: bool = False
    force: bool = False
    workers: int = 4
    grace: timedelta = GRACE
    patience: timedelta | None = None
    prefixes: tuple[str, ...] | None = None

    def wait(self) -> None:
        """Let whatever is half done come to its end."""
        usual = REPAIR_PATIENCE if self.repair else PATIENCE
        time.sleep((usual if self.patience is None else self.patience).total_seconds())


class Fsck:
    """Check backends, one at a time. `on_progress` is called often, by the thread that checks."""

    def __init__(
        self,
        database: Database,
        storages: Mapping[str, Storage],
        options: Options,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._storages = storages
        self._options = options
        self._on_progress = on_progress
        self._places = places(storages)
        self._walked: set[str] = set()

    def backends(self) -> list[str]:
        """Return the backends that are configured or that files or uploads name.

        Among them is each mirror of a mirrored one, as `safe/s3`: it is checked by itself.
        """
        with self._database.read() as session:
            return sorted({*self._places, *backends_named(session)})

    def chosen(self, backends: Sequence[str]) -> list[str]:
        """Return what is to be checked when `backends` are named: their mirrors too."""
        return with_mirrors(backends, self._storages)

    def check(self, backend: str, tally: Tally) -> Generator[Finding]:
        """Yield what is wrong with a backend, and count in `tally`.

        What nothing names is told once for each storage, by the first check that comes there. Leave
        it with `close` to end early. Raises Unchecked, also after some findings.
        """
        rows, place = Rows(self._database), self._places.get(backend)
        if self._options.prefixes is None:
            tally.rows, tally.rows_size = rows.count(place.backend if place else backend)
        if place is None:
            raise Unchecked(f"{tally.rows} files are on it, and no storage has this name")
        with taking_notes() as doubts:
            check = _Check(
                self._database,
                rows,
                place,
                Mending.of(self._database, place, self._storages[place.backend]),
                self._options,
                tally,
                self._on_progress,
                tells_orphans=place.lies_on not in self._walked,
            )
            try:
                for finding in check.run(doubts):
                    yield replace(finding, backend=backend)
            except StorageError as error:
                raise Unchecked(str(error)) from error
        self._walked.add(place.lies_on)


class _Check:
    """The check of one backend, or of one mirror of it."""

    def __init__(
        self,
        database: Database,
        rows: Rows,
        place: Place,
        mending: Mending | None,
        options: Options,
        tally: Tally,
        on_progress: Callable[[], None],
        *,
        tells_orphans: bool,
    ) -> None:
        self._database = database
        self._rows = rows
        self._place = place
        self._backend = place.backend
        self._storage = place.storage
        self._mending = mending
        self._tells_orphans = tells_orphans
        self._options = options
        self._tally = tally
        self._on_progress = on_progress
        self._before = now() - options.grace

    def run(self, doubts: Notes) -> Iterator[Finding]:
        """Walk, look again at what the walk noted, and yield what is wrong."""
        if self._options.prefixes is None:
            self._require_answers()
        if not self._options.force and not self._place.is_mirror:
            self._require_some()
        with closing(self._sound(doubts)) as sound:
            if self._options.verify:
                yield from self._read(sound, doubts)
            else:
                for _ in sound:
                    pass
        if self._tally.doubtful:
            self._options.wait()
            yield from self._look_again(doubts)

    def _require_answers(self) -> None:
        """Have the store prove itself; one that is full can still be looked at."""
        try:
            self._storage.check()
        except StorageFull as error:
            log.warning("the storage is full", extra={"reason": str(error)})

    def _require_some(self) -> None:
        """Raise Unchecked when none of many files is there: that is a wrong folder or bucket."""
        keys: set[str] = set()
        for _ in range(_SAMPLE):
            rows = self._rows.following(self._backend, new_key(), 1)
            keys.update(row.key for row in rows if row.state == READY)
        if len(keys) >= _ENOUGH and not any(_is_there(self._storage, key) for key in keys):
            raise Unchecked(
                f"none of {len(keys)} files tried has its object: is this the right folder or "
                "bucket, and is the disk mounted? --force lists what is missing"
            )

    def _sound(self, doubts: Notes) -> Generator[Row]:
        """Walk: yield the rows whose object is as they say, and note the keys of the others."""
        tally, file = self._tally, None
        for number, (row, found) in enumerate(self._pairs(), start=1):
            file = row or file
            original = None if row or found is None else original_of(found.key)
            tally.objects += found is not None
            if row is not None and row.state == ELSEWHERE:
                tally.shared += found is not None
            else:
                tally.seen_rows += row is not None
                tally.paired += row is not None and found is not None
            if original is not None and file is not None and original == file.key:
                tally.thumbnails += 1
            elif row is None and not self._tells_orphans:
                pass
            elif judge(row, found, self._before) is not None:
                strange = row or found
                assert strange is not None
                self._doubt(doubts, strange.key)
                # A thumbnail is no sign of another database: its file is, where that is there.
                tally.unnamed += row is None and original is None
            elif row is None:
                tally.young += 1
            elif is_sound(row, found):
                yield row
            if number % _TICK == 0:
                self._on_progress()

    def _pairs(self) -> Iterator[tuple[Row | None, ObjectInfo | None]]:
        for prefix in ("",) if self._options.prefixes is None else self._options.prefixes:
            rows = self._rows.in_place(self._backend, self._place.neighbours, prefix)
            yield from side_by_side(rows, self._storage.scan(prefix))

    def _doubt(self, doubts: Notes, key: str) -> None:
        doubts.add(key)
        self._tally.doubtful += 1

    def _read(self, sound: Iterator[Row], doubts: Notes) -> Iterator[Finding]:
        """Read the objects of `sound` rows, and yield those with other bytes than they had."""
        reading = Reading(
            self._backend,
            self._storage,
            self._rows,
            self._tally,
            workers=self._options.workers,
            on_progress=self._on_progress,
        )
        found = reading.check(sound, doubt=lambda key: self._doubt(doubts, key), fill=self._fill)
        with closing(found):
            for finding in found:
                yield from self._told(finding)

    def _told(self, finding: Finding) -> Iterator[Finding]:
        """Count and yield a finding, unless the object is queued to be copied anew."""
        if self._mending is not None:
            if self._mending.queued([finding.key]):
                self._tally.queued += 1
                return
            (finding,) = self._mending.told([finding], repair=self._options.repair)
        self._tally.add(finding)
        yield finding

    def _fill(self, row: Row, sha256: str) -> None:
        """Count a file without a SHA-256, and when repairing, give it that of its own bytes."""
        self._tally.undigested += 1
        if not self._options.repair or self._place.is_mirror:
            return
        same = (File.id == row.id, File.backend == self._backend, File.key == row.key)
        filled = update(File).where(*same, File.sha256.is_(None)).values(sha256=sha256)
        with self._database.write() as session:
            self._tally.filled += len(session.execute(filled.returning(File.id)).all())

    def _look_again(self, doubts: Notes) -> Iterator[Finding]:
        with ThreadPoolExecutor(_STATS_AT_ONCE, thread_name_prefix="fsck") as threads:
            second = SecondLook(
                self._database,
                self._rows,
                self._backend,
                self._storage,
                self._before,
                self._tally,
                threads,
                repair=self._options.repair,
                force=self._options.force,
                mending=self._mending,
            )
            while keys := doubts.take(_AGAIN):
                yield from second.look(keys)
                self._tally.doubtful -= len(keys)
                self._on_progress()


def _is_there(storage: Storage, key: str) -> bool:
    """Say whether anything is stored at the key. Raises StorageError."""
    try:
        storage.stat(key)
    except ObjectNotFound:
        return False
    return True
