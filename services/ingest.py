"""The one way in: every byte that enters, by whichever door, goes through here.

    admit ▸ feed … feed ▸ inspect ▸ publish
      └───────┴───────┴────────┴──▸ discard

`Ingest.admit` refuses what can be refused before a byte is read, and returns an Intake: one file
on its way. `Intake.feed` takes the bytes as they come; what each goes through stands in
`services.intake`.
`Intake.inspect` makes sure that they are all there and are the ones the client named, and commits
the object. `services.publishing` then turns intakes into rows, in one transaction. A crash at any
point leaves an object without a row, never a row without its object.

No HTTP, no framework and no concrete backend is known here.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from services.caller import Caller
from services.digests import ExpectedDigest, RunningDigests
from services.errors import TruncatedBody
from services.filenames import clean_filename
from services.intake import Declaration, Feed, IntakeState, Sink
from services.mimetype import Sniffer
from services.policy import Policies, Policy
from services.quotas import GROWTH, Quotas, Room
from services.used_links import UsedLinks
from storage.base import ObjectInfo, Storage, Writer
from storage.errors import StorageError
from storage.keys import new_key, random_name

log = logging.getLogger("holdall.ingest")


class Ingest:
    """Admit files: the start of every way in."""

    def __init__(
        self,
        policies: Policies,
        storages: Mapping[str, Storage],
        sniffer: Sniffer,
        used_links: UsedLinks,
        quotas: Quotas,
    ) -> None:
        self._policies = policies
        self._storages = storages
        self._used_links = used_links
        self._quotas = quotas
        self.sniffer = sniffer

    def admit(
        self, caller: Caller, declared: Declaration, *, spent: Sequence[str] = ()
    ) -> "Intake":
        """Begin a file, or refuse it before any byte is read.

        `spent` are reservations that the file takes the place of. Raises NotSignedIn, NotPermitted,
        CollectionNotFound, LinkUsed, TooLarge and QuotaExceeded.
        """
        state, policy = self.judge(caller, declared)
        storage = self._storages[policy.backend]
        room = self._quotas.room(state, policy, most=declared.most, spent=spent)
        if room is not None:
            known = declared.size is not None
            room.reserve(declared.size or 0, ahead=0 if known else GROWTH)
            state = replace(state, reserved=True)
        return Intake(state, policy, storage, self.sniffer, declared, room)

    def judge(self, caller: Caller, declared: Declaration) -> tuple[IntakeState, Policy]:
        """Return the first state of a file and the policy it is under.

        Room in a quota is still to be taken. Raises as `admit` does but for QuotaExceeded.
        """
        policy = self.policy_for(caller, declared.collection)
        if declared.size is not None:
            policy.check_size(declared.size)
        link = caller.link
        filename = (link and link.filename) or declared.filename
        content_type = (link and link.content_type) or declared.content_type or ""
        state = IntakeState(
            file_id=random_name(),
            key=new_key(),
            filename=clean_filename(filename),
            declared_type=_written(content_type)[:255] or None,
            declared_size=declared.size,
            collection=policy.collection,
            owner=caller.owner,
            link=link.id if link else None,
            link_until=link.expires_at if link else 0,
        )
        return state, policy

    def policy_for(self, caller: Caller, collection: str | None) -> Policy:
        """Return what holds for a new file of `caller` in the collection that the request names.

        Raises NotSignedIn, NotPermitted, CollectionNotFound and LinkUsed.
        """
        caller.require("write")
        self.require_unused(caller)
        policy = self._policies.of(caller.collection_for(collection))
        if caller.link is not None and caller.link.max_size is not None:
            policy = policy.at_most(caller.link.max_size)
        return policy

    def require_unused(self, caller: Caller) -> None:
        """Raise LinkUsed when the link that `caller` came by has had its file."""
        if caller.link is not None:
            self._used_links.require_unused(caller.link)


def _written(content_type: str) -> str:
    """Return a type without what no type has, and some database no text for, such as NUL."""
    if not content_type.isprintable():
        content_type = "".join(char for char in content_type if char.isprintable())
    return content_type.strip()


class Intake(Feed):
    """A file that comes whole, in one request.

    Leave it as a context manager: before `keep` that discards whatever it has stored, and gives
    back the room that it holds.
    """

    def __init__(
        self,
        state: IntakeState,
        policy: Policy,
        storage: Storage,
        sniffer: Sniffer,
        declared: Declaration,
        room: Room | None = None,
    ) -> None:
        algorithms = (digest.algorithm for digest in declared.digests)
        super().__init__(state, policy, sniffer, RunningDigests.of_file(algorithms), room)
        self.metadata = dict(declared.metadata)
        self.sha256: str | None = None
        self.stored: ObjectInfo | None = None
        self._storage = storage
        self._expected = declared.digests
        self._reservation = room
        self._writer: Writer | None = None
        self._kept = False

    def inspect(self, expected: tuple[ExpectedDigest, ...] = ()) -> None:
        """End the file: everything arrived, is what was named, and stands in the store.

        `expected` are digests that came after the bytes. Raises TruncatedBody, DigestMismatch,
        TypeNotAllowed and StorageError.
        """
        declared, received = self._state.declared_size, self._received
        if declared is not None and declared != received:
            raise TruncatedBody(f"{received} bytes came of {declared}")
        self._settle_type()
        self.verify((*self._expected, *expected))
        if self._reservation is not None:
            self._reservation.fit(received)
        self.sha256 = self._digests.sha256()
        assert self._writer is not None
        self.stored = self._writer.commit()

    def verify(self, expected: tuple[ExpectedDigest, ...]) -> None:
        """Hold the bytes against digests that came after them. Raises DigestMismatch."""
        self._digests.verify(expected)

    def keep(self) -> None:
        """Say that a row now promises these bytes: leaving no longer discards them."""
        self._kept = True

    def _open_sink(self, content_type: str) -> Sink:
        writer = self._storage.create(self._state.key, content_type=content_type)
        self._writer = self._open.enter_context(writer)
        return self._writer

    def __exit__(self, *_: object) -> None:
        try:
            super().__exit__(*_)
            if self.stored is not None and not self._kept:
                self._withdraw()
        finally:
            if self._reservation is not None and not self._kept:
                self._reservation.release()

    def _withdraw(self) -> None:
        try:
            self._storage.delete(self.state.key)
        except StorageError:
            log.warning("an object without a row was left", extra={"key": self.state.key})
