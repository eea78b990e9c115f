"""Which condition of a list leads to its files, the others being looked at in each: the rarest.

    the rarest of the filters ─┐
                               ├─▸ the rarer of both ─▸ matches: in their order, or to be sorted
    words, in their index ─────┘

Each filter leads through an index of its own, and words through the index of names: trigrams for
three characters and more, and for fewer the beginning of the name. How many files a filter has is
known from the counters, or counted in its index. No count goes on beyond a bound, so that none
takes the longer the more files there are; a total over its bound is said to be inexact.

It must not know who asks, nor what a page is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    case,
    column,
    false,
    func,
    literal,
    literal_column,
    select,
    table,
)
from sqlalchemy.orm import InstrumentedAttribute, Session

from models import File

COUNTED: Final = 5_000
"""Files that are counted in an index alone."""

LOOKED_AT: Final = 1_000
"""Files that are looked at to count those that match."""

WORTH: Final = 20
"""How few matches are rather sorted than come upon by a walk through all files in their order.

The walk to a page takes the longer the fewer there are of more files, so it is the square root of
this times the files: some 450 of 10,000, and all that COUNTED allows of a million and more.
"""

COMMON: Final = 20
"""Matches among LOOKED_AT files that make words common ones."""

_SEARCH: Final = table("file_search", column("rowid"))
"""SQLite's index of names; its rows have the numbers of their files."""

Condition = ColumnElement[bool]
Names = tuple[str, ...]

TRASH: Final[Names] = ("deleted_at",)
"""The filter of what is in the trash, which leads wherever it is: it has an index of each order."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a list asks for: files that are `there`, the filters by the names of their columns, and
    the words. What is in the trash is there, too, and found by a filter of `deleted_at`.

    `known` are the sizes of filters that the counters know, `total` is that of the list where they
    know it, and `among` that of all files that a walk goes through.
    """

    there: Condition
    filters: Mapping[str, Condition]
    words: str
    sort: InstrumentedAttribute[Any]
    known: Mapping[str, int]
    total: int | None
    among: int

    @property
    def few(self) -> int:
        """How many are rather sorted than come upon; what is more than COUNTED is never known."""
        return min(isqrt(WORTH * self.among), COUNTED)


@dataclass(frozen=True, slots=True)
class Way:
    """How to come by the matches. `number` is that of a file, as what leads has it.

    `sorts` says that all of them are fetched and sorted.
    """

    conditions: Sequence[Condition]
    total: int
    exact: bool
    sorts: bool = False
    number: ColumnElement[int] = File.number.expression


