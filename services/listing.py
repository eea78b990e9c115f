"""Pages of files: filtered, searched, sorted, and as quick on the last page as on the first.

A page goes on from where the one before it ended (keyset), never from a count of rows to skip.
Search is an index on the folded name: trigrams for three characters and more, and for shorter
words the beginning of the name. What very many names have is not fetched out of the index: any list
comes upon it soon.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import (
    Select,
    and_,
    column,
    false,
    func,
    literal,
    literal_column,
    select,
    table,
    text,
    true,
    tuple_,
)
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.sql.elements import ColumnElement

from models import File
from services.caller import Caller
from services.counters import total_files
from services.database import Database
from services.errors import InvalidField
from services.filenames import folded
from services.files import SHOWN, FileInfo, belongs_to, is_live, is_trashed

COUNTED: Final = 10_000
"""Matches of a filter that are counted; beyond it the total is said to be inexact."""

SORTS: Final[dict[str, InstrumentedAttribute[Any]]] = {
    "created": File.number,
    "name": File.folded,
    "size": File.size,
    "deleted": File.deleted_at,
}
"""What a list is sorted by; files of the same name or size come in order of arrival.

Only what is in the trash has been `deleted`.
"""

_SEARCH: Final = table("file_search", column("rowid"))
"""SQLite's index of names; its rows have the numbers of their files."""

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

    def page(self, caller: Caller, query: Query) -> Page:
        """Return one page. Raises NotSignedIn and InvalidField."""
        caller.require("read")
        column, descending = _order(query)
        matching = self.matching(caller, query)
        with self._database.read() as session:
            total = self._total(session, caller, query, matching)
        if total > COUNTED:
            matching = self._matching(caller, query, common=True)
        keys = _keys(column, few=query.filtered and total <= COUNTED)
        rows = _after(select(File.number, column, *SHOWN).where(*matching), query, column, keys)
        ways = [each.desc() if descending else each.asc() for each in keys]
        with self._database.read() as session:
            found = session.execute(rows.order_by(*ways).limit(query.limit + 1)).all()
        shown = found[: query.limit]
        more = len(found) > query.limit
        return Page(
            items=[FileInfo(*row[2:]) for row in shown],
            total=min(total, COUNTED) if query.filtered else total,
            total_exact=not query.filtered or total <= COUNTED,
            cursor=_cursor(query.sort, shown[-1][1], shown[-1][0]) if more else None,
        )

    def matching(self, caller: Caller, query: Query) -> list[ColumnElement[bool]]:
        """Return what a file that `query` lists fulfils, whichever page it is on."""
        return self._matching(caller, query, common=False)

    def _matching(self, caller: Caller, query: Query, *, common: bool) -> list[ColumnElement[bool]]:
        """Return the same; `common` says that it is true of very many files."""
        conditions = [is_trashed() if query.trashed else is_live(), belongs_to(caller)]
        if query.collection:
            conditions.append(File.collection == query.collection)
        if query.content_type:
            conditions.append(_of_type(query.content_type.lower()))
        if query.search and (words := folded(query.search.replace("\0", "").strip())):
            if common:
                return [*conditions, self._named_like(words)]
            if len(words) >= 3 and self._database.dialect == "sqlite":
                # Hidden from the planner, or it goes through a whole collection for a rare word.
                conditions = [func.coalesce(and_(*conditions), false())]
            conditions.append(self._named(words))
        return conditions

    def _named(self, words: str) -> ColumnElement[bool]:
        """Match names that contain `words`, through the index of the database in use."""
        if len(words) < 3:
            return and_(File.folded >= words, File.folded < words + "\U0010ffff")
        if self._database.dialect == "sqlite":
            phrase = '"' + words.replace('"', '""') + '"'
            matches = text("file_search MATCH :phrase").bindparams(phrase=phrase)
            return and_(_SEARCH.c.rowid == File.number, matches)
        grams = func.holdall_grams(words)
        contained = literal_column("files.grams").op("@>")(grams)
        return contained & File.folded.contains(words, autoescape=True)

    def _named_like(self, words: str) -> ColumnElement[bool]:
        """Match the same names by a look at each, for words that the next few files will have.

        To fetch all of them out of the index and sort them takes the longer the more there are.
        """
        if len(words) < 3:
            return func.substr(File.folded, 1, len(words)) == words
        place = func.instr if self._database.dialect == "sqlite" else func.strpos
        return place(File.folded, words) > 0

    def _total(
        self, session: Any, caller: Caller, query: Query, matching: list[ColumnElement[bool]]
    ) -> int:
        if not query.filtered:
            owner = None if caller.is_admin else caller.owner
            collection = query.collection or caller.collection
            if caller.collection not in (None, collection):
                return 0
            return total_files(session, collection=collection, owner=owner, trashed=query.trashed)
        some = select(literal(1)).select_from(File).where(*matching).limit(COUNTED + 1)
        return int(session.scalar(select(func.count()).select_from(some.subquery())) or 0)


def _of_type(wanted: str) -> ColumnElement[bool]:
    major, slash, minor = wanted.partition("/")
    if not slash or minor == "*":
        return true() if major == "*" else File.family == major
    return File.content_type == wanted


def _order(query: Query) -> tuple[InstrumentedAttribute[Any], bool]:
    column = SORTS.get(query.sort.removeprefix("-"))
    if column is None:
        raise InvalidField(f"sort is not one of {', '.join(SORTS)}, or one of them after a -")
    if column is File.deleted_at and not query.trashed:
        raise InvalidField("sort is by deletion, which only what is in the trash has")
    return column, query.sort.startswith("-")


def _keys(column: InstrumentedAttribute[Any], *, few: bool) -> list[ColumnElement[Any]]:
    """Return what a list is sorted by. A `few` matches are better sorted than come upon.

    So for these it is put such that no index of it is followed, but one of the filters.
    """
    keys = [column] if column is File.number else [column, File.number]
    return [func.coalesce(each, each) if few else each.expression for each in keys]


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
