"""Growth: nothing that clients do, and nothing that the service does by itself, takes the longer
the more files there are; and every statement finds its rows by an index, on either database.

Statements are noted while the service works, so that one that comes to it later is among them.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, text

from app import Holdall
from tests.conftest import MakeApp
from tests.services.growing import (
    BOUNDS,
    GROWING,
    captured,
    chores,
    combined,
    doors,
    filled,
    lists,
    steps_counted,
    whole,
)
from tests.services.uploading import database_of
from tests.support.servers import PostgresServer

FEW, MANY = 4_000, 16_000
RATIO = 1.5
BOUNDED = (
    *("ix_files_deleted_at", "ix_files_trash_number", "ix_files_trash_folded"),
    *("ix_files_trash_size", "ix_files_pending", "ix_files_unhashed", "ix_files_unmeasured"),
)
"""Indexes of few files, of whatever many: the trash is emptied, and the others soon have none."""
SLACK = 100
"""Tens of steps that a turn may take more: a batch of rows ends where it ends."""


@pytest.fixture(autouse=True)
def bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in BOUNDS.items():
        monkeypatch.setattr(f"services.leading.{name}", value)


@pytest.fixture(params=("sqlite", "postgresql"))
def app(request: pytest.FixtureRequest, app_with: MakeApp) -> Holdall:
    """A service with some files, on each database."""
    if request.param == "sqlite":
        return filled(app_with(), FEW)
    server: PostgresServer = request.getfixturevalue("postgres_server")
    like = request.getfixturevalue("upgraded_database")
    return filled(app_with(DATABASE_URL=server.fresh_database(like=like)), FEW)


def test_no_work_grows_with_the_number_of_files(app_with: MakeApp) -> None:
    taken: dict[str, list[int]] = {}
    for app in (filled(app_with(), FEW), filled(app_with(), MANY)):
        with steps_counted(app) as count:
            for name, step in (lists() | doors() | chores()).items():
                step(app, app.test_client())
                before = count[0]
                step(app, app.test_client())
                taken.setdefault(name, []).append(count[0] - before)
    assert {n: (few, many) for n, (few, many) in taken.items() if many > RATIO * few + SLACK} == {}


def test_every_statement_finds_its_rows_by_an_index(app: Holdall) -> None:
    with captured(app) as sent:
        for step in (lists() | combined() | doors() | chores() | whole()).values():
            step(app, app.test_client())
    statements = {said: values for said, values in sent if _touches_what_grows(said)}
    assert len(statements) > 60
    with database_of(app).engine.connect() as connection:
        assert dict(_full_scans(connection, statements)) == {}


@pytest.mark.parametrize(
    "statement",
    (
        "SELECT id FROM files WHERE etag = 'a'",
        "SELECT id FROM files WHERE etag = 'a' ORDER BY number",
        "SELECT count(*) FROM files",
        "UPDATE files SET media = NULL WHERE declared_type = 'a'",
        "DELETE FROM uploads WHERE file_id = 'a'",
        "SELECT id FROM files WHERE substr(folded, 2) = 'a' ORDER BY etag LIMIT 5",
    ),
)
def test_a_statement_without_an_index_would_be_seen(app: Holdall, statement: str) -> None:
    with database_of(app).engine.connect() as connection:
        assert [said for said, _ in _full_scans(connection, {statement: ()})] == [statement]


def _touches_what_grows(statement: str) -> bool:
    reads = re.match(r"\s*(SELECT|UPDATE|DELETE|WITH)\b", statement)
    return bool(reads) and any(re.search(rf"\b{name}\b", statement) for name in GROWING)


def _full_scans(connection: Connection, statements: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the statements that go through a whole table, and their plans."""
    if connection.dialect.name == "postgresql":
        # Small tables are read whole for the lack of rows and not of an index.
        connection.execute(text("SET enable_seqscan = off"))
    for statement, values in statements.items():
        if connection.dialect.name == "sqlite":
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
            plan = [row[3] for row in rows]
            if _is_full_on_sqlite(statement, plan):
                yield statement, "\n".join(plan)
        else:
            explained = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", values)
            plan = explained.scalar_one()[0]["Plan"]
            if _is_full_on_postgresql(plan, in_order=False):
                yield statement, json.dumps(plan, indent=1)


def _is_full_on_sqlite(statement: str, plan: list[str]) -> bool:
    """Say whether a table is scanned, but for a walk in the order that a page has."""
    scans = re.compile(rf"SCAN ({'|'.join(GROWING)})\b")
    sorts = any("TEMP B-TREE" in line for line in plan)
    is_page = "ORDER BY" in statement and "LIMIT" in statement and not sorts
    few = re.compile(rf"SCAN \w+ USING .*INDEX ({'|'.join(BOUNDED)})$")
    return any(scans.match(each) and not few.match(each) for each in plan) and not is_page


def _is_full_on_postgresql(plan: dict[str, Any], *, in_order: bool) -> bool:
    """Say the same of a plan; `in_order` is whether what is above it takes a page in its order."""
    kind = plan["Node Type"]
    if plan.get("Relation Name") in GROWING:
        if kind == "Seq Scan":
            return True
        if kind in ("Index Scan", "Index Only Scan") and "Index Cond" not in plan:
            return not in_order and plan["Index Name"] not in BOUNDED
    passes = kind == "Limit" or (in_order and kind in ("Subquery Scan", "Nested Loop", "Result"))
    below = plan.get("Plans", [])
    return any(_is_full_on_postgresql(each, in_order=passes) for each in below)
