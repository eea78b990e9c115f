"""Counts of files and bytes, changed in the very transaction that adds or removes files."""

from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from typing import Any

from sqlalchemy import Insert, bindparam, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from models import Base, Counter


def count(session: Session, changes: Iterable[tuple[str, str | None, int]], *, sign: int) -> None:
    """Add (`sign` 1) or take away (-1) files, each given as collection, owner and size in bytes.

    Rows are changed in a fixed order, so that two transactions never wait for each other.
    """
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for collection, owner, size in changes:
        entry = sums[collection, owner or ""]
        entry[0] += sign
        entry[1] += sign * size
    upsert = _upsert(session.get_bind().dialect.name)
    for (collection, owner_or_none), (files, size) in sorted(sums.items()):
        new = {"collection": collection, "owner": owner_or_none, "files": files, "bytes": size}
        session.execute(upsert, new)


@cache
def _upsert(dialect: str) -> Insert:
    """Return the statement that adds to a counter or begins one; made once, as it is costly."""
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    counters = Base.metadata.tables[Counter.__tablename__]
    new = insert(counters)
    sums = {name: counters.c[name] + new.excluded[name] for name in ("files", "bytes")}
    given: dict[str, Any] = {
        name: bindparam(name) for name in ("collection", "owner", "files", "bytes")
    }
    return new.values(**given).on_conflict_do_update(
        index_elements=["collection", "owner"], set_=sums
    )


def total_files(session: Session, *, collection: str | None, owner: str | None) -> int:
    """Return how many files there are, of one collection or one owner where these are given."""
    query = select(func.coalesce(func.sum(Counter.files), 0))
    if collection is not None:
        query = query.where(Counter.collection == collection)
    if owner is not None:
        query = query.where(Counter.owner == owner)
    return int(session.scalar(query) or 0)
