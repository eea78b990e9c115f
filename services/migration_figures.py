"""What a migration is asked to do, what it counts, and how it ends early.

Knows no database and no storage.
"""

from dataclasses import asdict, dataclass
from threading import Event
from typing import Any

from services.errors import HoldallError


class CannotBegin(HoldallError):
    """Nothing was moved, and the message says why."""


class Stopped(HoldallError):
    """The migration ended before all was moved; what was moved stays so."""


class Interrupted(HoldallError):
    """Somebody asked the migration to end; what was moved stays so."""


class Stop(Event):
    """What asks a migration to end where nothing is half done."""

    def require_not(self) -> None:
        """Raise Interrupted when it is to end."""
        if self.is_set():
            raise Interrupted("it was asked to end")

    def pause(self, seconds: float) -> None:
        """Wait, and raise Interrupted as soon as it is to end."""
        self.wait(seconds)
        self.require_not()


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to move. `collection` is None for the files of all.

    `linger` is how many seconds objects of the source are kept once their files have moved, before
    they are deleted; None is as long as readers may need them.
    """

    source: str
    target: str
    collection: str | None = None
    workers: int = 8
    delete_source: bool = False
    linger: float | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that was not moved, or with `moved` one whose source was not deleted, and why."""

    file: str | None
    key: str
    size: int
    reason: str
    moved: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        named = {"file": self.file, "key": self.key, "size": self.size, "reason": self.reason}
        return {"failed": "delete" if self.moved else "move", **named}


@dataclass(slots=True)
class Tally:
    """What was counted so far. Sizes are in bytes.

    `files` were on the source at the beginning, with `files_size` bytes, of which `done_size` are
    dealt with. `reused` of the `moved` files had a whole copy at the target already, `filled` got
    their SHA-256. `gone` were deleted or changed while they were copied. `deleted` are objects of
    the source. `left` files are on the source at the end, and `uploads` that have not ended.
    """

    files: int = 0
    files_size: int = 0
    done: int = 0
    done_size: int = 0
    moved: int = 0
    moved_size: int = 0
    reused: int = 0
    filled: int = 0
    gone: int = 0
    failed: int = 0
    deleted: int = 0
    deleted_size: int = 0
    left: int = 0
    uploads: int = 0

    def as_json(self) -> dict[str, int]:
        """Return the figures that say something when all is done."""
        return {name: value for name, value in asdict(self).items() if not name.startswith("done")}
