"""Transactions: writers of one process to SQLite wait in line, and not at random."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import TimeoutError as PoolTimeout

from services import database
from services.database import Database, engine_options, prepare_engine
from tests.conftest import MakeApp
from tests.services.uploading import database_of


@pytest.fixture
def impatient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """Return an SQLite that does not wait for other writers at all."""
    monkeypatch.setattr(database, "_BUSY_TIMEOUT_MS", 0)
    url = f"sqlite:///{tmp_path / 'app.db'}"
    engine = create_engine(url, **engine_options(url))
    prepare_engine(engine, durable=False)
    with Database(engine).write() as session:
        session.execute(text("CREATE TABLE counts (number INTEGER)"))
        session.execute(text("INSERT INTO counts VALUES (0)"))
    return Database(engine)


def test_many_writers_at_once_all_get_their_turn(impatient: Database) -> None:
    def add(_: int) -> None:
        with impatient.write() as session:
            session.execute(text("UPDATE counts SET number = number + 1"))

    with ThreadPoolExecutor(50) as pool:
        list(pool.map(add, range(500)))
    with impatient.read() as session:
        assert session.scalar(text("SELECT number FROM counts")) == 500
    impatient.engine.dispose()


@pytest.mark.parametrize(("durability", "synchronous"), (("fsync", 2), ("os", 1)))
def test_a_commit_is_as_durable_as_it_is_set(
    app_with: MakeApp, durability: str, synchronous: int
) -> None:
    """FULL (2) syncs the log at each commit, NORMAL (1) at checkpoints alone."""
    with database_of(app_with(DURABILITY=durability)).write() as session:
        assert session.scalar(text("PRAGMA synchronous")) == synchronous
        assert session.scalar(text("PRAGMA journal_mode")) == "wal"


def test_a_writer_waits_for_its_turn_within_bounds(
    impatient: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_POOL_TIMEOUT", 0.01)
    with impatient.write(), pytest.raises(PoolTimeout), impatient.write():
        pass
    with impatient.write():
        pass
    impatient.engine.dispose()
