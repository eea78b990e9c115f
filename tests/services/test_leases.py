"""Leases on tasks: one instance at a time, renewed by its holder, free again after their end."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import update

from app import Holdall
from models import Lease, now
from services.database import Database
from services.leases import Leases
from tests.conftest import MakeApp
from tests.services.uploading import database_of
from tests.support.servers import PostgresServer

MINUTE = 60.0


@pytest.fixture(params=("sqlite", "postgresql"))
def app(request: pytest.FixtureRequest, app_with: MakeApp) -> Holdall:
    """The application on each database."""
    if request.param == "sqlite":
        return app_with()
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return app_with(DATABASE_URL=server.fresh_database())


@pytest.fixture
def database(app: Holdall) -> Database:
    return database_of(app)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(6) as pool:
        yield pool


def end_all(database: Database) -> None:
    """Let every lease have ended a second ago."""
    with database.write() as session:
        session.execute(update(Lease).values(expires_at=now() - timedelta(seconds=1)))


def test_one_holder_at_a_time(database: Database) -> None:
    first, second = Leases(database), Leases(database)
    assert first.take("task", seconds=MINUTE)
    assert not second.take("task", seconds=MINUTE)
    assert second.take("another task", seconds=MINUTE)


def test_its_holder_renews_it(database: Database) -> None:
    first, second = Leases(database), Leases(database)
    assert first.take("task", seconds=0.2)
    assert first.take("task", seconds=MINUTE)
    time.sleep(0.3)
    assert not second.take("task", seconds=MINUTE)


def test_another_takes_over_after_its_end(database: Database) -> None:
    first, second = Leases(database), Leases(database)
    assert first.take("task", seconds=0.1)
    time.sleep(0.2)
    assert second.take("task", seconds=MINUTE)
    assert not first.take("task", seconds=MINUTE)


@pytest.mark.parametrize("ended", (False, True))
def test_of_many_who_come_at_once_one_gets_it(
    database: Database, pool: ThreadPoolExecutor, ended: bool
) -> None:
    if ended:
        assert Leases(database).take("task", seconds=MINUTE)
        end_all(database)
    candidates = [Leases(database) for _ in range(6)]
    taken = list(pool.map(lambda each: each.take("task", seconds=MINUTE), candidates))
    assert taken.count(True) == 1
