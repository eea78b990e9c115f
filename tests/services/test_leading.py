"""Lists are right whichever condition leads to their files: held against a look at every row."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest
from sqlalchemy import Row, select

from app import Holdall
from models import File
from services.caller import EVERYONE, Caller
from services.filenames import folded
from services.listing import SORTS, Query
from tests.conftest import MakeApp, parts
from tests.services.growing import KEY, filled
from tests.services.uploading import database_of
from tests.support.servers import PostgresServer

FILES = 1_000
BOUNDS: tuple[dict[str, int], ...] = (
    {},
    {"COUNTED": 30, "LOOKED_AT": 10, "COMMON": 1, "WORTH": 1},
    {"COUNTED": 30, "LOOKED_AT": 10, "COMMON": 10**6, "WORTH": 10**6},
    {"COUNTED": 0, "LOOKED_AT": 0, "COMMON": 0, "WORTH": 0},
)
WORDS = (None, "needle", "harbour", ".jpg", "04", "h", "r 00", "zeppelin", 'a"b', "%")
FILTERS: tuple[dict[str, Any], ...] = (
    {},
    {"content_type": "image/*"},
    {"content_type": "application/pdf"},
    {"content_type": "model/stl"},
    {"collection": "papers"},
    {"collection": "photos", "content_type": "image/*"},
)


@pytest.fixture(params=("sqlite", "postgresql"))
def app(request: pytest.FixtureRequest, app_with: MakeApp) -> Holdall:
    if request.param == "sqlite":
        return filled(app_with(), FILES)
    server: PostgresServer = request.getfixturevalue("postgres_server")
    like = request.getfixturevalue("upgraded_database")
    return filled(app_with(DATABASE_URL=server.fresh_database(like=like)), FILES)


@pytest.fixture
def every(app: Holdall) -> Sequence[Row[*tuple[Any, ...]]]:
    columns = ("id", "number", "collection", "owner", "content_type", "size", "folded")
    with database_of(app).read() as session:
        query = select(*(getattr(File, name) for name in columns), File.deleted_at)
        return session.execute(query.order_by(File.number)).all()


@pytest.mark.parametrize("bounds", BOUNDS, ids=("as-it-is", "walks", "sorts", "none"))
def test_a_list_has_what_a_look_at_every_file_finds(
    app: Holdall, every: Sequence[Any], bounds: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in bounds.items():
        monkeypatch.setattr(f"services.leading.{name}", value)
    listing, wrong = parts(app).listing, []
    sorts = ("-created", "name", "-size")
    cases = product((EVERYONE, KEY), FILTERS, WORDS, (False, True), sorts)
    for number, (caller, chosen, words, trashed, sort) in enumerate(cases):
        if number % 13:  # some of every kind, as no part comes thirteen times
            continue
        query = Query(limit=7, search=words, trashed=trashed, sort=sort, **chosen)
        wanted = [row.id for row in ordered(matching(every, caller, query), query)]
        first = listing.page(caller, query)
        found = [item.id for item in first.items]
        if first.cursor:
            following = Query(
                limit=7, search=words, trashed=trashed, sort=sort, cursor=first.cursor, **chosen
            )
            found += [item.id for item in listing.page(caller, following).items]
        right = first.total == len(wanted) if first.total_exact else first.total <= len(wanted)
        if found != wanted[:14] or not right or bool(first.cursor) != (len(wanted) > 7):
            wrong.append((caller.owner, query, first.total, first.total_exact, len(wanted)))
    assert wrong == []


def matching(every: Sequence[Any], caller: Caller, query: Query) -> list[Any]:
    return [row for row in every if _is_listed(row, caller, query)]


def _is_listed(row: Any, caller: Caller, query: Query) -> bool:
    words = folded(query.search or "")
    named = row.folded.startswith(words) if len(words) < 3 else words in row.folded
    kind = query.content_type or row.content_type
    return (
        named
        and (row.deleted_at is not None) is query.trashed
        and (caller.is_admin or row.owner == caller.owner)
        and query.collection in (None, row.collection)
        and (row.content_type == kind or row.content_type.startswith(kind.rstrip("*")))
    )


def ordered(rows: list[Any], query: Query) -> list[Any]:
    column = SORTS[query.sort.removeprefix("-")].key
    rows.sort(key=lambda row: (getattr(row, column), row.number))
    return rows[::-1] if query.sort.startswith("-") else rows
