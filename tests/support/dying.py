"""Deaths inside the process of the test: after some number of effects, nothing has any more.

    with dying(at=7) as death: client.put(…)      # death.came says whether it was reached

An effect is what outlives a process: a call on files, a commit, a request to an S3 store. Each is
two places to die at, before it and after. Who died raises `Died` there, and from then on no effect
comes about whatever code still runs: not the file that a `finally` would remove, not another
commit. Locks of files are given up; the rest is for the test to drop.
"""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from botocore.httpsession import URLLib3Session
from sqlalchemy.engine.default import DefaultDialect

_ON_FILES: Final = (
    "copy_file_range",
    "fsync",
    "ftruncate",
    "mkdir",
    "rename",
    "rmdir",
    "unlink",
    "write",
)


class Died(BaseException):
    """The process has ended here."""


class Death:
    """When to die: at place `at`, counted from 1, or never. `places` are those that were passed."""

    def __init__(self, at: int | None) -> None:
        self._at = at
        self.places = 0
        self.came = False

    def pass_by(self) -> None:
        """Count a place, and die there if it is the one. Raises Died."""
        self.places += 1
        if self.places == self._at:
            self.came = True
            raise Died

    def around(self, effect: Callable[..., Any], refuse: Callable[[], Exception | Died]) -> Any:
        """Return `effect` with a place on either side; the dead get what `refuse` makes."""

        def call(*args: Any, **kwargs: Any) -> Any:
            if self.came:
                raise refuse()
            self.pass_by()
            result = effect(*args, **kwargs)
            self.pass_by()
            return result

        return call

    def opening(self, effect: Callable[..., int], opened: set[int]) -> Any:
        """Return `os.open` such that the dead open nothing; `opened` grows with what it returns."""
        making = self.around(effect, _dead)

        def call(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
            if self.came:
                raise _dead()
            found: int = (making if flags & os.O_CREAT else effect)(path, flags, *args, **kwargs)
            opened.add(found)
            return found

        return call

    def barring(self, act: Callable[..., Any]) -> Any:
        """Return `act` for the living only: it is no effect by itself."""

        def call(*args: Any, **kwargs: Any) -> Any:
            if self.came:
                raise Died
            return act(*args, **kwargs)

        return call


@contextmanager
def dying(at: int | None) -> Iterator[Death]:
    """Count effects in the block, by any thread, and die at one of their places."""
    death, undo, opened = Death(at), list[Callable[[], None]](), set[int]()

    def put(owner: Any, name: str, wrap: Callable[[Any], Any]) -> None:
        original = getattr(owner, name)
        undo.append(lambda: setattr(owner, name, original))
        setattr(owner, name, wrap(original))

    for name in _ON_FILES:
        put(os, name, lambda effect: death.around(effect, _dead))
    put(os, "open", lambda effect: death.opening(effect, opened))
    put(DefaultDialect, "do_commit", lambda effect: death.around(effect, Died))
    put(DefaultDialect, "do_execute", death.barring)
    put(URLLib3Session, "send", lambda effect: death.around(effect, Died))
    try:
        yield death
    finally:
        for each in undo:
            each()
        if death.came:
            _release(opened)


def _dead() -> OSError:
    """Make an error that code expects of files: where it suppresses one, it goes on to the next."""
    return OSError(errno.EIO, "dead")


def _release(descriptors: set[int]) -> None:
    """Give up the locks of files that who died has left open, as the end of a process does."""
    for descriptor in descriptors:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
