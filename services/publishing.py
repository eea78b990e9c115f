"""The last step of the way in: stored objects become files, all of them or none.

Rows, counters and the answer kept for an Idempotency-Key stand in one transaction. Until it
commits, leaving the intakes discards their objects. Once a commit was asked for and its outcome
is not known, the objects are kept: an orphan can be collected, a row without bytes cannot.

Requests that come to this at the same moment share the transaction (`services.grouping`), where
nothing but their rows is to be written. What goes wrong before its commit undoes it, and each of
them is tried alone, so that it is told of its own mistakes only; nobody is answered before the
commit.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from models import ApiKey, File, IdempotencyKey, now
from services.counters import count
from services.database import TURN_WITHIN, Database, Writing
from services.errors import FileNotFound, KeyInvalid, KeyReused
from services.files import SHOWN, FileInfo
from services.grouping import Grouping, Overdue, own
from services.intake import Publishable
from services.keys import active_key
from services.mirroring import Mirrors
from services.policy import Policies
from services.published_rows import INSERT, log_row, row_of, shown
from services.quotas import settle
from services.retries import Retry, forget_if_over, remember
from services.used_links import use_link

_OF_ALL: Final = (OperationalError, InterfaceError, PoolTimeout)
"""What says something of the database, and not of what was to be written there."""


class Publishing:
    """Turn intakes into files, and answer retried requests with the first one's."""

    def __init__(
        self,
        database: Database,
        policies: Policies,
        mirrors: Mirrors,
        on_published: Callable[[Iterable[tuple[str, str]]], None] = lambda files: None,
    ) -> None:
        """`on_published` is told of new files, each by its id and type."""
        self._group = Grouping(self._publish_all, patience=TURN_WITHIN)
        self._database = database
        self._policies = policies
        self._mirrors = mirrors
        self._on_published = on_published

    def earlier(self, retry: Retry | None) -> list[FileInfo] | None:
        """Return the files of the request that `retry` repeats, or None when it is the first.

        Raises KeyReused when the key came with another request, and FileNotFound when what it
        made was deleted since.
        """
        if retry is None:
            return None
        query = select(IdempotencyKey.request, IdempotencyKey.file_ids).where(
            IdempotencyKey.owner == retry.owner,
            IdempotencyKey.key == retry.key,
            IdempotencyKey.expires_at > now(),
        )
        with self._database.read() as session:
            kept = session.execute(query).first()
            if kept is None:
                return None
            if kept.request != retry.request:
                raise KeyReused("Idempotency-Key was used for another request")
            files = select(*SHOWN).where(File.id.in_(kept.file_ids), File.deleted_at.is_(None))
            rows = session.execute(files).all()
        if len(rows) != len(kept.file_ids):
            raise FileNotFound
        found = {row.id: FileInfo(*row) for row in rows}
        return [found[file_id] for file_id in kept.file_ids]

    def publish(
        self,
        intakes: Sequence[Publishable],
        retry: Retry | None = None,
        also: Callable[[Session], None] | None = None,
        spent: Sequence[str] = (),
    ) -> list[FileInfo]:
        """Make the inspected `intakes` into files, in order. Nobody sees any before all are there.

        When a request with the same Idempotency-Key got there first, its files are returned and
        these intakes are left to be discarded. `also` changes what else stands or falls with them,
        and `spent` are reservations that they take the place of besides their own.

        The policy is held against them once more, as it is now. Raises InvalidField for metadata
        over its limits, CollectionNotFound, TooLarge, TypeNotAllowed, QuotaExceeded, LinkUsed,
        KeyInvalid for a key that was revoked or ended while the bytes came, and StorageFull.
        """
        batch = self._batch(intakes, retry)
        quotas = self._to_settle(intakes)
        self._database.require_room()
        links = any(intake.state.link for intake in intakes)
        if also is None and not (quotas or spent or links) and self._in_group(batch):
            return self._told(batch)
        return self._by_itself(batch, quotas, also, spent) or self._told(batch)

    def publish_together(
        self, several: Sequence[Sequence[Publishable]]
    ) -> list[list[FileInfo] | Exception]:
        """Publish what several requests have brought; return each one's files, or what went wrong.

        Each is all or nothing, and told of its own mistakes only. Those without a quota or a link
        share a commit. Errors are those of `publish`.
        """
        outcomes: dict[int, list[FileInfo] | Exception] = {}
        batches: dict[int, _Batch] = {}
        for place, intakes in enumerate(several):
            try:
                if self._is_plain(intakes):
                    batches[place] = self._batch(intakes)
                else:
                    outcomes[place] = self.publish(intakes)
            except Exception as error:
                outcomes[place] = error
        errors = self._errors([*batches.values()])
        for (place, batch), wrong in zip(batches.items(), errors, strict=True):
            outcomes[place] = self._told(batch) if wrong is None else wrong
        return [outcomes[place] for place in range(len(several))]

    def _errors(self, batches: Sequence["_Batch"]) -> list[Exception | None]:
        """Publish `batches` and return what went wrong with each."""
        if not batches:
            return []
        try:
            self._database.require_room()
            errors = self._publish_all(batches)
        except Exception as error:
            errors = [own(error) for _ in batches]
        return [self._explained(*each) for each in zip(batches, errors, strict=True)]

    def _explained(self, batch: "_Batch", error: Exception | None) -> Exception | None:
        if isinstance(error, IntegrityError):
            try:
                self._look_again(batch)
            except Exception as reason:
                return reason
        return error

    def _is_plain(self, intakes: Sequence[Publishable]) -> bool:
        """Say whether nothing but rows is to be written for `intakes`."""
        return not any(each.state.link for each in intakes) and not self._to_settle(intakes)

    def _batch(self, intakes: Sequence[Publishable], retry: Retry | None = None) -> "_Batch":
        """Hold `intakes` against the policies of this moment, and make their rows."""
        return _Batch(
            intakes,
            [row_of(intake, self._policies.of(intake.state.collection)) for intake in intakes],
            retry,
        )

    def _told(self, batch: "_Batch") -> list[FileInfo]:
        """Tell of files that were published, and describe them."""
        for row in batch.rows:
            log_row(row)
        self._on_published((row["id"], row["content_type"]) for row in batch.rows)
        return [shown(row) for row in batch.rows]

    def _by_itself(
        self,
        batch: "_Batch",
        quotas: Sequence[tuple[str, dict[str, int]]],
        also: Callable[[Session], None] | None,
        spent: Sequence[str],
    ) -> list[FileInfo] | None:
        """Publish in a transaction of its own; returns the first one's files for a repetition."""
        try:
            with self._database.write() as session:
                _require_active(session, batch.owners)
                if batch.retry is not None:
                    forget_if_over(session, batch.retry)
                remember(session, batch.answers)
                for collection, coming in quotas:
                    settle(session, collection, coming, spent=spent)
                INSERT.run(session, batch.rows)
                self._mirrors.to_copy(session, batch.objects)
                for intake in batch.intakes:
                    use_link(session, intake.state)
                count(session, batch.sizes, sign=1)
                if also is not None:
                    also(session)
                batch.keep()
        except IntegrityError:
            first = self.earlier(batch.retry)
            if first is not None:
                return first
            self._look_again(batch)
            raise
        return None

    def _in_group(self, batch: "_Batch") -> bool:
        """Publish together with what else comes at this moment.

        False says that nothing was done, since its Idempotency-Key is there already.
        """
        try:
            self._group.do(batch)
        except Overdue:
            raise PoolTimeout("too many uploads wait for the database") from None
        except IntegrityError:
            if batch.retry is not None:
                return False
            self._look_again(batch)
            raise
        return True

    def _publish_all(self, batches: Sequence["_Batch"]) -> list[Exception | None]:
        """Insert `batches` in one transaction, or else each in its own; return what went wrong."""
        asked = False
        try:
            with self._database.write_plainly() as connection:
                rows = [row for batch in batches for row in batch.rows]
                _require_active(connection, {row["owner"] for row in rows})
                remember(connection, [each for batch in batches for each in batch.answers])
                INSERT.run(connection, rows)
                self._mirrors.to_copy(connection, ((row["backend"], row["key"]) for row in rows))
                count(connection, (size for batch in batches for size in batch.sizes), sign=1)
                # From here on the commit may have happened whatever it answers.
                asked = True
                for batch in batches:
                    batch.keep()
        except _OF_ALL:
            raise
        except Exception:
            if asked or len(batches) == 1:
                raise
            return [self._outcome(batch) for batch in batches]
        return [None] * len(batches)

    def _outcome(self, batch: "_Batch") -> Exception | None:
        try:
            self._publish_all([batch])
        except Exception as error:
            return error
        return None

    def _look_again(self, batch: "_Batch") -> None:
        """Raise CollectionNotFound where that is why rows could not be inserted."""
        for intake in batch.intakes:
            self._policies.look_again(intake.state.collection)

    def _to_settle(self, intakes: Sequence[Publishable]) -> list[tuple[str, dict[str, int]]]:
        """Return the sizes of those that a quota bounds, by collection in a fixed order.

        Those that hold room from when there was a quota are among them.
        """
        sizes: dict[str, dict[str, int]] = {}
        for intake in intakes:
            state = intake.state
            if state.reserved or self._policies.of(state.collection).has_quota:
                size = 0 if intake.stored is None else intake.stored.size
                sizes.setdefault(state.collection, {})[state.file_id] = size
        return sorted(sizes.items())


