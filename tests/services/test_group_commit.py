"""Uploads that end at the same moment share one commit, and each keeps an outcome of its own."""

import io
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy import Connection, delete, event, update
from sqlalchemy.exc import OperationalError
from werkzeug.test import TestResponse

from app import Holdall
from models import ApiKey, Collection, IdempotencyKey, now
from services import grouping
from services.caller import EVERYONE, Caller
from services.errors import CollectionNotFound, KeyInvalid
from services.files import FileInfo
from services.ingest import Intake
from services.intake import Declaration
from services.listing import Query
from tests.conftest import objects, parts
from tests.services.checking import check
from tests.services.collecting import collect
from tests.services.uploading import database_of

TOGETHER = 5


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have whoever acts wait until all of a group have come."""
    monkeypatch.setattr(grouping, "MOMENT", 10)


@pytest.fixture
def commits(app: Holdall) -> Iterator[list[object]]:
    """What has been committed, one entry each."""
    engine, seen = database_of(app).engine, list[object]()
    note = seen.append
    event.listen(engine, "commit", note)
    yield seen
    event.remove(engine, "commit", note)


def expect(app: Holdall, number: int = TOGETHER) -> None:
    parts(app).publishing._group._expected = number


def together(app: Holdall, callers: list[tuple[Caller, str]]) -> list[Future[list[FileInfo]]]:
    """Publish files of these callers, in these collections, in one group."""
    services = parts(app)
    with ExitStack() as stack:
        intakes = [
            stack.enter_context(services.ingest.admit(who, Declaration("a", collection=where)))
            for who, where in callers
        ]
        for number, intake in enumerate(intakes):
            intake.feed(b"content %d" % number)
            intake.inspect()
        _take_away(app)
        expect(app, len(intakes))
        with ThreadPoolExecutor(len(intakes)) as pool:
            return [pool.submit(_published, app, intake) for intake in intakes]


def _published(app: Holdall, intake: Intake) -> list[FileInfo]:
    return parts(app).publishing.publish([intake])


def _take_away(app: Holdall) -> None:
    """Delete the collection `gone` and revoke the key of that name, after bytes came for them."""
    with database_of(app).write() as session:
        session.execute(update(ApiKey).where(ApiKey.name == "gone").values(revoked_at=now()))
        session.execute(delete(Collection).where(Collection.name == "gone"))


def require_sound(app: Holdall, files: int, left: int = 0) -> None:
    """See that there are so many files, and so many objects besides, which are collected."""
    assert parts(app).listing.page(EVERYONE, Query()).total == files
    assert len(objects(app)) == files + left
    assert {each.kind.value for each in check(app).findings} <= {"orphan"}
    collect(app, force=True)
    assert len(objects(app)) == files


def send(app: Holdall, number: int) -> TestResponse:
    content = io.BytesIO(b"content %d" % number)
    return app.test_client().post("/api/upload", data={"file": (content, f"{number}.txt")})


def sent(app: Holdall) -> list[TestResponse]:
    """Send uploads that end together."""
    expect(app)
    with ThreadPoolExecutor(TOGETHER) as pool:
        return [*pool.map(lambda number: send(app, number), range(TOGETHER))]


def test_uploads_that_end_together_share_a_commit(app: Holdall, commits: list[object]) -> None:
    answers = sent(app)
    assert [answer.status_code for answer in answers] == [201] * TOGETHER
    assert [answer.get_json()["filename"] for answer in answers] == [
        f"{number}.txt" for number in range(TOGETHER)
    ]
    assert len(commits) == 1
    require_sound(app, TOGETHER)


def keyed(app: Holdall, keys: Sequence[str], path: str = "same") -> list[TestResponse]:
    """Send uploads with these Idempotency-Keys that end together."""
    expect(app, len(keys))

    def put(key: str) -> TestResponse:
        named = {"Idempotency-Key": key}
        return app.test_client().put(f"/api/upload/{path}", data=b"content", headers=named)

    with ThreadPoolExecutor(len(keys)) as pool:
        return [*pool.map(put, keys)]


def test_uploads_that_may_be_retried_share_a_commit_too(
    app: Holdall, commits: list[object]
) -> None:
    keys = [f"key-{number}" for number in range(TOGETHER)]
    first = keyed(app, keys)
    assert [answer.status_code for answer in first] == [201] * TOGETHER
    assert len(commits) == 1
    again = [*map(TestResponse.get_json, keyed(app, keys))]
    assert again == [*map(TestResponse.get_json, first)]
    assert len(commits) == 1
    require_sound(app, TOGETHER)


def test_of_a_request_sent_several_times_at_once_one_makes_a_file(app: Holdall) -> None:
    answers = keyed(app, ["one", "other", "one", "third", "one"])
    assert {answer.status_code for answer in answers} <= {200, 201}
    ids = [answer.get_json()["id"] for answer in answers]
    assert ids[0] == ids[2] == ids[4]
    assert len({*ids}) == 3
    require_sound(app, 3)


def test_a_key_that_has_ended_and_is_there_still_is_anyones(app: Holdall) -> None:
    (first,) = keyed(app, ["key"], "first")
    with database_of(app).write() as session:
        session.execute(update(IdempotencyKey).values(expires_at=now()))
    answers = keyed(app, ["key", "other"], "second")
    assert [answer.status_code for answer in answers] == [201, 201]
    assert first.get_json()["id"] not in {answer.get_json()["id"] for answer in answers}
    require_sound(app, 3)


def test_one_that_fails_is_told_so_alone(app: Holdall) -> None:
    assert app.test_client().put("/api/collections/gone", json={}).status_code == 201
    futures = together(app, [(EVERYONE, where) for where in ("default", "gone", "default")])
    assert isinstance(futures[1].exception(), CollectionNotFound)
    assert [len(futures[number].result()) for number in (0, 2)] == [1, 1]
    require_sound(app, 2)


def test_a_key_that_is_revoked_takes_no_other_upload_with_it(app: Holdall) -> None:
    key = parts(app).keys.create(EVERYONE, name="gone", scopes=["write"]).info
    gone = Caller(owner=key.id, scopes=frozenset({"write"}))
    futures = together(app, [(EVERYONE, "default"), (gone, "default"), (EVERYONE, "default")])
    assert isinstance(futures[1].exception(), KeyInvalid)
    assert [len(futures[number].result()) for number in (0, 2)] == [1, 1]
    require_sound(app, 2)


def test_a_transaction_that_does_not_begin_fails_for_all_and_leaves_nothing(app: Holdall) -> None:
    send(app, 0)
    engine = database_of(app).engine

    def refuse(connection: Connection) -> None:
        if connection.get_execution_options().get("writes"):
            raise OperationalError("BEGIN", {}, Exception("locked"))

    event.listen(engine, "begin", refuse, insert=True)
    answers = sent(app)
    event.remove(engine, "begin", refuse)
    assert [answer.status_code for answer in answers] == [503] * TOGETHER
    require_sound(app, 1)


@pytest.mark.parametrize("happens", (False, True), ids=("refused", "answer lost"))
def test_a_commit_of_unknown_outcome_loses_no_object_that_a_row_may_promise(
    app: Holdall, monkeypatch: pytest.MonkeyPatch, happens: bool
) -> None:
    dialect = database_of(app).engine.dialect
    do_commit, committed = dialect.do_commit, list[object]()

    def commit(connection: Any) -> None:
        if happens:
            do_commit(connection)
        committed.append(connection)
        raise dialect.loaded_dbapi.OperationalError("the connection was lost")

    send(app, 99)
    with monkeypatch.context() as lost:
        lost.setattr(dialect, "do_commit", commit)
        answers = sent(app)
    assert [answer.status_code for answer in answers] == [503] * TOGETHER
    assert len(committed) == 1, "what may have happened is not tried again"
    files = 1 + TOGETHER * happens
    require_sound(app, files, left=1 + TOGETHER - files)
