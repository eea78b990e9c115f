"""One file on its way in, whichever door it came by: what is known of it, and what every byte of it
goes through.

A Feed takes the bytes as they come: the first SNIFFED of them decide the type and whether the
policy takes it, all are counted, hashed and passed on to a sink once. Where the sink is and how the
file ends differs between a whole upload (`services.ingest`) and one that is made in several
requests (`services.resumable`).
"""

import base64
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

from typing_extensions import Buffer

from services.digests import ExpectedDigest, RunningDigests
from services.mimetype import SNIFFED, UNKNOWN, Sniffer
from services.policy import Policy
from storage.base import ObjectInfo


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a client says of a file before its bytes come; none of it is believed.

    `size` is in bytes, None when it is not known beforehand; `most` is what it cannot be over
    then, where that is known. `collection` is None where the client names none.
    """

    filename: str
    content_type: str | None = None
    size: int | None = None
    collection: str | None = None
    digests: tuple[ExpectedDigest, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    most: int | None = None


@dataclass(frozen=True, slots=True)
class IntakeState:
    """Where an intake stands between two chunks, to be kept and gone on with elsewhere.

    `head` is what has come of the first SNIFFED bytes, `received` the count of all, and
    `content_type` the verdict, None until there is one. `link` is the id of the upload link that
    the file came by and `link_until` when that ends, in seconds since 1970. `reserved` says that it
    holds room in its collection's quota.
    """

    file_id: str
    key: str
    filename: str
    declared_type: str | None
    declared_size: int | None
    collection: str
    owner: str | None
    received: int = 0
    head: bytes = b""
    content_type: str | None = None
    link: str | None = None
    link_until: int = 0
    reserved: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON takes it."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return values | {"version": 1, "head": base64.b64encode(self.head).decode()}

    def without_sniffing(self) -> Self:
        """Return the state of a piece of a file, whose type its own bytes cannot tell."""
        return replace(self, content_type=UNKNOWN)

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Self:
        """Read what `to_json` gave. Raises ValueError for a version that is not known."""
        values = dict(kept)
        if values.pop("version", None) != 1:
            raise ValueError("an intake state of an unknown version")
        return cls(**values | {"head": base64.b64decode(values["head"])})


class Sink(Protocol):
    """Where the bytes of a file go."""

    def write(self, data: Buffer, /) -> None: ...


class Holding(Protocol):
    """Room in a quota, which the bytes of a file need (`services.quotas`)."""

    def cover(self, size: int) -> None:
        """Make sure that there is room for `size` bytes. Raises QuotaExceeded."""


class Publishable(Protocol):
    """A file whose bytes stand in the store, inspected; `services.publishing` makes it a row."""

    state: IntakeState
    policy: Policy
    metadata: dict[str, Any]
    sha256: str | None
    stored: ObjectInfo | None

    def keep(self) -> None:
        """Say that a row now promises these bytes."""


class Feed(ABC):
    """Count, judge, hash and pass on the bytes of one file. Belongs to one thread at a time."""

    def __init__(
        self,
        state: IntakeState,
        policy: Policy,
        sniffer: Sniffer,
        digests: RunningDigests,
        room: Holding | None = None,
    ) -> None:
        self._state = state
        self._received = state.received
        self._head = state.head
        self.policy = policy
        self._sniffer = sniffer
        self._digests = digests
        self._room = room
        self._open = ExitStack()
        self._sink: Sink | None = None

    @property
    def state(self) -> IntakeState:
        """Where it stands; made when somebody asks, and not for every chunk."""
        if self._received != self._state.received:
            self._state = replace(self._state, received=self._received, head=self._head)
        return self._state

    @state.setter
    def state(self, state: IntakeState) -> None:
        self._state, self._received, self._head = state, state.received, state.head

    def feed(self, chunk: Buffer) -> None:
        """Take in the next bytes; `chunk` must stay unchanged until the next call here.

        Raises TooLarge, QuotaExceeded, TypeNotAllowed and StorageError; the file is then only good
        for leaving.
        """
        received = self._received + memoryview(chunk).nbytes
        self.policy.check_size(received)
        if self._room is not None:
            self._room.cover(received)
        self._received = received
        if self._state.content_type is not None:
            self._store(chunk)
            return
        # Nearly always the first chunk is large enough, and then it is not copied.
        whole: Buffer = self._head + bytes(chunk) if self._head else chunk
        self._head = bytes(memoryview(whole)[:SNIFFED])
        if received >= SNIFFED:
            self._decide()
            self._store(whole)

    def _settle_type(self) -> None:
        """Decide on what has come, now that no more will."""
        if self._state.content_type is None:
            self._decide()
            self._store(self._head)

    @abstractmethod
    def _open_sink(self, content_type: str) -> Sink:
        """Open the place where the bytes go."""

    def _decide(self) -> None:
        """Sniff, and apply the policy."""
        content_type = self._sniffer.content_type(self._head, self._state.filename)
        self.policy.check_type(content_type, self._state.declared_type)
        self._state = replace(
            self._state, received=self._received, head=self._head, content_type=content_type
        )

    def _store(self, chunk: Buffer) -> None:
        if self._sink is None:
            self._sink = self._open_sink(self._state.content_type or "")
        self._digests.update(chunk)
        self._sink.write(chunk)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._digests.settle()
        self._open.close()
