"""Leases on uploads: one at a time works, whoever comes next gets through, the dead do not matter.

On SQLite and on PostgreSQL, since each has its own idea of who waits for whom.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Event

import pytest
from sqlalchemy import delete

from app import Holdall
from models import Upload, now
from services import locks
from services.database import Database
from services.errors import FileNotFound, Locked, TakenOver
from services.locks import Hold, Locks
from tests.conftest import MakeApp
from tests.services.uploading import begun, change, database_of, row_of
from tests.support.servers import PostgresServer


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
def upload_id(app: Holdall) -> str:
    return begun(app)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(6) as pool:
        yield pool


@pytest.fixture
def attentive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let holders look at each call."""
    monkeypatch.setattr(locks, "LOOK_EVERY", 0)


def hold_until_wanted(database: Database, upload_id: str, held: Event) -> None:
    with Locks(database).hold(upload_id) as hold:
        held.set()
        while not hold.is_wanted():
            time.sleep(0.01)


def lose(app: Holdall, upload_id: str) -> None:
    """Let the lease run out while its holder does something else."""
    change(app, upload_id, lock_until=now() - timedelta(seconds=1))


def write(database: Database, hold: Hold, **values: object) -> None:
    with database.write() as session:
        hold.change(session, **values)


def test_who_comes_next_gets_it_within_two_seconds(
    database: Database, upload_id: str, pool: ThreadPoolExecutor
) -> None:
    held = Event()
    first = pool.submit(hold_until_wanted, database, upload_id, held)
    assert held.wait(10)
    began = time.monotonic()
    with Locks(database).hold(upload_id) as hold:
        assert time.monotonic() - began < 2
        first.result(10)
        assert not hold.is_wanted()


@pytest.mark.usefixtures("attentive")
def test_a_holder_learns_that_it_is_wanted(database: Database, upload_id: str) -> None:
    with Locks(database).hold(upload_id) as hold:
        assert not hold.is_wanted()
        with pytest.raises(Locked), Locks(database).hold(upload_id, patience=0.2):
            pass
        assert hold.is_wanted()


@pytest.mark.usefixtures("attentive")
def test_an_old_wish_does_not_trouble_the_next_holder(database: Database, upload_id: str) -> None:
    with Locks(database).hold(upload_id), pytest.raises(Locked):
        Locks(database).hold(upload_id, patience=0.2).__enter__()
    with Locks(database).hold(upload_id) as hold:
        assert not hold.is_wanted()


def test_a_holder_looks_seldom(database: Database, upload_id: str) -> None:
    with Locks(database).hold(upload_id) as hold:
        with pytest.raises(Locked), Locks(database).hold(upload_id, patience=0.1):
            pass
        hold._looked = time.monotonic()
        assert not hold.is_wanted(), "it was asked, and has not looked yet"


def test_who_waits_in_vain_is_told_so(database: Database, upload_id: str) -> None:
    with Locks(database).hold(upload_id):
        began = time.monotonic()
        with pytest.raises(Locked), Locks(database).hold(upload_id, patience=0.3):
            pass
        assert time.monotonic() - began >= 0.3


def test_the_lease_of_a_dead_holder_ends_by_itself(
    app: Holdall, database: Database, upload_id: str
) -> None:
    change(app, upload_id, lock_holder="dead", lock_until=now() + timedelta(seconds=1))
    with pytest.raises(Locked), Locks(database).hold(upload_id, patience=0):
        pass
    with Locks(database).hold(upload_id) as hold:
        assert hold.holder != "dead"


def test_patience_outlasts_the_lease_of_the_dead() -> None:
    assert timedelta(seconds=locks.PATIENCE) > locks.LEASE
    assert timedelta(seconds=locks.RENEW_EVERY + locks.LOOK_EVERY) < locks.LEASE


@pytest.mark.usefixtures("attentive")
def test_a_holder_at_work_keeps_its_lease(
    database: Database, upload_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "LEASE", timedelta(seconds=1))
    monkeypatch.setattr(locks, "RENEW_EVERY", 0.1)
    with Locks(database).hold(upload_id) as hold:
        ends = time.monotonic() + 2
        while time.monotonic() < ends:
            hold.is_wanted()
            with pytest.raises(Locked), Locks(database).hold(upload_id, patience=0):
                pass
            time.sleep(0.05)


@pytest.mark.usefixtures("attentive")
def test_a_lost_lease_cannot_change_the_row(
    app: Holdall, database: Database, upload_id: str
) -> None:
    with Locks(database).hold(upload_id) as late:
        lose(app, upload_id)
        with Locks(database).hold(upload_id) as hold:
            with pytest.raises(TakenOver):
                late.is_wanted()
            with pytest.raises(TakenOver):
                write(database, late, offset=5)
            with pytest.raises(TakenOver), database.write() as session:
                late.remove(session)
            write(database, hold, offset=7)
    row = row_of(app, upload_id)
    assert row is not None
    assert row.offset == 7


def test_what_is_written_with_a_lost_lease_is_undone_whole(
    app: Holdall, database: Database, upload_id: str
) -> None:
    other = begun(app)
    with Locks(database).hold(upload_id) as late:
        lose(app, upload_id)
        with (
            Locks(database).hold(upload_id),
            pytest.raises(TakenOver),
            database.write() as session,
        ):
            session.execute(delete(Upload).where(Upload.id == other))
            late.change(session)
    assert row_of(app, other) is not None


def test_who_lost_a_lease_does_not_end_that_of_another(
    app: Holdall, database: Database, upload_id: str
) -> None:
    late = Locks(database).hold(upload_id)
    late.__enter__()
    lose(app, upload_id)
    with Locks(database).hold(upload_id) as hold:
        late.__exit__(None, None, None)
        row = row_of(app, upload_id)
        assert row is not None
        assert row.lock_holder == hold.holder


def test_an_error_lets_go(database: Database, upload_id: str) -> None:
    with pytest.raises(ZeroDivisionError), Locks(database).hold(upload_id):
        raise ZeroDivisionError
    with Locks(database).hold(upload_id, patience=0):
        pass


def test_what_is_not_there_cannot_be_held(
    database: Database, upload_id: str, pool: ThreadPoolExecutor
) -> None:
    def wait() -> None:
        with Locks(database).hold(upload_id):
            raise AssertionError("it was held after its end")

    with pytest.raises(FileNotFound), Locks(database).hold("a" * 26):
        pass
    with Locks(database).hold(upload_id) as hold:
        waiting = pool.submit(wait)
        with database.write() as session:
            hold.remove(session)
    with pytest.raises(FileNotFound):
        waiting.result(10)


def test_of_many_one_at_a_time_holds_and_all_get_their_turn(
    database: Database, upload_id: str, pool: ThreadPoolExecutor
) -> None:
    inside: list[str] = []

    def work(_: int) -> None:
        with Locks(database).hold(upload_id, patience=30) as hold:
            inside.append(hold.holder)
            time.sleep(0.05)
            assert inside == [hold.holder]
            inside.remove(hold.holder)

    list(pool.map(work, range(12)))


def test_uploads_do_not_wait_for_each_other(
    app: Holdall, database: Database, upload_id: str
) -> None:
    with Locks(database).hold(upload_id), Locks(database).hold(begun(app), patience=0):
        pass
