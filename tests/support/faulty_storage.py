"""A storage that works, but for one call that is chosen beforehand.

    faults = Faults()
    storage = faulty(MemoryStorage(), faults)
    faults.plan(Before(StorageFull("no room")), call=3)     # the third call from here on
    faults.plan(After(StorageUnavailable("lost")), name="commit")
    faults.calls                                            # what was called, in order

The wrapper has the capabilities that the wrapped storage has, and no others. Each step of a Writer,
an Appender, a Body and a listing is a call of its own: `create`, `write`, `commit`; `append`,
`append.write`, `keep`, `append.complete`; `open`, `read`; `scan` for every object that is yielded.
What contacts nothing (signing, naming a file) is no call. It knows the contract only.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, Self, TypeVar

from typing_extensions import Buffer

from storage.base import Body, ObjectInfo, Storage, Writer
from storage.capabilities import Appended, Appender

T = TypeVar("T")

_CALLS: Final = (
    *("stat", "delete", "copy", "check"),
    *("begin", "put_part", "copy_part", "list_parts", "complete", "abort"),
    *("start", "finish", "discard"),
)
_LISTINGS: Final = ("scan", "stale_multiparts", "sweep", "stale_unfinished")
_AS_THEY_ARE: Final = (
    *("presign_get", "presign_put", "presign_post", "presign_part", "filed_at"),
    *("minimum_part_size", "maximum_parts"),
)


@dataclass(frozen=True, slots=True)
class Before:
    """Raise instead of doing it."""

    error: Exception


@dataclass(frozen=True, slots=True)
class After:
    """Do it, and raise: the act took place, and its answer was lost."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Late:
    """Do it after so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Cut:
    """Raise once a body has given so many bytes; at any other call it is never due."""

    after: int
    error: Exception


Fault = Before | After | Late | Cut


class Faults:
    """The calls that were made, and the one that is to fail. For all threads at once.

    `meanwhile` is called at each call, before it is done.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.meanwhile: Callable[[str], None] = lambda name: None
        self._lock = threading.Lock()
        self._fault: Fault | None = None
        self._name = ""
        self._left = 0

    def plan(self, fault: Fault, *, call: int = 1, name: str = "") -> None:
        """Let the `call`-th call from now on fail, of those called `name` where one is given."""
        with self._lock:
            self._fault, self._left, self._name = fault, call, name
            self.calls.clear()

    @property
    def is_due(self) -> bool:
        """Say whether the fault that was planned has still to come."""
        return self._fault is not None

    def forget(self) -> None:
        """Let everything work from now on, and begin a new list of calls."""
        with self._lock:
            self._fault = None
            self.calls.clear()

    def take(self, name: str) -> Fault | None:
        """Note a call, and return the fault that it is to meet."""
        self.meanwhile(name)
        with self._lock:
            self.calls.append(name)
            if self._fault is None or self._name not in ("", name):
                return None
            self._left -= 1
            if self._left > 0:
                return None
            fault, self._fault = self._fault, None
            return fault

    def do(self, name: str, act: Callable[[], T], undo: Callable[[T], object] | None = None) -> T:
        """Do `act` as the plan has it. `undo` lets go of a result that nobody will get."""
        match self.take(name):
            case Before(error):
                raise error
            case After(error):
                result = act()
                if undo is not None:
                    undo(result)
                raise error
            case Late(seconds):
                time.sleep(seconds)
        return act()


def faulty(storage: Storage, faults: Faults) -> Any:
    """Return a storage with the capabilities of `storage` whose calls go through `faults`.

    The methods stand in a class made for it: `isinstance` looks for those of a capability
    statically from Python 3.12 on, and would not see what `__getattr__` gives.
    """
    made: dict[str, Any] = {}
    for name in _CALLS:
        made[name] = _call(name)
    for name in _LISTINGS:
        made[name] = _listing(name)
    for name in _AS_THEY_ARE:
        made[name] = _same(name)
    kept = {name: each for name, each in made.items() if hasattr(storage, name)}
    if hasattr(storage, "append"):
        kept["append"] = _append
    return type("FaultyStorage", (_FaultyStorage,), kept)(storage, faults)


class _FaultyStorage:
    """What every storage has that gives something to hold."""

    def __init__(self, storage: Any, faults: Faults) -> None:
        self.storage = storage
        self.faults = faults

    def create(self, key: str, *, content_type: str = "application/octet-stream") -> Writer:
        begin = lambda: self.storage.create(key, content_type=content_type)  # noqa: E731
        return _FaultyWriter(self.faults.do("create", begin, _leave), self.faults)

    def open(self, key: str, start: int = 0, stop: int | None = None) -> Body:
        body = self.faults.do("open", lambda: self.storage.open(key, start, stop), _close)
        return _FaultyBody(body, self.faults)

    def close(self) -> None:
        self.storage.close()


def _call(name: str) -> Callable[..., Any]:
    def call(self: _FaultyStorage, *arguments: Any, **named: Any) -> Any:
        return self.faults.do(name, lambda: getattr(self.storage, name)(*arguments, **named))

    return call


def _listing(name: str) -> Callable[..., Iterator[Any]]:
    def listing(self: _FaultyStorage, *arguments: Any, **named: Any) -> Iterator[Any]:
        for each in getattr(self.storage, name)(*arguments, **named):
            self.faults.do(name, lambda: None)
            yield each

    return listing


def _same(name: str) -> property:
    return property(lambda self: getattr(self.storage, name))


def _append(self: _FaultyStorage, key: str, state: Any, offset: int) -> Appender:
    begin = lambda: self.storage.append(key, state, offset)  # noqa: E731
    return _FaultyAppender(self.faults.do("append", begin, _leave), self.faults)


class _Held:
    """A context that is entered and left as the one that it wraps."""

    def __init__(self, held: Any, faults: Faults) -> None:
        self._held = held
        self._faults = faults

    def __enter__(self) -> Self:
        self._held.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._held.__exit__(*error)


class _FaultyWriter(_Held):
    def write(self, data: Buffer, /) -> None:
        self._faults.do("write", lambda: self._held.write(data))

    def commit(self) -> ObjectInfo:
        info: ObjectInfo = self._faults.do("commit", self._held.commit)
        return info


class _FaultyAppender(_Held):
    def write(self, data: Buffer, /) -> None:
        self._faults.do("append.write", lambda: self._held.write(data))

    def keep(self) -> Appended:
        appended: Appended = self._faults.do("keep", self._held.keep)
        return appended

    def complete(self) -> Appended:
        appended: Appended = self._faults.do("append.complete", self._held.complete)
        return appended


class _FaultyBody(_Held):
    """A body that is never a plain file: the kernel would send one without asking here."""

    file: BinaryIO | None = None

    def __init__(self, body: Body, faults: Faults) -> None:
        super().__init__(body, faults)
        self.info = body.info
        self.size = body.size

    def __iter__(self) -> Iterator[bytes]:
        given = 0
        for piece in self._held:
            match self._faults.take("read"):
                case Before(error) | After(error):
                    raise error
                case Late(seconds):
                    time.sleep(seconds)
                case Cut(after, error):
                    yield piece[: max(after - given, 0)]
                    raise error
            given += len(piece)
            yield piece

    def close(self) -> None:
        self._held.close()


def _leave(held: Any) -> None:
    with suppress(Exception), held:
        pass


def _close(body: Any) -> None:
    body.close()
