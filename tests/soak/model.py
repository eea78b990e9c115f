"""What clients of a service that is killed know: what was acknowledged, and what is open.

Knows no HTTP. A file whose delete was asked for and not answered is in doubt: it is whole, or gone.
"""

import random
import threading
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Kept:
    """A file that was acknowledged. `name` is one that no other file was given."""

    id: str
    url: str
    name: str
    size: int
    sha256: str


@dataclass(slots=True)
class Open:
    """An upload that can be gone on with until it is answered.

    `kind` is how: `tus`, `direct`, or `put` for one with an Idempotency-Key. `offset` was
    acknowledged, and no more than `sent` bytes were sent. `rests_until` is when a lease of a killed
    worker has ended for sure, by the monotonic clock.
    """

    kind: str
    name: str
    content: bytes
    path: str
    offset: int = 0
    sent: int = 0
    rests_until: float = 0.0


@dataclass
class Model:
    """All of it; every method may be called from any thread.

    `fresh` are ids that this round touched. `attempts` are names of files that may or may not be
    there, each list of which comes or stays away together. `wrong` is what must not be.
    """

    files: dict[str, Kept] = field(default_factory=dict)
    gone: dict[str, Kept] = field(default_factory=dict)
    doubtful: dict[str, Kept] = field(default_factory=dict)
    fresh: set[str] = field(default_factory=set)
    attempts: list[tuple[str, ...]] = field(default_factory=list)
    open: list[Open] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def acts(self) -> int:
        """Return how much was done so far."""
        with self._lock:
            return sum(self.counts.values())

    def count(self, what: str) -> None:
        with self._lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def complain(self, what: str) -> None:
        with self._lock:
            self.wrong.append(what)

    def keep(self, *kept: Kept) -> None:
        with self._lock:
            for each in kept:
                self.files[each.id] = each
                self.fresh.add(each.id)

    def attempt(self, *names: str) -> None:
        """Note names of files of a request that may have taken effect, or not."""
        with self._lock:
            self.attempts.append(names)

    def pick(self, dice: random.Random) -> Kept | None:
        """Return some file."""
        with self._lock:
            return self.files[dice.choice([*self.files])] if self.files else None

    def sample(self, dice: random.Random, number: int) -> list[Kept]:
        """Return the files of this round and some older ones, and begin another round."""
        with self._lock:
            older = dice.sample([*self.files], min(number, len(self.files)))
            chosen = {*older, *self.fresh} & self.files.keys()
            self.fresh.clear()
            return [self.files[each] for each in chosen]

    def doubt(self, kept: Kept) -> bool:
        """Put a file in doubt, before its delete is asked for; False when somebody else did."""
        with self._lock:
            if self.files.pop(kept.id, None) is None:
                return False
            self.doubtful[kept.id] = kept
            return True

    def settle(self, kept: Kept, *, gone: bool) -> None:
        """Say what became of a file in doubt."""
        with self._lock:
            del self.doubtful[kept.id]
            (self.gone if gone else self.files)[kept.id] = kept

    def may_be_gone(self, kept: Kept) -> bool:
        with self._lock:
            return kept.id not in self.files

    def lend(self, dice: random.Random, moment: float) -> Open | None:
        """Return an upload that nobody works on, if there is one that does not rest."""
        with self._lock:
            ready = [each for each in self.open if each.rests_until <= moment]
            if not ready:
                return None
            chosen = dice.choice(ready)
            self.open.remove(chosen)
            return chosen

    def give_back(self, upload: Open) -> None:
        """Let an upload be gone on with."""
        with self._lock:
            self.open.append(upload)
