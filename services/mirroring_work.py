"""Brings mirrors up: one instance at a time does what is queued for them, as long as there is some.

A few tasks of each member are in hand at once. Where a member is down, its tasks stay as they are
and are tried again after a pause that grows; where one object fails, that task alone waits. A task
leaves the queue when it is done, so a crash at any point has it done again, which changes nothing.

It must not know any concrete storage.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from datetime import timedelta
from threading import Event, Thread
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from services.database import Database
from services.errors import HoldallError
from services.leases import Leases
from services.mirroring import Mirrors, Pair, Queue, Task, Waiting
from services.mirroring_copying import Copier, Done, Down, Failed, Outcome

AT_ONCE: Final = 4
"""Tasks of one member in hand."""
LEASE: Final = 10.0
"""Seconds after which another instance goes on when the one at work was killed."""
LOOK_EVERY: Final = 1.0
"""Seconds between two looks for something to do."""

_RENEW_EVERY: Final = 2.0
_AFTER_AN_ERROR: Final = 15.0
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0
_FIRST_RETRY: Final = timedelta(seconds=10)
_LONGEST_RETRY: Final = timedelta(hours=1)
_LEASE_NAME: Final = "mirror"

log = logging.getLogger("holdall.mirroring")


@dataclass(slots=True)
class _Pause:
    """Until when a member is left alone, on the monotonic clock, and for how long that is."""

    until: float = 0.0
    seconds: float = 0.0


class Mirroring:
    """Do what is queued, when asked or as long as the process lives.

    `on_task` is told of each task that was tried: its member, its action, and whether it was done.
    """

    def __init__(
        self,
        database: Database,
        mirrors: Mirrors,
        *,
        on_task: Callable[[Pair, str, bool], None] = lambda pair, action, done: None,
    ) -> None:
        self._database = database
        self._mirrors = mirrors
        self._queue = Queue(database)
        self._on_task = on_task
        self._leases = Leases(database)
        self._renewed = 0.0
        self._pauses = {pair: _Pause() for pair in mirrors.pairs()}
        self._stopped = Event()

    def waiting(self) -> list[Waiting]:
        """Return how much each member waits for; nothing while the database does not answer."""
        try:
            return [self._queue.waiting(pair) for pair in self._pauses]
        except SQLAlchemyError as error:
            log.warning("what mirrors wait for is not known", extra={"reason": str(error)})
            return []

    def run(self) -> int:
        """Do all that is due, and return how many tasks were done.

        Ends early when another instance is at it, and leaves out members that are down.
        """
        if not self._leases.take(_LEASE_NAME, seconds=LEASE):
            return 0
        self._renewed = time.monotonic()
        copiers = {
            pair: Copier(self._database, self._mirrors.mirrored[pair.backend], pair)
            for pair in self._pauses
        }
        in_hand: dict[Future[Outcome], Task] = {}
        try:
            return self._run(copiers, in_hand)
        finally:
            for copier in copiers.values():
                copier.stop()
            wait(in_hand)
            # Whoever took over may have deleted what one of these has copied since.
            ended = [each for each in in_hand if not each.exception()]
            self._settle([(in_hand[each], each.result()) for each in ended])

    def start(self) -> None:
        """Go on in a thread, as long as the process lives, if there is anything to mirror."""
        if self._pauses:
            Thread(target=self._run_often, name="mirroring", daemon=True).start()

    def stop(self) -> None:
        """End the thread at its next look."""
        self._stopped.set()

    def _run_often(self) -> None:
        pause = LOOK_EVERY
        while not self._stopped.wait(pause):
            try:
                if any(self._queue.due(pair, 1) for pair in self._awake()):
                    self.run()
                pause = LOOK_EVERY
            except Exception:
                # A database that is down now may be up at the next turn.
                log.exception("mirrors were not brought up")
                pause = _AFTER_AN_ERROR

    def _run(self, copiers: dict[Pair, Copier], in_hand: dict[Future[Outcome], Task]) -> int:
        done = 0
        while self._goes_on():
            for pair in self._awake():
                for task in self._next(pair, [*in_hand.values()]):
                    in_hand[_begun(copiers[pair], task)] = task
            if not in_hand:
                break
            ended, _ = wait(in_hand, timeout=_RENEW_EVERY, return_when=FIRST_COMPLETED)
            done += self._settle([(in_hand[each], each.result()) for each in ended])
            for each in ended:
                del in_hand[each]
        return done

    def _goes_on(self) -> bool:
        """Keep the lease, and say whether it is still ours."""
        if self._stopped.is_set():
            return False
        if time.monotonic() - self._renewed >= _RENEW_EVERY:
            self._renewed = time.monotonic()
            return self._leases.renew(_LEASE_NAME, seconds=LEASE)
        return True

    def _awake(self) -> list[Pair]:
        moment = time.monotonic()
        return [pair for pair, pause in self._pauses.items() if pause.until <= moment]

    def _next(self, pair: Pair, in_hand: list[Task]) -> list[Task]:
        """Return tasks to begin now. No object is in two at a time, so they end in order."""
        busy = {task.key for task in in_hand if task.pair == pair}
        if len(busy) > AT_ONCE // 2:
            return []
        due = self._queue.due(pair, 2 * AT_ONCE)
        return [task for task in due if task.key not in busy][: AT_ONCE - len(busy)]

    def _settle(self, ended: list[tuple[Task, Outcome]]) -> int:
        done = [task for task, outcome in ended if isinstance(outcome, Done)]
        if done:
            self._queue.done(done)
        for task, outcome in ended:
            self._on_task(task.pair, task.action, isinstance(outcome, Done))
            if isinstance(outcome, Done):
                self._pauses[task.pair] = _Pause()
            elif isinstance(outcome, Failed):
                self._put_off(task, outcome.reason)
            else:
                self._leave_alone(task.pair, outcome)
        return len(done)

    def _put_off(self, task: Task, reason: str) -> None:
        pause = self._queue.put_off(task, first=_FIRST_RETRY, most=_LONGEST_RETRY)
        told = {"key": task.key, "action": task.action, "reason": reason}
        told |= task.pair._asdict() | {"again_in": f"{pause.total_seconds():.0f} s"}
        log.warning("an object was not mirrored", extra=told)

    def _leave_alone(self, pair: Pair, down: Down) -> None:
        """Leave a member alone for a while; the tasks that were in hand tell of it only once."""
        pause, moment = self._pauses[pair], time.monotonic()
        if pause.until > moment:
            return
        pause.seconds = min(max(2 * pause.seconds, _FIRST_PAUSE), _LONGEST_PAUSE)
        pause.until = moment + pause.seconds
        told = pair._asdict() | {"reason": down.reason, "again_in": f"{pause.seconds:.0f} s"}
        log.warning("a member cannot be brought up", extra=told)


def _begun(copier: Copier, task: Task) -> Future[Outcome]:
    """Begin a task in a thread that does not keep the process from ending: a pool's threads do."""
    begun: Future[Outcome] = Future()

    def do() -> None:
        try:
            begun.set_result(copier.do(task))
        except (SQLAlchemyError, HoldallError) as error:
            begun.set_exception(error)
        except Exception:
            # Whatever is wrong with one object must not hold up the others.
            log.exception("an object was not mirrored", extra={"key": task.key})
            begun.set_result(Failed("an error that was not foreseen"))
        except BaseException as error:
            begun.set_exception(error)

    Thread(target=do, name="mirror", daemon=True).start()
    return begun
