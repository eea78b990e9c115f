"""A PostgreSQL that ends connections, at commits and at random, and a SQLite that stays locked.

Nobody is told 201 of a file that is not there. Who is told 503 sends the request again, with the
same Idempotency-Key, and there is one file; the pool mends itself.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import psycopg
import pytest
from flask.testing import FlaskClient
from sqlalchemy.engine import make_url
from werkzeug.test import TestResponse

from app import Holdall
from tests.conftest import MakeApp, objects, parts
from tests.live.test_faults import eventually, upload
from tests.services.collecting import collect
from tests.services.persisting import (
    DOORS,
    Persistent,
    go_through,
    require_rows_have_objects,
    saying,
)
from tests.services.uploading import database_of
from tests.support.servers import PostgresServer
from tests.support.service import Service, running

BACKENDS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid = %s"
EVERY_BACKEND = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = %s AND pid <> pg_backend_pid()"
)


class Administrator:
    """A second connection to a database's server, which ends the connections of others."""

    def __init__(self, url: str) -> None:
        asked = make_url(url)
        self.database = asked.database
        host = asked.query["host"]
        self._connection = psycopg.connect(
            f"host={host} user=postgres dbname=postgres", autocommit=True
        )

    def end(self, pid: int) -> None:
        """End one connection, and return once it is gone."""
        gone = "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = %s"
        self._connection.execute(BACKENDS, (self.database, pid))
        eventually(lambda: bool(self._connection.execute(gone, (pid,)).fetchone()[0]))  # type: ignore[index]

    def end_all(self) -> None:
        self._connection.execute(EVERY_BACKEND, (self.database,))

    def refuse(self) -> None:
        """Let nobody connect to the database, and end who is."""
        self._connection.execute(f'ALTER DATABASE "{self.database}" ALLOW_CONNECTIONS false')
        self.end_all()

    def admit(self) -> None:
        self._connection.execute(f'ALTER DATABASE "{self.database}" ALLOW_CONNECTIONS true')

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def url(postgres_server: PostgresServer, upgraded_database: str) -> str:
    return postgres_server.fresh_database(like=upgraded_database)


@pytest.fixture
def administrator(url: str) -> Iterator[Administrator]:
    with closing(Administrator(url)) as administrator:
        yield administrator


def noted(told: list[int], answer: TestResponse) -> None:
    told.append(answer.status_code)


def ended_at_commit(
    app: Holdall, administrator: Administrator, monkeypatch: pytest.MonkeyPatch, *, after: bool
) -> Callable[[int], None]:
    """Return what plans the end of the connection at the so-manieth commit, before or after it."""
    dialect: Any = database_of(app).engine.dialect
    commit, left = dialect.do_commit, [0]

    def committing(connection: Any) -> None:
        left[0] -= 1
        if left[0] != 0:
            commit(connection)
            return
        if after:
            commit(connection)
        administrator.end(connection.driver_connection.info.backend_pid)
        # After the act, the answer to the next statement stands for the lost one of the commit.
        connection.execute("SELECT 1") if after else commit(connection)

    monkeypatch.setattr(dialect, "do_commit", committing)
    return lambda number: left.__setitem__(0, number)


@pytest.mark.parametrize("after", (False, True), ids=("before", "after"))
def test_a_connection_may_end_at_any_commit(
    app_with: MakeApp,
    url: str,
    administrator: Administrator,
    monkeypatch: pytest.MonkeyPatch,
    after: bool,
) -> None:
    app = app_with(DATABASE_URL=url)
    plan = ended_at_commit(app, administrator, monkeypatch, after=after)
    for door in DOORS[:3]:
        commits = _commits(app, plan, door)
        for number in range(1, commits + 1):
            with saying(f"{door.__name__}, commit {number}"):
                plan(number)
                told: list[int] = []
                go_through(app, door, partial(noted, told))
                assert told == [503]
    require_rows_have_objects(app)


def _commits(app: Holdall, plan: Callable[[int], None], door: Any) -> int:
    """Return how many commits a way takes: the first number at which nothing ends any more."""
    counted = 0
    dialect: Any = database_of(app).engine.dialect
    commit = dialect.do_commit

    def counting(connection: Any) -> None:
        nonlocal counted
        counted += 1
        commit(connection)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dialect, "do_commit", counting)
        door(Persistent(app.test_client()))
    return counted