@dataclass(frozen=True, slots=True)
class _Batch:
    """What one request publishes, its rows, and how it is known again."""

    intakes: Sequence[Publishable]
    rows: Sequence[dict[str, Any]]
    retry: Retry | None = None

    @property
    def owners(self) -> set[str | None]:
        return {row["owner"] for row in self.rows}

    @property
    def objects(self) -> list[tuple[str, str]]:
        return [(row["backend"], row["key"]) for row in self.rows]

    @property
    def sizes(self) -> list[tuple[str, str | None, int]]:
        return [(row["collection"], row["owner"], row["size"]) for row in self.rows]

    @property
    def answers(self) -> list[tuple[Retry, list[str]]]:
        """What a retry is answered with, if there may be one."""
        return [] if self.retry is None else [(self.retry, [row["id"] for row in self.rows])]

    def keep(self) -> None:
        """Say that rows promise the objects, as a commit may happen whatever it answers."""
        for intake in self.intakes:
            intake.keep()


def _require_active(session: Writing, owners: set[str | None]) -> None:
    """Raise KeyInvalid unless every key among `owners` is still good.

    A body may take hours to come, and what takes its key away must not have to wait for it.
    """
    keys = owners - {None}
    if not keys:
        return
    active = session.execute(select(ApiKey.id).where(ApiKey.id.in_(keys), active_key())).all()
    if len(active) < len(keys):
        raise KeyInvalid