class Leading:
    """Find the way, by what a database can do."""

    def __init__(self, dialect: str) -> None:
        self._sqlite = dialect == "sqlite"

    def way(self, session: Session, asked: Asked) -> Way:
        """Return the way to the matches."""
        sizes = self._sizes(session, asked)
        if not asked.words:
            return self._by_filter(session, asked, sizes)
        if self._is_rarer(session, asked, sizes):
            return self._by_filter(session, asked, sizes)
        if len(asked.words) < 3 or self._sqlite:
            return self._by_name(session, asked, sizes)
        return self._by_name_unless_common(session, asked, sizes)

    def _is_rarer(self, session: Session, asked: Asked, sizes: dict[Names, int]) -> bool:
        """Say whether fewer files have one of the filters than have the words."""
        size = min(sizes.values(), default=asked.among)
        if TRASH in sizes and (self._sqlite or len(asked.words) < 3):
            size = min(size, LOOKED_AT)
        return size <= asked.few and self._named(session, asked.words, size) >= size

    def matching(self, asked: Asked) -> list[Condition]:
        """Return what the matches fulfil, by a way that asks the database nothing before."""
        conditions = [asked.there, *asked.filters.values()]
        if not asked.words:
            return conditions
        return [self._hidden(*conditions), self._indexed(asked.words)]

    def _sizes(self, session: Session, asked: Asked) -> dict[Names, int]:
        """Return how many files each filter has that can lead, or those that lead together.

        What has to be counted is counted no further than one over COUNTED.
        """
        leads = _leads([*asked.filters])
        if asked.total is not None and len(leads) < 2:
            return dict.fromkeys(leads, asked.total)
        return {names: self._size(session, asked, names) for names in leads}

    def _size(self, session: Session, asked: Asked, names: Names) -> int:
        if len(names) == 1 and names[0] in asked.known:
            return asked.known[names[0]]
        conditions = [asked.there, *(asked.filters[name] for name in names)]
        some = select(literal(1)).select_from(File).where(*conditions).limit(COUNTED + 1)
        return session.scalar(select(func.count()).select_from(some.subquery())) or 0

    def _by_filter(self, session: Session, asked: Asked, sizes: dict[Names, int]) -> Way:
        lead, size = _rarest(sizes)
        leading, others = _parted(asked, lead)
        if asked.words:
            others.append(self._looked_for(asked.words))
        total, exact = min(size, COUNTED), size <= COUNTED
        if asked.total is not None:
            total, exact = asked.total, True
        elif others:
            total, exact = self._look(session, leading, others)
        in_order = asked.sort is File.number or len(asked.filters) < 2 or lead == TRASH
        if not in_order and size > asked.few:
            return self._walk(asked, sizes, total, exact=exact)
        hidden = [self._hidden(*others)] if others else []
        return Way([*leading, *hidden], total, exact, sorts=not in_order)

    def _by_name(self, session: Session, asked: Asked, sizes: dict[Names, int]) -> Way:
        others = self._hidden(asked.there, *asked.filters.values())
        named = self._indexed(asked.words)
        total, exact = self._look(session, [named], [others])
        if asked.sort is File.number and self._sqlite and len(asked.words) > 2:
            # The index has the numbers in their order.
            return Way([others, named], total, exact, number=_SEARCH.c.rowid)
        if asked.sort is File.folded and len(asked.words) < 3:
            return Way([others, named], total, exact)
        if self._named(session, asked.words, asked.few) <= asked.few:
            return Way([others, named], total, exact, sorts=True)
        return self._walk(asked, sizes, total, exact=exact)

    def _by_name_unless_common(
        self, session: Session, asked: Asked, sizes: dict[Names, int]
    ) -> Way:
        """Look among the newest before: PostgreSQL fetches all matches out of its index at once."""
        leading, others = _parted(asked, _rarest(sizes)[0])
        others.append(self._looked_for(asked.words))
        newest = File.deleted_at if TRASH in sizes else File.number
        total, exact = self._look(session, leading, others, [newest.desc()])
        if exact or total > COMMON:
            return self._walk(asked, sizes, total, exact=exact)
        return self._by_name(session, asked, sizes)

    def _walk(self, asked: Asked, sizes: dict[Names, int], total: int, *, exact: bool) -> Way:
        """Come upon the matches in the order of the list: any one filter has an index of each."""
        if asked.sort is not File.number:
            sizes = {names: size for names, size in sizes.items() if len(names) == 1}
        lead, _ = _rarest(sizes)
        leading, others = _parted(asked, lead)
        if asked.words:
            others.append(self._looked_for(asked.words))
        return Way([*leading, *([self._hidden(*others)] if others else [])], total, exact)

    def _look(
        self,
        session: Session,
        leading: Sequence[Condition],
        others: Sequence[Condition],
        order: Sequence[ColumnElement[Any]] = (),
    ) -> tuple[int, bool]:
        """Return how many match of the first that lead, and whether there are no more of these."""
        matches = case((and_(*others), 1), else_=0).label("matches")
        looked_at = select(matches).where(*leading).order_by(*order).limit(LOOKED_AT + 1)
        each = looked_at.subquery().c.matches
        row = session.execute(select(func.count(), func.coalesce(func.sum(each), 0))).one()
        return int(row[1]), row[0] <= LOOKED_AT

    def _named(self, session: Session, words: str, most: int) -> int:
        """Count names in their index alone, no further than one over `most`."""
        some = self._names(words).limit(most + 1).subquery()
        return session.scalar(select(func.count()).select_from(some)) or 0

    def _names(self, words: str) -> Select[Any]:
        """Select the numbers of files by the index of names alone."""
        if self._sqlite and len(words) > 2:
            return select(_SEARCH.c.rowid).where(_match(words))
        return select(File.number).where(self._indexed(words))

    def _indexed(self, words: str) -> Condition:
        """Match names that contain `words`, through the index of the database in use."""
        if len(words) < 3:
            return and_(File.folded >= words, File.folded < words + "\U0010ffff")
        if self._sqlite:
            return and_(_SEARCH.c.rowid == File.number, _match(words))
        grams = func.holdall_grams(words)
        contained = literal_column("files.grams").op("@>")(grams)
        return contained & File.folded.contains(words, autoescape=True)

    def _looked_for(self, words: str) -> Condition:
        """Match the same names by a look at each."""
        if len(words) < 3:
            return func.substr(File.folded, 1, len(words)) == words
        place = func.instr if self._sqlite else func.strpos
        return place(File.folded, words) > 0

    def _hidden(self, *conditions: Condition) -> Condition:
        """Keep SQLite, which has no figures of how rare things are, from being led by these."""
        return func.coalesce(and_(*conditions), false()) if self._sqlite else and_(*conditions)


def _leads(names: Sequence[str]) -> list[Names]:
    """Return which filters can lead: each by itself, and those that have an index together."""
    if TRASH[0] in names:
        return [TRASH]
    beside = [name for name in ("collection", "owner") if name in names and "family" in names]
    return [*((name, "family") for name in beside), *((name,) for name in names)]


def _rarest(sizes: Mapping[Names, int]) -> tuple[Names, int]:
    return min(sizes.items(), key=lambda each: each[1], default=((), 0))


def _parted(asked: Asked, lead: Names) -> tuple[list[Condition], list[Condition]]:
    """Return what leads, and the other filters."""
    others = [each for name, each in asked.filters.items() if name not in lead]
    return [asked.there, *(asked.filters[name] for name in lead)], others


def _match(words: str) -> ColumnElement[bool]:
    phrase = '"' + words.replace('"', '""') + '"'
    matches = literal_column("file_search").op("MATCH")
    return matches(phrase)
