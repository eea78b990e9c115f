"""The feed of one append, between the state that it begins with and the one that it ends in.

Knows ingest and the backend's capability, and no database beyond the lease it is told of.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from typing_extensions import Buffer

from services.digests import ExpectedDigest, RunningDigests
from services.errors import (
    ChecksumMismatch,
    DigestMismatch,
    HoldallError,
    StalledBody,
    Stopping,
    TakenOver,
    TooLarge,
    TruncatedBody,
)
from services.intake import Feed, Holding, IntakeState, Sink
from services.locks import Hold
from services.mimetype import Sniffer
from services.policy import Policy
from services.sha256 import ResumableSha256
from storage.base import ObjectInfo
from storage.capabilities import Appended, Appender, Resumable, State

Read = Callable[[Callable[[], None]], Iterable[Buffer]]
"""Reads a request's body, calling what it is given whenever it waits; that may raise to end it."""


class ResumedFeed(Feed):
    """A file that comes in several requests: the bytes of one of them.

    Leaving it before `keep` or `complete` goes back to how it was before.
    """

    def __init__(
        self,
        kept: Mapping[str, Any],
        policy: Policy,
        sniffer: Sniffer,
        storage: Resumable,
        storage_state: State,
        hold: Hold,
        room: Holding | None = None,
    ) -> None:
        state = IntakeState.from_json(kept["intake"])
        state = replace(state, reserved=state.reserved or room is not None)
        self._sha256 = _running(kept)
        super().__init__(state, policy, sniffer, RunningDigests({"sha256": self._sha256}), room)
        self._storage = storage
        self._storage_state = storage_state
        self._hold = hold
        # What came before the type was decided is in the state, and not in the store.
        self._stored = state.received if state.content_type is not None else 0
        self._appender: Appender | None = None

    @property
    def received(self) -> int:
        """How many bytes have come, in all appends."""
        return self.state.received

    def keep(self) -> Appended:
        """Make what came durable; more will come."""
        if self._appender is None:
            return Appended(self._storage_state)
        return self._appender.keep()

    def complete(self) -> Appended:
        """Make what came durable; it is all. Raises TypeNotAllowed for a small file's type."""
        self._settle_type()
        return self._appending().complete()

    def ingest_state(self) -> dict[str, Any]:
        """Return what the next append begins with, as JSON takes it."""
        self._digests.settle()
        decided = self.state.content_type is not None
        state = replace(self.state, head=b"") if decided else self.state
        return {"intake": state.to_json(), "sha256": self._sha256.state()}

    def _open_sink(self, content_type: str) -> Sink:
        return self._appending()

    def _appending(self) -> Appender:
        if self._appender is None:
            # Opening drops what lies beyond our offset, which is another's once the lease is lost.
            self._hold.check()
            appender = self._storage.append(self.state.key, self._storage_state, self._stored)
            self._appender = self._open.enter_context(appender)
        return self._appender


@dataclass(frozen=True, slots=True)
class Request:
    """The bytes that one request brings. `size` is their count where it is known beforehand.

    `last` says that the upload ends where these bytes do. With a `checksum` they count only
    when they have it.
    """

    read: Read
    size: int | None
    last: bool = False
    checksum: ExpectedDigest | None = None

    def pour_into(self, feed: ResumedFeed, hold: Hold, length: int | None) -> HoldallError | None:
        """Feed what comes, and return what broke it off where what came is to be kept.

        Raises TooLarge for bytes beyond `length`, ChecksumMismatch, and what `feed` raises.
        """
        checksum = self.checksum
        digests = RunningDigests.of([checksum.algorithm] if checksum else [])
        try:
            for chunk in self.read(lambda: _give_way(hold)):
                if length is not None and feed.received + memoryview(chunk).nbytes > length:
                    raise TooLarge(f"The upload ends at {length} bytes")
                digests.update(chunk)
                feed.feed(chunk)
        except (TruncatedBody, StalledBody, TakenOver, Stopping) as broken:
            if checksum is not None:
                raise
            return broken
        finally:
            digests.settle()
        if checksum is not None:
            _verify(digests, checksum)
        return None


NOTHING: Final = Request(lambda idle: (), 0)


@dataclass
class Finished:
    """An upload whose object is there, ready to be published."""

    state: IntakeState
    policy: Policy
    metadata: dict[str, Any]
    sha256: str | None
    stored: ObjectInfo | None

    @classmethod
    def of(
        cls,
        kept: Mapping[str, Any],
        policy: Policy,
        metadata: Mapping[str, Any],
        stored: ObjectInfo,
    ) -> Self:
        """Read the last state of an upload."""
        state = IntakeState.from_json(kept["intake"])
        return cls(state, policy, dict(metadata), _running(kept).hexdigest(), stored)

    def keep(self) -> None:
        """Nothing discards it: its own upload's row remembers it until the file's does."""


def _running(kept: Mapping[str, Any]) -> ResumableSha256:
    state = kept["sha256"]
    return ResumableSha256() if state is None else ResumableSha256.from_state(state)


def _give_way(hold: Hold) -> None:
    if hold.is_wanted():
        raise TakenOver


def _verify(digests: RunningDigests, checksum: ExpectedDigest) -> None:
    try:
        digests.verify([checksum])
    except DigestMismatch as error:
        raise ChecksumMismatch("The bytes do not have the checksum sent with them") from error
