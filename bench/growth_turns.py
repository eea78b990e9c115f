"""What is asked of a service with many files, through its own functions and no socket.

Bytes are left out: it is what a file, a page, a sum and a sweep cost of the database. It must not
know what it is compared with.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, Final

from sqlalchemy import func, select, text, update

from app import Holdall
from bench import growth_rows as made
from models import File, db
from services.caller import EVERYONE, Caller
from services.database import Database
from services.gc import Collected
from services.gc_items import Options
from services.intake import IntakeState
from services.listing import Query
from services.policy import Policy
from services.quotas import Room
from storage.base import ObjectInfo
from storage.keys import new_key, random_name
from views.current import EXTENSION, Services

AT_ONCE: Final = 20
"""How many files a turn of small steps makes, reads or deletes."""
DUE: Final = 5
"""Files that have expired, in a sweep that finds some."""

OWNER: Final = Caller(owner=made.OWNERS[3], scopes=frozenset({"read", "write", "delete"}))
RARE_OWNER: Final = replace(OWNER, owner=made.OWNERS[0])

LISTS: Final[dict[str, tuple[Caller, Query]]] = {
    "the newest": (EVERYONE, Query()),
    "by name": (EVERYONE, Query(sort="name")),
    "the largest": (EVERYONE, Query(sort="-size")),
    "of a collection": (EVERYONE, Query(collection="default")),
    "of a rare collection, by size": (EVERYONE, Query(collection="seldom", sort="size")),
    "of a key, by name": (OWNER, Query(sort="name")),
    "of a key, in a collection": (OWNER, Query(collection="photos")),
    "of a type": (EVERYONE, Query(content_type="text/plain")),
    "of a type, by name": (EVERYONE, Query(content_type="text/plain", sort="name")),
    "of a rare type, by size": (EVERYONE, Query(content_type="model/stl", sort="-size")),
    "of a family, by name": (EVERYONE, Query(content_type="image/*", sort="name")),
    "of a family in a collection": (
        EVERYONE,
        Query(content_type="image/*", collection="photos"),
    ),
    "of a family in a collection, by size": (
        EVERYONE,
        Query(content_type="image/*", collection="photos", sort="size"),
    ),
    "of a type in a collection": (
        EVERYONE,
        Query(content_type="application/pdf", collection="papers"),
    ),
    "of a key's family": (OWNER, Query(content_type="video/*")),
    "searched, one match": (EVERYONE, Query(search="needle")),
    "searched, few matches": (EVERYONE, Query(search="quicksilver")),
    "searched, few matches, by name": (EVERYONE, Query(search="quicksilver", sort="name")),
    "searched, none": (EVERYONE, Query(search="zeppelin")),
    "searched, a full page of a rare word": (EVERYONE, Query(search="lantern")),
    "searched, three digits": (EVERYONE, Query(search="004")),
    "searched, one of 11": (EVERYONE, Query(search="harbour")),
    "searched, one of 11, by name": (EVERYONE, Query(search="harbour", sort="name")),
    "searched, one of 11, by size": (EVERYONE, Query(search="harbour", sort="-size")),
    "searched, every image": (EVERYONE, Query(search=".jpg")),
    "a common word in a rare collection": (EVERYONE, Query(search=".stl", collection="seldom")),
    "a common word in a collection": (EVERYONE, Query(search="ridge", collection="papers")),
    "a rare word in a collection": (EVERYONE, Query(search="lantern", collection="default")),
    "a word among a key's": (OWNER, Query(search="ferry")),
    "a word among a rare key's": (RARE_OWNER, Query(search="silver")),
    "begins with two letters": (EVERYONE, Query(search="ha")),
    "begins with two letters, by name": (EVERYONE, Query(search="ha", sort="name")),
    "the trash": (EVERYONE, Query(trashed=True, sort="-deleted")),
    "the trash, by name": (EVERYONE, Query(trashed=True, sort="name")),
    "searched in the trash": (EVERYONE, Query(trashed=True, search="harbour")),
}


@dataclass
class Row:
    """A file whose bytes are said to be in the store, for `Publishing.publish`."""

    state: IntakeState
    policy: Policy
    metadata: dict[str, Any]
    sha256: str | None
    stored: ObjectInfo | None

    def keep(self) -> None:
        """Do nothing: there are no bytes to keep."""


class Grown:
    """A service with many files, and what is asked of it."""

    def __init__(self, app: Holdall) -> None:
        self.parts: Services = app.extensions[EXTENSION]
        with app.app_context():
            self.database = Database(db.engine)
        self._ids = self._some_ids()
        self._prepared: list[str] = []
        self._pids: list[int] = []
        self._cursors: dict[str, str | None] = {}
        self._policy = Policy("default", "public", "local", 2**60, (), "correct", None)

    def prepare(self) -> None:
        """Choose the files that the next turn is of."""
        self._prepared = [next(self._ids) for _ in range(AT_ONCE)]

    def publish(self) -> None:
        """Make files out of bytes that are there, each by itself."""
        for _ in range(AT_ONCE):
            file_id = random_name()
            name = f"ferry {file_id[:9]}.txt"
            state = IntakeState(file_id, new_key(), name, None, 9, "default", None)
            state = replace(state, received=9, content_type="text/plain")
            stored = ObjectInfo(state.key, 9, "", datetime.now(UTC))
            row = Row(state, self._policy, {}, os.urandom(32).hex(), stored)
            self.parts.publishing.publish([row])

    def read(self) -> None:
        """Look files up that nobody has asked for lately."""
        for file_id in self._prepared:
            if self.parts.files.for_delivery(file_id) is None:
                raise SystemExit("bench: a file is not there")

    def delete(self) -> None:
        """Delete the rows of files that nobody has asked for lately."""
        for file_id in self._prepared:
            self.parts.files.remove_rows(EVERYONE, [file_id])

    def trash(self) -> None:
        """Put files into the trash and take them out again."""
        self.parts.trash.put(EVERYONE, self._prepared)
        self.parts.trash.restore(EVERYONE, self._prepared)

    def page(self, caller: Caller, query: Query) -> object:
        """Ask for a page."""
        return self.parts.listing.page(caller, query)

    def follow(self, query: Query) -> object:
        """Ask for the page after the first, which ends elsewhere among more files."""
        if query.sort not in self._cursors:
            self._cursors[query.sort] = self.parts.listing.page(EVERYONE, query).cursor
        return self.parts.listing.page(EVERYONE, replace(query, cursor=self._cursors[query.sort]))

    def use(self) -> None:
        """Ask how much a key and a collection use."""
        self.parts.usages.of_caller(OWNER)
        self.parts.usages.of_collection(EVERYONE, "default")

    def reserve(self) -> None:
        """Take room of a quota, and give it back."""
        room = Room(self.database, random_name(), "team-00", None)
        room.reserve(1)
        room.release()

    def sweep(self) -> None:
        """Drop what has expired."""
        self.parts.expiry.run()

    def let_expire(self) -> None:
        """Have a few files be over."""
        over = datetime.now(UTC) - timedelta(seconds=1)
        with self.database.write() as session:
            for _ in range(DUE):
                mine = File.id == next(self._ids)
                session.execute(update(File).where(mine).values(expires_at=over))

    def collect(self) -> None:
        """Ask what a turn of gc asks of the rows; no folder of objects is due."""
        options = Options(grace=timedelta(days=1), expired=False, prefixes=())
        for _ in self.parts.collector.collect(options, Collected()):
            pass

    def look_for_work(self) -> None:
        """Ask for files without a hash, and for images that were not measured."""
        self.parts.hashing.run()
        self.parts.media.run()

    def cpu_seconds(self) -> float:
        """Return the CPU time of this process, and of the database's where that is another."""
        return time.process_time() + sum(map(_on_cpu, self._backends()))

    def _backends(self) -> list[int]:
        """Return the processes of a database that has some of its own, on this machine."""
        if self.database.dialect == "sqlite":
            return []
        if not self._pids:
            theirs = text("SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
            with self.database.read() as session:
                self._pids = list(session.scalars(theirs))
        return self._pids

    def _some_ids(self) -> Iterator[str]:
        """Yield ids of live files from all over the table, none of them twice."""
        with self.database.read() as session:
            last = session.scalar(select(func.max(File.number))) or 0
        for place in count(1):
            number = place * 7919 * 97 % last + 1
            query = select(File.id).where(
                File.number >= number, File.expires_at.is_(None), File.deleted_at.is_(None)
            )
            with self.database.read() as session:
                found = session.scalar(query.order_by(File.number).limit(1))
            if found is not None:
                yield found


def _on_cpu(pid: int) -> float:
    """Return the seconds that a process of this machine has run."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
