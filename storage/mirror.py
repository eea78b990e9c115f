"""A storage put together of others: a primary, and mirrors that are brought up behind it.

    create, copy, delete, scan, parts, appends ──▸ primary
    open, stat ──▸ primary ──▸ first mirror ──▸ … : the first that has the object

A write counts when the primary has it. Whoever writes sees to it that the mirrors follow
(`services.mirroring`). Each capability of the primary is the composed storage's too.

It composes, and must not know any concrete storage, queue or database.
"""

import logging
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import BinaryIO, Final, TypeVar

from storage.base import Body, ObjectInfo, Storage, Writer
from storage.capabilities import (
    Appender,
    Filed,
    Leftover,
    Multipart,
    Part,
    Presigner,
    Resumable,
    SignedForm,
    SignedRequest,
    State,
    Sweepable,
)
from storage.errors import ObjectNotFound, StorageError, StorageUnavailable

PASSED_OVER: Final = 5.0
"""Seconds for which a member that did not answer is asked after all others."""

T = TypeVar("T")

log = logging.getLogger("holdall.storage")


class MirrorStorage:
    """The storage of `members`, by name and in the order in which they are read from.

    Make it by `mirror_of`. The members belong to whoever opened them. Implements Storage and
    Mirrored.
    """

    def __init__(self, members: dict[str, Storage]) -> None:
        self.primary = next(iter(members))
        self.members = members
        self._first = members[self.primary]
        self._down_until = dict.fromkeys(members, 0.0)

    def create(self, key: str, *, content_type: str = "application/octet-stream") -> Writer:
        return self._first.create(key, content_type=content_type)

    def open(self, key: str, start: int = 0, stop: int | None = None) -> Body:
        return self._ask(lambda member: member.open(key, start, stop))

    def stat(self, key: str) -> ObjectInfo:
        return self._ask(lambda member: member.stat(key))

    def scan(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Yield what the primary has: a mirror may lack what is new, and have what was deleted."""
        return self._first.scan(prefix)

    def delete(self, key: str) -> None:
        """Delete on the primary. A mirror is told by whoever queued it, also when it is down."""
        self._first.delete(key)

    def copy(self, source: str, target: str, *, etag: str | None = None) -> ObjectInfo:
        return self._first.copy(source, target, etag=etag)

    def check(self) -> None:
        """Prove the primary. What is wrong with a mirror is logged: it will be brought up."""
        self._first.check()
        for name, member in self.members.items():
            if name == self.primary:
                continue
            try:
                member.check()
            except StorageError as error:
                log.warning("a mirror fails", extra={"backend": name, "reason": str(error)})

    def close(self) -> None:
        """Close nothing: the members are closed as what they are themselves."""

    def _ask(self, ask: Callable[[Storage], T]) -> T:
        """Return what the first member answers that has the object.

        Raises ObjectNotFound only when all members say so: while one is down it may be the one.
        """
        problem: StorageError | None = None
        for name in self._in_turn():
            try:
                return ask(self.members[name])
            except ObjectNotFound as error:
                problem = problem or error
            except StorageUnavailable as error:
                self._down_until[name] = time.monotonic() + PASSED_OVER
                if problem is None or isinstance(problem, ObjectNotFound):
                    problem = error
        assert problem is not None
        raise problem

    def _in_turn(self) -> list[str]:
        """Return the members, with those at the end that were down a moment ago."""
        moment = time.monotonic()
        return sorted(self.members, key=lambda name: self._down_until[name] > moment)


class _Multiparts:
    """Multipart as the primary has it."""

    _first: Multipart

    @property
    def minimum_part_size(self) -> int:
        return self._first.minimum_part_size

    @property
    def maximum_parts(self) -> int:
        return self._first.maximum_parts

    def begin(self, key: str, *, content_type: str = "application/octet-stream") -> str:
        return self._first.begin(key, content_type=content_type)

    def put_part(self, key: str, upload_id: str, number: int, data: bytes | BinaryIO) -> Part:
        return self._first.put_part(key, upload_id, number, data)

    def copy_part(
        self, key: str, upload_id: str, number: int, source: str, start: int, stop: int
    ) -> Part:
        return self._first.copy_part(key, upload_id, number, source, start, stop)

    def list_parts(self, key: str, upload_id: str) -> list[Part]:
        return self._first.list_parts(key, upload_id)

    def complete(self, key: str, upload_id: str, parts: list[Part]) -> ObjectInfo:
        return self._first.complete(key, upload_id, parts)

    def abort(self, key: str, upload_id: str) -> None:
        self._first.abort(key, upload_id)

    def stale_multiparts(self, older_than: datetime) -> Iterator[tuple[str, str, datetime]]:
        return self._first.stale_multiparts(older_than)


class _Resuming:
    """Resumable as the primary has it."""

    _first: Resumable

    def start(self, key: str, *, content_type: str, largest: int) -> State:
        return self._first.start(key, content_type=content_type, largest=largest)

    def append(self, key: str, state: State, offset: int) -> Appender:
        return self._first.append(key, state, offset)

    def finish(self, key: str, state: State, size: int) -> ObjectInfo:
        return self._first.finish(key, state, size)

    def discard(self, key: str, state: State) -> None:
        self._first.discard(key, state)


class _Presigning:
    """Presigner as the primary has it."""

    _first: Presigner

    def presign_get(
        self,
        key: str,
        *,
        signed_at: datetime,
        expires_in: int,
        content_type: str,
        disposition: str,
        cache_control: str = "",
        internal: bool = False,
    ) -> str:
        return self._first.presign_get(
            key,
            signed_at=signed_at,
            expires_in=expires_in,
            content_type=content_type,
            disposition=disposition,
            cache_control=cache_control,
            internal=internal,
        )

    def presign_put(
        self, key: str, *, size: int, content_type: str, signed_at: datetime, expires_in: int
    ) -> SignedRequest:
        return self._first.presign_put(
            key, size=size, content_type=content_type, signed_at=signed_at, expires_in=expires_in
        )

    def presign_post(
        self,
        key: str,
        *,
        largest: int,
        content_type: str | None,
        signed_at: datetime,
        expires_in: int,
    ) -> SignedForm:
        return self._first.presign_post(
            key,
            largest=largest,
            content_type=content_type,
            signed_at=signed_at,
            expires_in=expires_in,
        )

    def presign_part(
        self, key: str, upload_id: str, number: int, *, signed_at: datetime, expires_in: int
    ) -> SignedRequest:
        return self._first.presign_part(
            key, upload_id, number, signed_at=signed_at, expires_in=expires_in
        )


class _Filing:
    """Filed as the primary has it."""

    _first: Filed

    def filed_at(self, key: str) -> str:
        return self._first.filed_at(key)


class _Sweeping:
    """Sweepable as the primary has it."""

    _first: Sweepable

    def sweep(self, older_than: datetime, *, remove: bool) -> Iterator[Leftover]:
        return self._first.sweep(older_than, remove=remove)

    def stale_unfinished(self, older_than: datetime) -> Iterator[Leftover]:
        return self._first.stale_unfinished(older_than)


_CAPABILITIES: Final = (
    (Multipart, _Multiparts),
    (Resumable, _Resuming),
    (Presigner, _Presigning),
    (Filed, _Filing),
    (Sweepable, _Sweeping),
)


def mirror_of(members: dict[str, Storage]) -> MirrorStorage:
    """Compose `members`, the primary first. Raises ValueError for fewer than two.

    A capability is asked for by what a class has, so each set of them is a class of its own.
    """
    if len(members) < 2:
        raise ValueError("a mirror names a primary and at least one mirror of it")
    primary = next(iter(members.values()))
    theirs = tuple(mixin for known, mixin in _CAPABILITIES if isinstance(primary, known))
    made: type[MirrorStorage] = type("MirrorStorage", (*theirs, MirrorStorage), {})
    return made(members)
