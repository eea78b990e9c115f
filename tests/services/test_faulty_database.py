"""Every transaction of a request fails once, at its begin and at its end: nothing is lost, no row
dangles.

A commit whose answer was lost may have happened. So the object that it names is kept, and whoever
asks again finds what the first request made, or makes it. HOLDALL_TEST_STEP=1 tries each fault at
each transaction, and not the faults in turn.
"""

import os
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, event
from werkzeug.test import TestResponse

from app import Holdall
from tests.conftest import MakeApp
from tests.services.persisting import (
    DOORS,
    Door,
    Persistent,
    go_through,
    require_nothing_left,
    saying,
)
from tests.services.uploading import database_of

STEP = int(os.environ.get("HOLDALL_TEST_STEP", "5"))


class FaultyDatabase:
    """An engine whose transactions are counted, and one of which fails.

    `begins` and `commits` are how many there were; what fails in between is undone as what fails
    at the end. The error is the driver's, and goes the way
    that a real one goes.
    """

    def __init__(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begins = self.commits = 0
        self._begin = self._commit = 0
        self._happens = False
        self.made: Callable[[], Exception] = locked
        for name in ("do_execute", "do_executemany", "do_execute_no_params"):
            event.listen(engine, name, self._executing)
        self._do_commit = engine.dialect.do_commit
        monkeypatch.setattr(engine.dialect, "do_commit", self._committing)

    def plan(self, *, begin: int = 0, commit: int = 0, happens: bool = False) -> None:
        """Let the so-manieth from now on fail; a commit that `happens` fails after the act."""
        self.begins = self.commits = 0
        self._begin, self._commit, self._happens = begin, commit, happens

    def _executing(self, cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith("BEGIN"):
            return
        self.begins += 1
        if self.begins == self._begin:
            self._begin = 0
            raise self.made()

    def _committing(self, connection: Any) -> None:
        self.commits += 1
        if self.commits != self._commit:
            self._do_commit(connection)
            return
        self._commit = 0
        if self._happens:
            self._do_commit(connection)
        raise self.made()


def locked() -> Exception:
    return sqlite3.OperationalError("database is locked at /srv/secret")


def full() -> Exception:
    error = sqlite3.OperationalError("database or disk is full at /srv/secret")
    error.sqlite_errorname = "SQLITE_FULL"
    return error


@pytest.fixture
def app(app_with: MakeApp) -> Holdall:
    """An application with a quota, so that room is taken and given back too."""
    app = app_with(STORAGE_BACKEND="memory", STORAGE_MEMORY_URL="memory:", WEB_CONCURRENCY="1")
    limits = {"max_files": 100_000, "max_bytes": 10**12}
    assert app.test_client().patch("/api/collections/default", json=limits).status_code == 200
    return app


@pytest.fixture
def database(app: Holdall, monkeypatch: pytest.MonkeyPatch) -> FaultyDatabase:
    return FaultyDatabase(database_of(app).engine, monkeypatch)


def counted(app: Holdall, database: FaultyDatabase, door: Door) -> tuple[int, int]:
    """Return how many begins and commits a way takes where nothing fails."""
    database.plan()
    door(Persistent(app.test_client()))
    return database.begins, database.commits


def require_told(answer: TestResponse, status: int, code: str) -> None:
    assert (answer.status_code, answer.headers["Retry-After"]) == (status, "5")
    assert answer.request.method == "HEAD" or answer.get_json()["code"] == code
    assert "secret" not in answer.text and "SELECT" not in answer.text


def unavailable(answer: TestResponse) -> None:
    require_told(answer, 503, "database_unavailable")


def no_room(answer: TestResponse) -> None:
    require_told(answer, 507, "storage_full")


def test_any_transaction_may_fail_at_its_begin(app: Holdall, database: FaultyDatabase) -> None:
    for door in DOORS:
        begins, _ = counted(app, database, door)
        for number in range(1, begins + 1, STEP):
            with saying(f"{door.__name__}, begin {number}"):
                database.plan(begin=number)
                go_through(app, door, unavailable, then=database.plan)
    require_nothing_left(app)


@pytest.mark.parametrize("happens", (False, True), ids=("refused", "answer lost"))
def test_any_commit_may_fail_once(app: Holdall, database: FaultyDatabase, happens: bool) -> None:
    for door in DOORS:
        _, commits = counted(app, database, door)
        for number in range(1 + (1 + happens) % STEP, commits + 1, STEP):
            with saying(f"{door.__name__}, commit {number}"):
                database.plan(commit=number, happens=happens)
                go_through(app, door, unavailable, then=database.plan)
    require_nothing_left(app)


def test_a_full_disk_under_the_database_is_a_507(app: Holdall, database: FaultyDatabase) -> None:
    database.made = full
    for door in DOORS[:2]:
        _, commits = counted(app, database, door)
        for number in range(1, commits + 1):
            database.plan(commit=number)
            go_through(app, door, no_room, then=database.plan)
