"""Counts of files and bytes, changed in the very transaction that adds, trashes or removes files.

What is in the trash is counted twice: among all files, as its bytes are still there, and by itself.
"""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import Insert, bindparam, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from models import Base, Counter
from services.database import Writing
from services.statements import Prepared

Change = tuple[str, str | None, int]
"""A file: its collection, its owner, and its size in bytes."""

_SUMS: Final = ("files", "bytes", "trashed_files", "trashed_bytes")


def count(
    session: Writing, files: Iterable[Change] = (), *, sign: int, trashed: Iterable[Change] = ()
) -> None:
    """Add (`sign` 1) or take away (-1) `files`, and those in the trash, which are told apart.

    Rows are changed in a fixed order, so that two transactions never wait for each other.
    """
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for first, changes in ((0, files), (2, trashed)):
        for collection, owner, size in changes:
            entry = sums[collection, owner or ""]
            entry[first] += sign
            entry[first + 1] += sign * size
    rows = [
        {"collection": collection, "owner": owner, **dict(zip(_SUMS, entry, strict=True))}
        for (collection, owner), entry in sorted(sums.items())
    ]
    if rows:
        _ADD.run(session, rows)


def _upsert(dialect: str) -> Insert:
    """Return the statement that adds to a counter or begins one."""
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    counters = Base.metadata.tables[Counter.__tablename__]
    new = insert(counters)
    sums = {name: counters.c[name] + new.excluded[name] for name in _SUMS}
    given: dict[str, Any] = {name: bindparam(name) for name in ("collection", "owner", *_SUMS)}
    return new.values(**given).on_conflict_do_update(
        index_elements=["collection", "owner"], set_=sums
    )


_ADD: Final = Prepared(_upsert, ("collection", "owner", *_SUMS))


def total_files(
    session: Session, *, collection: str | None, owner: str | None, trashed: bool = False
) -> int:
    """Return how many files there are, of one collection or one owner where these are given.

    Those in the trash alone, or all others.
    """
    number = Counter.trashed_files if trashed else Counter.files - Counter.trashed_files
    query = select(func.coalesce(func.sum(number), 0))
    if collection is not None:
        query = query.where(Counter.collection == collection)
    if owner is not None:
        query = query.where(Counter.owner == owner)
    return int(session.scalar(query) or 0)
