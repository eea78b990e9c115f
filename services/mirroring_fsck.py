"""What fsck knows of a mirrored backend: what is queued is no finding, and what is wrong on one of
its members can be had from another.

It must not know any concrete storage, nor how findings are made.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from services.database import Database
from services.fsck_findings import Finding, Kind
from services.mirroring import COPY, Pair, Task, put, queued
from services.mirroring_members import Place
from storage.base import Storage
from storage.capabilities import Mirrored
from storage.errors import StorageError

QUEUED: Final = "a copy is queued"
NOWHERE: Final = "no other member has it"

_OF_A_FILE: Final = (Kind.MISSING, Kind.SIZE, Kind.SHA256, Kind.UNREADABLE)


@dataclass(frozen=True, slots=True)
class Mending:
    """Mend a place out of `others`, which there are where its backend is mirrored."""

    database: Database
    place: Place
    others: dict[str, Storage]

    @classmethod
    def of(cls, database: Database, place: Place, backend: Storage) -> "Mending | None":
        """Return what mends a place, None for one that no mirrored backend lies on."""
        members = backend.members if isinstance(backend, Mirrored) else {}
        if not members and not place.neighbours:
            return None
        others = {name: each for name, each in members.items() if name != place.member}
        return cls(database, place, others)

    def queued(self, keys: Collection[str]) -> set[str]:
        """Return the keys of objects that something is to be done with.

        Ask before the member is looked at: what is queued no more has been done by then.
        """
        backends = (self.place.backend, *self.place.neighbours)
        with self.database.read() as session:
            return queued(session, backends, self.place.lies_on, keys)

    def told(self, findings: Sequence[Finding], *, repair: bool) -> list[Finding]:
        """Return the findings with what can be done, and when repairing, is queued now."""
        told = [self._told(finding, repair=repair) for finding in findings]
        pair = Pair(self.place.backend, self.place.lies_on)
        tasks = [Task(pair, each.key, COPY) for each in told if each.note == QUEUED]
        if tasks:
            with self.database.write() as session:
                put(session, tasks)
        return told

    def _told(self, finding: Finding, *, repair: bool) -> Finding:
        if not self.others or finding.file is None or finding.kind not in _OF_A_FILE:
            return finding
        if self.place.is_mirror:
            return replace(finding, note=QUEUED) if repair else finding
        # What the primary lacks is lost unless a mirror has it.
        name = next((name for name in self.others if self._has(name, finding)), None)
        if name is None:
            return replace(finding, note=finding.note or NOWHERE)
        return replace(finding, note=QUEUED if repair else f"{name} has it")

    def _has(self, name: str, finding: Finding) -> bool:
        """Say whether a member has an object that may be the file's."""
        try:
            size = self.others[name].stat(finding.key).size
        except StorageError:
            return False
        return finding.kind is Kind.SHA256 or size == finding.expected
