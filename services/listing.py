"""Pages of files: filtered, searched, sorted, and as quick on the last page as on the first.

A page goes on from where the one before it ended (keyset), never from a count of rows to skip.
How the matches are come by is `services.leading`'s to say.
"""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from sqlalchemy import Select, and_, func, literal, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.sql.elements import ColumnElement

from models import File
from services.caller import Caller
from services.counters import total_files
from services.database import Database
from services.errors import InvalidField
from services.filenames import folded
from services.files import SHOWN, FileInfo, is_live, is_ready
from services.leading import Asked, Leading, Way

SORTS: Final[dict[str, InstrumentedAttribute[Any]]] = {
    "created": File.number,
    "name": File.folded,
    "size": File.size,
    "deleted": File.deleted_at,
}
"""What a list is sorted by; files of the same name or size come in order of arrival.

Only what is in the trash has been `deleted`.
"""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_LATEST: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND


@dataclass(frozen=True, slots=True)
class Query:
    """What to list. `sort` is a name of SORTS, with `-` before it for descending order.

    `trashed` asks for what is in the trash, in place of all else.
    """

    limit: int = 50
    cursor: str | None = None
    search: str | None = None
    content_type: str | None = None
    collection: str | None = None
    sort: str = "-created"
    trashed: bool = False

    @property
    def filtered(self) -> bool:
        """Whether the counters cannot tell the total."""
        return bool(self.search or self.content_type)


@dataclass(frozen=True, slots=True)
class Page:
    """One page. `cursor` leads to the next and is None on the last."""

    items: Sequence[FileInfo]
    total: int
    total_exact: bool
    cursor: str | None


