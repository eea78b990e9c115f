"""How much is used, by a key or of a collection: what is there, and what uploads on their way hold.

What is in the trash is there, and told apart besides.

Room is held only where a quota asks for it, so elsewhere nothing shows as reserved.
"""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Select, and_, func, select
from sqlalchemy.sql.elements import ColumnElement

from models import ApiKey, Collection, Counter, Reservation, now
from services.caller import Caller
from services.collection_fields import is_name
from services.database import Database
from services.errors import ApiKeyNotFound, CollectionNotFound, NotSignedIn

_NO_OWNER: Final = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """What is used of one collection; the limits are those of the collection as a whole.

    What is in the trash is part of `files` and `bytes`.
    """

    collection: str
    files: int
    bytes: int
    trashed_files: int
    trashed_bytes: int
    reserved_files: int
    reserved_bytes: int
    max_files: int | None
    max_bytes: int | None


class Usages:
    """Ask how much is used."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_caller(self, caller: Caller) -> list[Usage]:
        """Return what the caller's own files and uploads use, by collection.

        Raises NotSignedIn.
        """
        if not caller.scopes:
            raise NotSignedIn("This needs an API key")
        return self._of_owner(caller.owner)

    def of_key(self, caller: Caller, key_id: str) -> list[Usage]:
        """Return what the files and uploads of a key use, by collection.

        Raises NotSignedIn, NotPermitted and ApiKeyNotFound.
        """
        caller.require_admin_of_all()
        known = False
        if "\0" not in key_id:  # which PostgreSQL has no text for
            with self._database.read() as session:
                known = session.get(ApiKey, key_id) is not None
        if not known:
            raise ApiKeyNotFound
        return self._of_owner(key_id)

    def of_collection(self, caller: Caller, name: str) -> Usage:
        """Return what is used of one collection by all. For those who administer it.

        Raises NotSignedIn, NotPermitted and CollectionNotFound.
        """
        caller.require("admin")
        found: list[Usage] = []
        if is_name(name) and caller.collection in (None, name):
            found = self._usages(
                Counter.collection == Collection.name,
                Reservation.collection == Collection.name,
                select(Collection).where(Collection.name == name),
            )
        if not found:
            raise CollectionNotFound(f"No collection is called {name[:64]!r}")
        return found[0]

    def _of_owner(self, owner: str | None) -> list[Usage]:
        mine = and_(Counter.collection == Collection.name, Counter.owner == (owner or _NO_OWNER))
        whose = Reservation.owner.is_(None) if owner is None else Reservation.owner == owner
        holds = and_(Reservation.collection == Collection.name, whose)
        every = select(Collection).order_by(Collection.name)
        found = self._usages(mine, holds, every)
        return [each for each in found if each.files or each.reserved_files or each.reserved_bytes]

    def _usages(
        self, counted: ColumnElement[bool], held: ColumnElement[bool], whose: Select[Any]
    ) -> list[Usage]:
        """Sum up by collection: each sum looks into an index that begins with its name."""
        live = and_(held, Reservation.expires_at > now())
        query = whose.with_only_columns(
            Collection.name,
            _sum(Counter.files, counted),
            _sum(Counter.bytes, counted),
            _sum(Counter.trashed_files, counted),
            _sum(Counter.trashed_bytes, counted),
            _sum(Reservation.files, live),
            _sum(Reservation.bytes, live),
            Collection.max_files,
            Collection.max_bytes,
        )
        with self._database.read() as session:
            return [
                Usage(row[0], *(int(each) for each in row[1:7]), *row[7:])
                for row in session.execute(query)
            ]


def _sum(column: Any, condition: ColumnElement[bool]) -> Any:
    total = select(func.coalesce(func.sum(column), 0)).where(condition)
    return total.correlate(Collection).scalar_subquery()
