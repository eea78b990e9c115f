"""One object written in several appends, as its callers do: the tests' hands on Resumable.

It knows `storage.base` only, and must not know any backend.
"""

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Protocol

from storage.base import ObjectInfo, Storage
from storage.capabilities import Appended, Resumable, State
from storage.keys import new_key

LARGEST = 10 * 1024**3


class ResumableStorage(Storage, Resumable, Protocol):
    """A storage with the capability."""


OpenStore = Callable[[], ResumableStorage]
"""Opens one store anew at each call, as the next process would."""

Left = Callable[[], list[str]]
"""Names what lies in a store."""


@dataclass(slots=True)
class Upload:
    """An unfinished object whose state is written down as JSON and read back for each act.

    `size` is what has been kept. Superseded objects are deleted after the state was written.
    """

    open_store: OpenStore
    key: str = field(default_factory=new_key)
    largest: int = LARGEST
    size: int = 0
    _written: str = ""

    def __post_init__(self) -> None:
        with closing(self.open_store()) as storage:
            state = storage.start(self.key, content_type="text/plain", largest=self.largest)
        self.write_down(state)

    @property
    def state(self) -> State:
        state: State = json.loads(self._written)
        return state

    def write_down(self, state: State) -> None:
        self._written = json.dumps(state)

    def append(self, *pieces: bytes, complete: bool = False) -> Appended:
        with closing(self.open_store()) as storage:
            with storage.append(self.key, self.state, self.size) as appender:
                for piece in pieces:
                    appender.write(piece)
                appended = appender.complete() if complete else appender.keep()
            self.write_down(appended.state)
            self.size += sum(map(len, pieces))
            for superseded in appended.superseded:
                storage.delete(superseded)
        return appended

    def abandon(self, *pieces: bytes) -> None:
        """Append and leave without keeping anything."""
        with (
            closing(self.open_store()) as storage,
            storage.append(self.key, self.state, self.size) as appender,
        ):
            for piece in pieces:
                appender.write(piece)

    def finish(self, size: int | None = None) -> ObjectInfo:
        with closing(self.open_store()) as storage:
            return storage.finish(self.key, self.state, self.size if size is None else size)

    def discard(self) -> None:
        with closing(self.open_store()) as storage:
            storage.discard(self.key, self.state)

    def complete(self, *pieces: bytes) -> ObjectInfo:
        """Append the last bytes and finish."""
        self.append(*pieces, complete=True)
        return self.finish()
