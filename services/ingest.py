"""The one way in: every byte that enters, by whichever door, goes through here.

    admit ▸ feed … feed ▸ inspect ▸ publish
      └───────┴───────┴────────┴──▸ discard

`Ingest.admit` refuses what can be refused before a byte is read, and returns an Intake: one file
on its way. `Intake.feed` takes the bytes as they come: the first SNIFFED of them decide the type
and whether the policy takes it, all are counted, hashed and written to the backend once.
`Intake.inspect` makes sure that they are all there and are the ones the client named, and commits
the object. `services.publishing` then turns intakes into rows, in one transaction. A crash at any
point leaves an object without a row, never a row without its object.

No HTTP, no framework and no concrete backend is known here.
"""

import base64
import logging
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Self

from typing_extensions import Buffer

from services.caller import Caller
from services.digests import ExpectedDigest, RunningDigests
from services.errors import TruncatedBody
from services.filenames import clean_filename
from services.mimetype import SNIFFED, Sniffer
from services.policy import Policies, Policy
from storage.base import ObjectInfo, Storage, Writer
from storage.errors import StorageError
from storage.keys import new_key, random_name

log = logging.getLogger("holdall.ingest")


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a client says of a file before its bytes come; none of it is believed.

    `size` is in bytes, None when it is not known beforehand.
    """

    filename: str
    content_type: str | None = None
    size: int | None = None
    collection: str = "default"
    digests: tuple[ExpectedDigest, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IntakeState:
    """Where an intake stands between two chunks, to be kept and gone on with elsewhere.

    `head` is what has come of the first SNIFFED bytes, `received` the count of all, and
    `content_type` the verdict, None until there is one.
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

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON takes it."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return values | {"version": 1, "head": base64.b64encode(self.head).decode()}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Self:
        """Read what `to_json` gave. Raises ValueError for a version that is not known."""
        values = dict(kept)
        if values.pop("version", None) != 1:
            raise ValueError("an intake state of an unknown version")
        return cls(**values | {"head": base64.b64decode(values["head"])})


class Ingest:
    """Admit files: the start of every way in."""

    def __init__(
        self, policies: Policies, storages: Mapping[str, Storage], sniffer: Sniffer
    ) -> None:
        self._policies = policies
        self._storages = storages
        self._sniffer = sniffer

    def admit(self, caller: Caller, declared: Declaration) -> "Intake":
        """Begin a file, or refuse it before any byte is read.

        Raises NotSignedIn, CollectionNotFound and TooLarge.
        """
        caller.require("write")
        policy = self._policies.of(declared.collection)
        if declared.size is not None:
            policy.check_size(declared.size)
        state = IntakeState(
            file_id=random_name(),
            key=new_key(),
            filename=clean_filename(declared.filename),
            declared_type=(declared.content_type or "").strip()[:255] or None,
            declared_size=declared.size,
            collection=policy.collection,
            owner=caller.owner,
        )
        return Intake(state, policy, self._storages[policy.backend], self._sniffer, declared)


class Intake:
    """One file on its way in. Belongs to one thread at a time; leave it as a context manager.

    Leaving it before `keep` discards whatever it has stored, committed or not.
    """

    def __init__(
        self,
        state: IntakeState,
        policy: Policy,
        storage: Storage,
        sniffer: Sniffer,
        declared: Declaration,
    ) -> None:
        self.state = state
        self.policy = policy
        self.metadata = dict(declared.metadata)
        self.sha256: str | None = None
        self.stored: ObjectInfo | None = None
        self._storage = storage
        self._sniffer = sniffer
        self._expected = declared.digests
        self._digests = RunningDigests(digest.algorithm for digest in declared.digests)
        self._open = ExitStack()
        self._writer: Writer | None = None
        self._kept = False

    def feed(self, chunk: Buffer) -> None:
        """Take in the next bytes; `chunk` must stay unchanged until the next call on this intake.

        Raises TooLarge, TypeNotAllowed and StorageError; the intake is then good only for leaving.
        """
        received = self.state.received + memoryview(chunk).nbytes
        self.policy.check_size(received)
        self.state = replace(self.state, received=received)
        if self._writer is not None:
            self._store(self._writer, chunk)
            return
        # Nearly always the first chunk is large enough, and then it is not copied.
        whole: Buffer = self.state.head + bytes(chunk) if self.state.head else chunk
        self.state = replace(self.state, head=bytes(memoryview(whole)[:SNIFFED]))
        if received >= SNIFFED:
            self._store(self._decide(), whole)

    def inspect(self, expected: tuple[ExpectedDigest, ...] = ()) -> None:
        """End the file: everything arrived, is what was named, and stands in the store.

        `expected` are digests that came after the bytes. Raises TruncatedBody, DigestMismatch,
        TypeNotAllowed and StorageError.
        """
        declared = self.state.declared_size
        if declared is not None and declared != self.state.received:
            raise TruncatedBody(f"{self.state.received} bytes came of {declared}")
        writer = self._writer
        if writer is None:
            writer = self._decide()
            self._store(writer, self.state.head)
        self.verify((*self._expected, *expected))
        self.sha256 = self._digests.sha256()
        self.stored = writer.commit()

    def verify(self, expected: tuple[ExpectedDigest, ...]) -> None:
        """Hold the bytes against digests that came after them. Raises DigestMismatch."""
        self._digests.verify(expected)

    def keep(self) -> None:
        """Say that a row now promises these bytes: leaving no longer discards them."""
        self._kept = True

    def _decide(self) -> Writer:
        """Sniff, apply the policy, and open the object."""
        state = self.state
        content_type = self._sniffer.content_type(state.head, state.filename)
        self.policy.check_type(content_type, state.declared_type)
        self.state = replace(state, content_type=content_type)
        self._writer = self._open.enter_context(
            self._storage.create(state.key, content_type=content_type)
        )
        return self._writer

    def _store(self, writer: Writer, chunk: Buffer) -> None:
        self._digests.update(chunk)
        writer.write(chunk)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._digests.settle()
        self._open.close()
        if self.stored is not None and not self._kept:
            self._withdraw()

    def _withdraw(self) -> None:
        try:
            self._storage.delete(self.state.key)
        except StorageError:
            log.warning("an object without a row was left", extra={"key": self.state.key})
