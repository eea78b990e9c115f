"""Counts of files and bytes, changed in the very transaction that adds or removes files."""

from collections import defaultdict
from collections.abc import Iterable

from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from models import Counter


def count(session: Session, changes: Iterable[tuple[str, str | None, int]], *, sign: int) -> None:
    """Add (`sign` 1) or take away (-1) files, each given as collection, owner and size in bytes.

    Rows are changed in a fixed order, so that two transactions never wait for each other.
    """
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for collection, owner, size in changes:
        entry = sums[collection, owner or ""]
        entry[0] += sign
        entry[1] += sign * size
    dialect = session.get_bind().dialect.name
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    for (collection, owner_or_none), (files, size) in sorted(sums.items()):
        new = insert(Counter).values(
            collection=collection, owner=owner_or_none, files=files, bytes=size
        )
        session.execute(
            new.on_conflict_do_update(
                index_elements=[Counter.collection, Counter.owner],
                set_={
                    "files": Counter.files + new.excluded.files,
                    "bytes": Counter.bytes + new.excluded.bytes,
                },
            )
        )


def total_files(session: Session, *, collection: str | None, owner: str | None) -> int:
    """Return how many files there are, of one collection or one owner where these are given."""
    query = select(func.coalesce(func.sum(Counter.files), 0))
    if collection is not None:
        query = query.where(Counter.collection == collection)
    if owner is not None:
        query = query.where(Counter.owner == owner)
    return int(session.scalar(query) or 0)