class Listing:
    """List the files that a caller may see."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._leading = Leading(database.dialect)

    def page(self, caller: Caller, query: Query) -> Page:
        """Return one page. Raises NotSignedIn and InvalidField."""
        caller.require("read")
        column, descending = _order(query)
        with self._database.read() as session:
            way = self._leading.way(session, _asked(session, caller, query))
            keys = _keys(column, way)
            ways = [each.desc() if descending else each.asc() for each in keys]
            rows = select(File.number, column, *SHOWN).where(*way.conditions)
            rows = _after(rows, query, column, keys).order_by(*ways)
            found = session.execute(rows.limit(query.limit + 1)).all()
        shown = found[: query.limit]
        more = len(found) > query.limit
        return Page(
            items=[FileInfo(*row[2:]) for row in shown],
            total=way.total if way.exact else max(way.total, len(shown)),
            total_exact=way.exact,
            cursor=_cursor(query.sort, shown[-1][1], shown[-1][0]) if more else None,
        )

    def matching(self, caller: Caller, query: Query) -> list[ColumnElement[bool]]:
        """Return what a file that `query` lists fulfils, whichever page it is on."""
        return self._leading.matching(_asked(None, caller, query))


def _asked(session: Session | None, caller: Caller, query: Query) -> Asked:
    """Put together what is asked for; without a session, its sizes are not."""
    filters = _filters(caller, query)
    known: dict[str, int] = {}
    total, among = 0, 0
    if session is not None:
        count = partial(total_files, session, trashed=query.trashed)
        wanted = {caller.collection, query.collection} - {None}
        collection, owner = (*wanted, None)[0], None if caller.is_admin else caller.owner
        total = count(collection=collection, owner=owner) if len(wanted) < 2 else 0
        among = total_files(session, collection=None, owner=None) if query.trashed else total
        if len(filters) > 1 or query.filtered:
            known = _known(count, collection, owner, filters, total)
    return Asked(
        there=is_ready() if query.trashed else is_live(),
        filters=filters,
        words=folded((query.search or "").replace("\0", "").strip()),
        sort=_order(query)[0],
        known=known,
        total=None if query.filtered else total,
        among=among,
    )


def _known(
    count: Callable[..., int],
    collection: str | None,
    owner: str | None,
    filters: Mapping[str, Any],
    total: int,
) -> dict[str, int]:
    """Return the sizes of the filters that the counters know."""
    if "deleted_at" in filters:
        return {"deleted_at": count(collection=None, owner=None)}
    if not {"collection", "owner"} <= {*filters}:
        return dict.fromkeys({"collection", "owner"} & {*filters}, total)
    return {
        "collection": count(collection=collection, owner=None),
        "owner": count(collection=None, owner=owner),
    }


def _filters(caller: Caller, query: Query) -> dict[str, ColumnElement[bool]]:
    """Return the conditions besides that a file is there, by the column that each is of."""
    filters: dict[str, ColumnElement[bool]] = {}
    wanted = {caller.collection, query.collection} - {None}
    if wanted:
        filters["collection"] = and_(*(File.collection == each for each in wanted))
    if not caller.is_admin:
        filters["owner"] = File.owner == caller.owner
    major, slash, minor = (query.content_type or "*").lower().partition("/")
    if slash and minor != "*":
        filters["content_type"] = File.content_type == f"{major}/{minor}"
    elif major != "*":
        filters["family"] = File.family == major
    if query.trashed:
        filters["deleted_at"] = File.deleted_at.is_not(None)
    return filters


def _order(query: Query) -> tuple[InstrumentedAttribute[Any], bool]:
    column = SORTS.get(query.sort.removeprefix("-"))
    if column is None:
        raise InvalidField(f"sort is not one of {', '.join(SORTS)}, or one of them after a -")
    if column is File.deleted_at and not query.trashed:
        raise InvalidField("sort is by deletion, which only what is in the trash has")
    return column, query.sort.startswith("-")


def _keys(column: InstrumentedAttribute[Any], way: Way) -> list[ColumnElement[Any]]:
    """Return what a list is sorted by: where it is to be sorted, such that no index has it."""
    keys = [way.number] if column is File.number else [column.expression, way.number]
    return [func.coalesce(each, each) for each in keys] if way.sorts else keys


def _after(
    rows: Select[*tuple[Any, ...]],
    query: Query,
    column: InstrumentedAttribute[Any],
    keys: Sequence[ColumnElement[Any]],
) -> Select[*tuple[Any, ...]]:
    """Keep the rows that come after the cursor."""
    if query.cursor is None:
        return rows
    value, number = _position(query.cursor, query.sort)
    place = _moment(value) if column is File.deleted_at else value
    here = literal(place, column.type)
    last = tuple_(*([number] if column is File.number else [here, number]))
    place_of = tuple_(*keys)
    return rows.where(place_of < last if query.sort.startswith("-") else place_of > last)


def _cursor(sort: str, value: object, number: int) -> str:
    place = (value - _EPOCH) // _MICROSECOND if isinstance(value, datetime) else value
    written = json.dumps([sort, place, number], ensure_ascii=False).encode()
    return base64.urlsafe_b64encode(written).decode().rstrip("=")


def _position(cursor: str, sort: str) -> tuple[str | int, int]:
    """Read a cursor that `_cursor` made for the same order. Raises InvalidField."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        made_for, value, number = json.loads(base64.urlsafe_b64decode(padded))
        str(value).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidField("cursor is not one that a list gave") from error
    wanted = str if sort.removeprefix("-") == "name" else int
    if made_for != sort or type(number) is not int or type(value) is not wanted:
        raise InvalidField("cursor belongs to a list in another order")
    in_range = all(0 <= part < 2**63 for part in (value, number) if isinstance(part, int))
    if not in_range or "\0" in str(value):
        raise InvalidField("cursor is not one that a list gave")
    return value, number


def _moment(microseconds: str | int) -> datetime:
    """Return a moment out of a cursor: microseconds since 1970. Raises InvalidField."""
    if not isinstance(microseconds, int) or microseconds > _LATEST:
        raise InvalidField("cursor is not one that a list gave")
    return _EPOCH + microseconds * _MICROSECOND
