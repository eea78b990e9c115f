"""Remove what has expired and what crashes left: what `flask gc` does, and an instance by itself.

    expired uploads and files ▸ rows that wait ▸ beside the objects ▸ orphans ▸ scratch

It composes what knows each of these. Beside the end of an upload or a file, one rule holds for all:
nothing that was touched within the grace period, nothing without a date, and nothing that a row
names when it is asked for the last time, in a transaction for writing.

By itself it does a bounded share of the work in a turn: keys are in folders, and the time of day
says which of them are walked, so that each is walked once a day, whoever restarts or takes over.

It must not know any concrete storage, nor who asked.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

from sqlalchemy import and_, delete, func, select

from models import File, now
from services import fsck
from services.database import Database
from services.direct_rows import STAGING
from services.expiry import Expiry
from services.files import READY, Files, Removed
from services.fsck import Fsck, Unchecked
from services.fsck_findings import Finding, Tally
from services.fsck_findings import Kind as Wrong
from services.gc_items import Item, Kind, Options
from services.gc_leftovers import Leftovers, scratch
from services.leases import Leases
from storage.base import Storage
from storage.capabilities import Mirrored
from storage.errors import StorageError
from storage.keys import folders

ROUND: Final = 86_400.0
"""Seconds in which every folder of keys is walked once."""

_BATCH: Final = 100
_LEASE: Final = "gc"
_MOST_TURNS_AT_ONCE: Final = 10

log = logging.getLogger("holdall.gc")


@dataclass(slots=True)
class Collected:
    """What a run has removed, or in a dry run would: how many of each kind, and their bytes.

    `left` were found and left, for a reason that the item says. `problems` say, by backend, why one
    could not be looked through to the end.
    """

    number: Counter[Kind] = field(default_factory=Counter)
    size: Counter[Kind] = field(default_factory=Counter)
    left: int = 0
    problems: dict[str, str] = field(default_factory=dict)

    def add(self, item: Item) -> None:
        """Count an item."""
        if item.note is not None:
            self.left += 1
            return
        self.number[item.kind] += 1
        self.size[item.kind] += item.size or 0

    def as_json(self) -> dict[str, Any]:
        """Return the figures as JSON takes them."""
        return {
            "collected": {str(kind): number for kind, number in sorted(self.number.items())},
            "bytes": self.size.total(),
            "left": self.left,
            "problems": self.problems,
        }


class Collector:
    """Collect when asked, or every `interval` seconds what nothing has touched for `grace`.

    `on_collected` is told of each turn of the thread.
    """

    def __init__(
        self,
        database: Database,
        storages: Mapping[str, Storage],
        expiry: Expiry,
        files: Files,
        *,
        scratch: Path,
        grace: timedelta,
        interval: float,
        on_collected: Callable[[Collected], None] = lambda collected: None,
    ) -> None:
        self._database = database
        self._storages = storages
        self._expiry = expiry
        self._files = files
        self._leftovers = Leftovers(database)
        self._scratch = scratch
        self._grace = grace
        self._interval = interval
        self._on_collected = on_collected
        self._leases = Leases(database)
        self._tallies: dict[str, Tally] = {}
        self._walked_until = 0.0
        self._renewed = 0.0
        self._stopped = Event()

    def collect(self, options: Options, collected: Collected) -> Iterator[Item]:
        """Remove, and yield what was; `collected` counts it, and says what could not be done."""
        for item in self._collect(options, collected.problems):
            collected.add(item)
            yield item

    def start(self) -> None:
        """Go on collecting in a thread, as long as the process lives."""
        Thread(target=self._run_often, name="gc", daemon=True).start()

    def stop(self) -> None:
        """End the thread at its next look."""
        self._stopped.set()

    def run(self) -> Collected:
        """Do what a turn of the thread does; what has expired is seen to by `services.expiry`."""
        due = self._folders_due(time.time())
        options = Options(grace=self._grace, expired=False, prefixes=due)
        collected = Collected()
        for _ in self.collect(options, collected):
            self._renew()
        for backend, problem in collected.problems.items():
            log.warning("not looked through", extra={"backend": backend, "reason": problem})
        if collected.number:
            log.info("collected", extra=collected.as_json())
        return collected

    def _run_often(self) -> None:
        while not self._stopped.wait(self._interval):
            try:
                if self._take():
                    self._on_collected(self.run())
            except Exception:
                # A database that is down now may be up at the next turn.
                log.exception("collecting what was left failed")

    def _take(self) -> bool:
        self._renewed = time.monotonic()
        return self._leases.take(_LEASE, seconds=2 * self._interval + 60)

    def _renew(self) -> None:
        """Keep the lease through a long turn. That two collect at once would do no harm."""
        if time.monotonic() - self._renewed > self._interval:
            self._take()

    def _folders_due(self, moment: float) -> tuple[str, ...]:
        """Return the folders whose time has come since the last turn."""
        earliest = moment - _MOST_TURNS_AT_ONCE * self._interval
        since = max(self._walked_until or moment - self._interval, earliest, moment - ROUND)
        self._walked_until = moment
        every = folders()
        first, last = (int(each / ROUND * len(every)) for each in (since, moment))
        return tuple(sorted({every[number % len(every)] for number in range(first, last)}))

    def _collect(self, options: Options, problems: dict[str, str]) -> Iterator[Item]:
        before = now() - options.grace
        if options.expired:
            yield from self._expired(options)
        yield from self._pending(options, before)
        for name, storage in self._storages.items():
            if name in options.skip or isinstance(storage, Mirrored):
                # What lies on a mirrored backend's members is seen to under their own names.
                continue
            try:
                yield from self._leftovers.of(name, storage, before, dry_run=options.dry_run)
                yield from self._orphans(name, options)
            except (StorageError, Unchecked) as error:
                problems[name] = str(error)
        yield from scratch(self._scratch, before, dry_run=options.dry_run)

    def _expired(self, options: Options) -> Iterator[Item]:
        expiry = self._expiry
        uploads = expiry.due_uploads() if options.dry_run else expiry.drop_uploads()
        yield from (Item(Kind.UPLOAD, upload_id) for upload_id in uploads)
        files = expiry.due_files() if options.dry_run else expiry.drop_files()
        yield from (Item(Kind.FILE, file_id) for file_id in files)
        trash = expiry.due_trash() if options.dry_run else expiry.drop_trash()
        yield from (Item(Kind.TRASH, file_id) for file_id in trash)
        if not options.dry_run:
            expiry.forget()

    def _pending(self, options: Options, before: datetime) -> Iterator[Item]:
        """Yield rows whose file was never published; they are in no counter."""
        # Put such that not all that a backend has is gone through.
        known = func.coalesce(File.backend, "").in_([*self._storages])
        waits = and_(File.state != READY, File.created_at <= before, known)
        columns = (File.number, File.id, File.backend, File.key, File.created_at)
        after = 0
        while True:
            query = select(*columns).where(waits, File.number > after).order_by(File.number)
            with self._database.read() as session:
                rows = session.execute(query.limit(_BATCH)).all()
            if not rows:
                return
            after = rows[-1].number
            if not options.dry_run:
                these = File.id.in_([row.id for row in rows])
                with self._database.write() as session:
                    gone = delete(File).where(these, waits).returning(*columns)
                    rows = session.execute(gone).all()
                self._files.remove_in_turn([Removed(r.id, r.backend, r.key) for r in rows])
            for row in rows:
                yield Item(Kind.PENDING, row.id, row.backend, since=row.created_at)

    def _orphans(self, backend: str, options: Options) -> Iterator[Item]:
        """Yield orphans, found and removed as fsck does it; what else it finds is left to it."""
        if options.prefixes == ():
            return
        how = fsck.Options(
            repair=not options.dry_run,
            force=options.force,
            grace=options.grace,
            patience=options.patience,
            prefixes=options.prefixes,
        )
        tally = Tally() if options.prefixes is None else self._tally(backend)
        check = Fsck(self._database, self._storages, how, self._renew_on_the_way(options))
        with closing(check.check(backend, tally)) as findings:
            for finding in findings:
                if finding.kind is Wrong.ORPHAN and not finding.key.startswith(STAGING):
                    yield _item(finding)

    def _tally(self, backend: str) -> Tally:
        """Return what all turns have counted, which tells a wrong database from a right one."""
        tally = self._tallies.setdefault(backend, Tally())
        tally.doubtful = 0
        return tally

    def _renew_on_the_way(self, options: Options) -> Callable[[], None]:
        return (lambda: None) if options.prefixes is None else self._renew


def _item(finding: Finding) -> Item:
    size = finding.found if isinstance(finding.found, int) else None
    kept = finding.note
    return Item(Kind.ORPHAN, finding.key, finding.backend, size, finding.modified, kept)