def test_connections_that_end_at_random_lose_nothing(
    tmp_path: Path, url: str, administrator: Administrator
) -> None:
    over = threading.Event()
    ended = [0]

    def end_all() -> None:
        while not over.wait(0.15):
            administrator.end_all()
            ended[0] += 1

    with running(tmp_path, DATABASE_URL=url) as service, ThreadPoolExecutor(5) as pool:
        ending = pool.submit(end_all)
        try:
            made = [*chain.from_iterable(pool.map(lambda n: insist(service, n), range(4)))]
        finally:
            over.set()
        ending.result()
        assert ended[0] > 2
        # Every worker's pool is made of dead connections now, and none of that is seen.
        answers = [service.request("GET", "/api/files?limit=1000") for _ in range(8)]
        assert {answer.status for answer in answers} == {200}
        listed = {item["id"]: item for item in answers[0].json()["items"]}
        assert {file["id"] for file, _ in made} == set(listed)
        assert answers[0].json()["total"] == len(made)
        for file, content in made:
            assert service.request("GET", file["url"]).body == content


def insist(service: Service, sender: int) -> list[tuple[Any, bytes]]:
    """Upload some files, each until it is there; an upload that fails is told 503."""
    made = []
    for number in range(12):
        content = f"{sender} {number} ".encode() * 1000
        key = f"{sender}-{number}"
        for _ in range(200):
            answer = service.request("PUT", "/api/upload/a", content, Idempotency_Key=key)
            if answer.status == 201:
                break
            assert (answer.status, answer.json()["code"]) == (503, "database_unavailable")
            assert answer.headers["retry-after"]
        made.append((answer.json(), content))
    return made


def test_a_database_that_stays_locked_is_a_503_and_its_orphan_is_collected(
    app_with: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.database._BUSY_TIMEOUT_MS", 50)
    app = app_with()
    client = app.test_client()
    file = client.put("/api/upload/a", data=b"before").get_json()
    path = parts(app).settings.data_dir / "app.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        for answer in _changes(client, file):
            assert (answer.status_code, answer.get_json()["code"]) == (503, "database_unavailable")
            assert answer.headers["Retry-After"]
        # Who only reads is not kept from it.
        assert client.get(file["url"]).data == b"before"
        assert client.get("/api/files").get_json()["total"] == 1
        holder.execute("ROLLBACK")
    collect(app, force=True)
    assert len(objects(app)) == 1
    assert client.put("/api/upload/a", data=b"after").status_code == 201


def _changes(client: FlaskClient, file: Any) -> Iterator[Any]:
    yield client.put("/api/upload/a", data=b"text")
    yield client.delete(f"/api/files/{file['id']}")
    yield client.patch(f"/api/files/{file['id']}", json={"filename": "b"})
    yield client.post("/api/tus", headers={"Tus-Resumable": "1.0.0", "Upload-Length": "4"})


def test_a_database_that_is_gone_is_a_503_in_bounded_time(
    tmp_path: Path, url: str, administrator: Administrator
) -> None:
    with running(tmp_path, DATABASE_URL=url) as service:
        file = upload(service, b"before").json()
        # Each worker has threads in the background once it has started.
        eventually(lambda: all(each.num_threads() > 3 for each in service.workers()), seconds=30)
        administrator.refuse()
        try:
            began = time.monotonic()
            answers = [upload(service, b"x"), service.request("GET", file["url"])]
            answers.append(service.request("DELETE", f"/api/files/{file['id']}"))
            assert {answer.status for answer in answers} == {503}
            assert {answer.headers["retry-after"] for answer in answers} == {"5"}
            (worker, *_) = service.workers()
            worker.kill()
            eventually(lambda: b"started again" in service.log.read_bytes(), seconds=30)
            assert service.request("GET", "/api/health").status == 200
            assert service.request("GET", "/api/ready").status == 503
            assert time.monotonic() - began < 60
        finally:
            administrator.admit()
        assert service.request("GET", file["url"]).body == b"before"
        assert upload(service, b"after").status == 201
