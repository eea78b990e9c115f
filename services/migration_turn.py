"""The turn to move files between two backends: no backend is in two migrations at a time.

A lease on each of the two, renewed by a thread as long as the migration lasts. One that was killed
leaves its leases until they end; whoever comes then waits for that, and sees whether the other one
lives by whether it renews them. It knows leases, and must not know what is moved.
"""

import logging
import time
from collections.abc import Callable
from threading import Event, Thread
from types import TracebackType
from typing import Final, Self

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from services.database import Database
from services.leases import Leases
from services.migration_figures import CannotBegin, Stop, Stopped

LEASE: Final = 10.0
"""Seconds for which a migration that was killed keeps its backends."""
_RENEW_EVERY: Final = 2.0
_LOOK_EVERY: Final = 0.25

log = logging.getLogger("holdall.migration")


class Turn:
    """The turn on `backends`, from entering the context to leaving it."""

    def __init__(
        self,
        database: Database,
        *backends: str,
        on_wait: Callable[[], None] = lambda: None,
        stop: Stop | None = None,
    ) -> None:
        self._leases = Leases(database)
        # In one order for all, so that two that want the same pair do not each get one of it.
        self._names = [f"migrate:{backend}" for backend in sorted(backends)]
        self._on_wait = on_wait
        self._stop = stop or Stop()
        self._over = Event()
        self._renewing = Thread(target=self._renew, name="migration-lease", daemon=True)

    def require(self, session: Session) -> None:
        """Make sure that the turn is ours until the transaction ends. Raises Stopped."""
        if not all(self._leases.holds(session, name) for name in self._names):
            raise Stopped("another migration took over: this process stood still for too long")

    def __enter__(self) -> Self:
        """Take the turn. Raises Interrupted, and CannotBegin when another one has it and lives."""
        try:
            for name in self._names:
                self._take(name)
        except BaseException:
            self._give_back()
            raise
        self._renewing.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        self._over.set()
        self._renewing.join()
        self._give_back()

    def _take(self, name: str) -> None:
        if self._leases.take(name, seconds=LEASE):
            return
        until, deadline = self._leases.ends_at(name), time.monotonic() + 2 * LEASE
        self._on_wait()
        while time.monotonic() < deadline:
            self._stop.pause(_LOOK_EVERY)
            if self._leases.take(name, seconds=LEASE):
                return
            ends = self._leases.ends_at(name)
            if until is not None and ends is not None and ends > until:
                break
        backend = name.partition(":")[2]
        raise CannotBegin(f"another migration from or to {backend} is going on")

    def _renew(self) -> None:
        while not self._over.wait(_RENEW_EVERY):
            for name in self._names:
                try:
                    self._leases.renew(name, seconds=LEASE)
                except SQLAlchemyError as error:
                    # Whether the turn is still ours is asked again before anything changes.
                    log.warning("a lease was not renewed", extra={"reason": str(error)})

    def _give_back(self) -> None:
        for name in self._names:
            try:
                self._leases.give_back(name)
            except SQLAlchemyError as error:
                log.warning("a lease was not given back", extra={"reason": str(error)})
