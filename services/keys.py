"""API keys: made, listed, revoked, and recognised when a request shows one.

A key is `holdall_` and 256 random bits. It is shown once, when it is made; what is kept is its
SHA-256, which needs no salt or stretching, since nobody can go through 2^256 of them. It knows the
value of an Authorization header (RFC 6750 §2.1) and no other HTTP.
"""

import hashlib
import logging
import re
import secrets
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hmac import compare_digest
from typing import Final

from sqlalchemy import and_, bindparam, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from sqlalchemy.sql.elements import ColumnElement

from models import ApiKey, now
from models import Collection as CollectionRow
from services.caller import ANONYMOUS, SCOPES, Caller
from services.database import Database
from services.errors import (
    ApiKeyNotFound,
    CollectionNotFound,
    Conflict,
    InvalidField,
    KeyInvalid,
    NotSignedIn,
)
from services.failures import Failures
from services.last_use import LastUse
from storage.keys import is_random_name, random_name

KNOWN_FOR: Final = 0.5
"""Seconds for which a process goes on believing in a key, so that all forget it within one."""

LONGEST: Final = 100 * 365 * 86_400
"""Seconds that a key can be asked to live at the most."""

_MOST_KNOWN: Final = 4096
_LONGEST_NAME: Final = 255
_PREFIX: Final = "holdall_"
_SECRET: Final = re.compile(rf"{_PREFIX}[A-Za-z0-9_-]{{43}}")

