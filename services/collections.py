"""Collections: named policies that files belong to. Made, changed, looked up and deleted here.

What a collection asks of files is held against them elsewhere (`services.policy`,
`services.quotas`, `services.delivery`); here it is only made sure that it can be asked. It knows
no HTTP and no command line.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from sqlalchemy import delete, null, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from models import ApiKey, Collection, Counter, File, Reservation, Upload, now
from services.caller import DEFAULT_COLLECTION, Caller
from services.collection_fields import DEFAULTS, checked, checked_name, is_name
from services.database import Database
from services.errors import CollectionNotFound, Conflict, InvalidField
from services.upload_rows import EXPIRED

log = logging.getLogger("holdall.collections")


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """A collection as the API shows it: sizes in bytes, spans in seconds, None for no limit."""

    name: str
    visibility: str
    allowed_types: list[str] | None
    on_mismatch: str
    max_size: int | None
    max_files: int | None
    max_bytes: int | None
    expires_in: int | None
    backend: str | None
    delivery: str
    cache_max_age: int
    created_at: datetime
    updated_at: datetime


_SHOWN: Final = tuple(getattr(Collection, each.name) for each in fields(CollectionInfo))


class Collections:
    """The use cases on collections. `backends` are the names of those that are configured."""

    def __init__(self, database: Database, backends: Iterable[str]) -> None:
        self._database = database
        self._backends = frozenset(backends)

    def all(self, caller: Caller) -> list[CollectionInfo]:
        """Return the collections that `caller` may use, by name. Raises NotSignedIn."""
        caller.require("read")
        query = select(*_SHOWN).order_by(Collection.name)
        if caller.collection is not None:
            query = query.where(Collection.name == caller.collection)
        with self._database.read() as session:
            return [CollectionInfo(*row) for row in session.execute(query)]

    def get(self, caller: Caller, name: str) -> CollectionInfo:
        """Return one collection. Raises NotSignedIn and CollectionNotFound."""
        caller.require("read")
        if not is_name(name) or caller.collection not in (None, name):
            raise _unknown(name)
        with self._database.read() as session:
            row = session.execute(select(*_SHOWN).where(Collection.name == name)).first()
        if row is None:
            raise _unknown(name)
        return CollectionInfo(*row)

    def put(
        self, caller: Caller, name: str, given: Mapping[str, Any]
    ) -> tuple[CollectionInfo, bool]:
        """Make collection `name` what is given, the rest as by default; say whether it is new.

        Files that are there stay as they are. Raises NotSignedIn, NotPermitted and InvalidField.
        """
        return self.set(caller, name, {**DEFAULTS, **given})

    def set(
        self, caller: Caller, name: str, given: Mapping[str, Any]
    ) -> tuple[CollectionInfo, bool]:
        """Change what is given of collection `name`, made if need be; say whether it is new.

        Raises as `put` does.
        """
        caller.require_admin_of_all()
        values = self._checked(given)
        with self._database.write() as session:
            new = _insert(session, checked_name(name))
            info = _update(session, name, values)
        log.info("collection made" if new else "collection changed", extra={"collection": name})
        return info, new

    def change(self, caller: Caller, name: str, given: Mapping[str, Any]) -> CollectionInfo:
        """Change what is given of a collection. Raises as `put` does, and CollectionNotFound."""
        caller.require_admin_of_all()
        values = self._checked(given)
        if not is_name(name):
            raise _unknown(name)
        with self._database.write() as session:
            info = _update(session, name, values)
        log.info("collection changed", extra={"collection": name})
        return info

    def delete(self, caller: Caller, name: str) -> None:
        """Delete a collection that nothing belongs to any more.

        Raises NotSignedIn, NotPermitted, CollectionNotFound, and Conflict for one that is in use
        and for `default`.
        """
        caller.require_admin_of_all()
        if name == DEFAULT_COLLECTION:
            raise Conflict(f"The collection {name} always stays")
        if not is_name(name):
            raise _unknown(name)
        try:
            with self._database.write() as session:
                _lock(session, name)
                _require_unused(session, name)
                _remove(session, name)
        except IntegrityError as error:
            raise Conflict(f"The collection {name} has come into use") from error
        log.info("collection deleted", extra={"collection": name})

    def _checked(self, given: Mapping[str, Any]) -> dict[str, Any]:
        values = checked(given)
        backend = values.get("backend")
        if backend is not None and backend not in self._backends:
            known = ", ".join(sorted(self._backends))
            raise InvalidField(f"backend is not one that is configured: {known}")
        if "allowed_types" in values and values["allowed_types"] is None:
            values["allowed_types"] = null()  # None would be JSON's null, a value
        return values


def _insert(session: Session, name: str) -> bool:
    """Make a collection as by default, and say whether there was none."""
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    values = {"name": name, "created_at": now(), "updated_at": now(), **DEFAULTS}
    values["allowed_types"] = null()
    new = insert(Collection).values(values).on_conflict_do_nothing()
    return session.execute(new.returning(Collection.name)).first() is not None


def _update(session: Session, name: str, values: Mapping[str, Any]) -> CollectionInfo:
    changed = update(Collection).where(Collection.name == name)
    row = session.execute(
        changed.values({**values, "updated_at": now()}).returning(*_SHOWN),
        execution_options={"synchronize_session": False},
    ).first()
    if row is None:
        raise _unknown(name)
    return CollectionInfo(*row)


def _lock(session: Session, name: str) -> None:
    """Have whatever would refer to the collection wait. Raises CollectionNotFound."""
    found = session.execute(
        select(Collection.name).where(Collection.name == name).with_for_update()
    )
    if found.first() is None:
        raise _unknown(name)


def _require_unused(session: Session, name: str) -> None:
    """Raise Conflict when files, uploads or keys belong to a collection."""
    # What is left of an upload that has expired only tells its client so.
    live = or_(Upload.state != EXPIRED, Upload.key != "")
    good = ApiKey.revoked_at.is_(None)
    held = Reservation.expires_at > now()
    uses = (
        ("files", select(File.number).where(File.collection == name)),
        ("keys", select(ApiKey.id).where(ApiKey.collection == name, good)),
        ("uploads under way", select(Upload.id).where(Upload.collection == name, live)),
        ("uploads under way", select(Reservation.id).where(Reservation.collection == name, held)),
    )
    for what, query in uses:
        if session.execute(query.limit(1)).first() is not None:
            raise Conflict(f"The collection {name} still has {what}")


def _remove(session: Session, name: str) -> None:
    # Revoked keys stay on the list, and open nothing any more.
    session.execute(update(ApiKey).where(ApiKey.collection == name).values(collection=None))
    for column in (Reservation.collection, Upload.collection, Counter.collection):
        session.execute(delete(column.class_).where(column == name))
    session.execute(delete(Collection).where(Collection.name == name))


def _unknown(name: str) -> CollectionNotFound:
    return CollectionNotFound(f"No collection is called {name[:64]!r}")