log = logging.getLogger("holdall.keys")


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """A key as it may be shown at any time. Times are aware UTC."""

    id: str
    name: str
    hint: str
    scopes: tuple[str, ...]
    collection: str | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None

    @property
    def state(self) -> str:
        """`active`, `expired` or `revoked`."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now() else "active"


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that has just been made. Its secret is not to be had again."""

    info: KeyInfo
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who has a key that is good at this moment, and what the key is called."""

    caller: Caller
    name: str


@dataclass(frozen=True, slots=True)
class _Known:
    """A key that was good when it was looked up; `until` is when to look again (monotonic)."""

    digest: bytes
    caller: Caller
    expires_at: datetime | None
    until: float


_BY_DIGEST = select(
    ApiKey.hash, ApiKey.id, ApiKey.scopes, ApiKey.collection, ApiKey.expires_at
).where(ApiKey.hash == bindparam("digest"), ApiKey.revoked_at.is_(None))


class Keys:
    """The use cases on keys. `clock` gives seconds that only grow."""

    def __init__(
        self, database: Database, failures: Failures, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._failures = failures
        self._clock = clock
        self._last_use = LastUse(database)
        self._known: dict[bytes, _Known] = {}

    def create(
        self,
        caller: Caller,
        *,
        name: str,
        scopes: Collection[str],
        collection: str | None = None,
        expires_in: int | None = None,
    ) -> NewKey:
        """Make a key, bound to `collection` if one is given, good for `expires_in` seconds.

        Raises NotSignedIn, NotPermitted, InvalidField and CollectionNotFound.
        """
        caller.require_admin_of_all()
        _check(name, scopes, expires_in)
        secret = _PREFIX + secrets.token_urlsafe(32)
        row = ApiKey(
            id=random_name(),
            name=name.strip(),
            hash=_digest(secret),
            hint=f"{secret[:12]}…{secret[-4:]}",
            scopes=sorted(set(scopes)),
            collection=collection,
            created_at=now(),
            expires_at=None if expires_in is None else now() + timedelta(seconds=expires_in),
        )
        try:
            with self._database.write() as session:
                _require_collection(session, collection)
                session.add(row)
        except IntegrityError as error:
            raise _unknown(collection) from error  # deleted in this moment
        log.info("key created", extra={"key": row.id, "scopes": row.scopes})
        return NewKey(_info(row), secret)

    def all(self, caller: Caller) -> list[KeyInfo]:
        """Return every key, the newest first, ended ones too. Raises as `create` does."""
        caller.require_admin_of_all()
        query = select(ApiKey).order_by(ApiKey.created_at.desc(), ApiKey.id)
        with self._database.read() as session:
            return [_info(row) for row in session.scalars(query)]

    def get(self, caller: Caller, key_id: str) -> KeyInfo:
        """Return one key. Raises ApiKeyNotFound, and as `create` does."""
        caller.require_admin_of_all()
        _require_id(key_id)
        with self._database.read() as session:
            row = session.get(ApiKey, key_id)
        if row is None:
            raise ApiKeyNotFound
        return _info(row)

    def revoke(self, caller: Caller, key_id: str, *, even_last: bool = False) -> None:
        """End a key for good, everywhere within KNOWN_FOR seconds; once more does nothing.

        Raises ApiKeyNotFound, Conflict for the last one that can make keys unless `even_last`, and
        as `create` does.
        """
        caller.require_admin_of_all()
        _require_id(key_id)
        with self._database.write() as session:
            makers = _makers(session)
            if session.get(ApiKey, key_id) is None:
                raise ApiKeyNotFound
            if not even_last and makers == [key_id]:
                raise Conflict("This is the last key that administers the service")
            gone = update(ApiKey).where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None))
            session.execute(gone.values(revoked_at=now()))
        self._known.clear()
        log.info("key revoked", extra={"key": key_id})

    def is_active(self, key_id: str) -> bool:
        """Say whether the key with that id is neither revoked nor expired at this moment."""
        query = select(ApiKey.id).where(ApiKey.id == key_id, active_key())
        with self._database.read() as session:
            return session.scalar(query) is not None

    def authenticate(self, authorization: str | None, address: str | None) -> Caller:
        """Return the caller whose key a request shows, ANONYMOUS for one that shows nothing.

        `authorization` is the header's value, `address` the client's. Raises NotSignedIn for what
        is no Bearer token, KeyInvalid for a wrong, revoked or expired key, and TooManyFailures in
        place of that for a client that goes on showing them.
        """
        if authorization is None:
            return ANONYMOUS
        scheme, _, secret = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise NotSignedIn("This needs a valid API key")
        return self.verify(secret.strip(" "), address)

    def verify(self, secret: str, address: str | None) -> Caller:
        """Return the caller that a key stands for, shown by a client at `address`.

        Raises KeyInvalid and TooManyFailures as `authenticate` does.
        """
        known = self._recognise(secret)
        if known is None:
            self._failures.add(address)
            raise KeyInvalid
        self._last_use.note(known.caller.owner or "")
        return known.caller

    def holder(self, key_id: str) -> Holder | None:
        """Return who has the key with that id, None for one that is revoked, expired or none."""
        if not is_random_name(key_id):
            return None
        columns = (ApiKey.name, ApiKey.scopes, ApiKey.collection)
        query = select(*columns).where(ApiKey.id == key_id, active_key())
        with self._database.connect() as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        self._last_use.note(key_id)
        return Holder(Caller(key_id, frozenset(row.scopes), row.collection), row.name)

    def close(self) -> None:
        """End the thread that writes when keys were used."""
        self._last_use.close()

    def _recognise(self, secret: str) -> _Known | None:
        if not _SECRET.fullmatch(secret):
            return None
        digest = _digest(secret)
        known = self._known.get(digest)
        if known is None or known.until < self._clock():
            known = self._look_up(digest)
        if known is None or not compare_digest(known.digest, digest):
            return None
        expired = known.expires_at is not None and known.expires_at <= now()
        return None if expired else known

    def _look_up(self, digest: bytes) -> _Known | None:
        until = self._clock() + KNOWN_FOR
        with self._database.connect() as connection:
            row = connection.execute(_BY_DIGEST, {"digest": digest}).first()
        if row is None:
            self._known.pop(digest, None)
            return None
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        caller = Caller(row.id, frozenset(row.scopes), row.collection)
        known = self._known[digest] = _Known(row.hash, caller, row.expires_at, until)
        return known


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _check(name: str, scopes: Collection[str], expires_in: int | None) -> None:
    if not (name.strip() and name.isprintable() and len(name) <= _LONGEST_NAME):
        raise InvalidField(f"name: must be 1 to {_LONGEST_NAME} printable characters")
    known = ", ".join(sorted(SCOPES))
    if not scopes:
        raise InvalidField(f"scopes: name at least one of {known}")
    for scope in sorted(set(scopes) - SCOPES):
        raise InvalidField(f"scopes: {scope[:64]!r} is none of {known}")
    if expires_in is not None and not 1 <= expires_in <= LONGEST:
        raise InvalidField(f"expires_in: must be 1 to {LONGEST} seconds")


def _require_collection(session: Session, name: str | None) -> None:
    """Raise CollectionNotFound unless there is one of that name, or none is meant."""
    if name is not None and (not name.isprintable() or session.get(CollectionRow, name) is None):
        raise _unknown(name)


def _unknown(collection: str | None) -> CollectionNotFound:
    return CollectionNotFound(f"No collection is called {(collection or '')[:64]!r}")


def _require_id(key_id: str) -> None:
    """Raise ApiKeyNotFound for what is no id, which a database may choke on."""
    if not is_random_name(key_id):
        raise ApiKeyNotFound


def active_key() -> ColumnElement[bool]:
    alive = or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > now())
    return and_(ApiKey.revoked_at.is_(None), alive)


def _makers(session: Session) -> list[str]:
    """Return the ids of the keys that can make keys, which no other transaction ends meanwhile."""
    query = select(ApiKey).where(active_key(), ApiKey.collection.is_(None)).order_by(ApiKey.id)
    rows = session.scalars(query.with_for_update())
    return [row.id for row in rows if "admin" in row.scopes]


def _info(row: ApiKey) -> KeyInfo:
    return KeyInfo(
        id=row.id,
        name=row.name,
        hint=row.hint,
        scopes=tuple(row.scopes),
        collection=row.collection,
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        revoked_at=row.revoked_at,
    )
