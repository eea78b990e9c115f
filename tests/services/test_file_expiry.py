"""Files that end by themselves: not served from that moment on, gone with all they held after."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import ColumnElement, func, select, update

from app import Holdall
from models import Counter, Failure, File, IdempotencyKey, UsedLink, now
from services.caller import EVERYONE
from services.delivery import PERSONAL, PUBLIC, Access, Grant
from services.handoff import Way
from storage.errors import StorageUnavailable
from tests.conftest import objects, parts
from tests.services.planning import FILE, NOW, ask, headers_of
from tests.services.test_collections import store
from tests.services.uploading import database_of

SECOND = timedelta(seconds=1)


def ending(app: Holdall, count: int = 1) -> list[str]:
    """Make files that live for an hour, and return their ids."""
    parts(app).collections.set(EVERYONE, "brief", {"expires_in": 3600})
    return [store(app, "brief") for _ in range(count)]


def end(app: Holdall, *ids: str) -> None:
    """Let files have ended a second ago."""
    with database_of(app).write() as session:
        over = update(File).where(File.id.in_(ids))
        session.execute(over.values(expires_at=now() - SECOND))


def counted(app: Holdall) -> tuple[int, int]:
    with database_of(app).read() as session:
        row = session.execute(select(func.sum(Counter.files), func.sum(Counter.bytes))).one()
    return int(row[0] or 0), int(row[1] or 0)


def test_a_file_that_has_ended_is_gone_before_anything_looks(app: Holdall) -> None:
    client = app.test_client()
    (file_id,) = ending(app)
    url = client.get(f"/api/files/{file_id}").get_json()["url"]
    assert client.get(url).status_code == 200
    end(app, file_id)
    for address in (url, f"/uploads/{file_id}", f"/api/files/{file_id}"):
        assert client.get(address).status_code == 404
    assert client.get("/api/files").get_json()["items"] == []


def test_what_has_ended_goes_and_nothing_else_does(app: Holdall) -> None:
    kept, *over = ending(app, 4)
    forever = store(app, "default")
    end(app, *over)
    assert parts(app).expiry.run() == 3
    assert counted(app) == (2, 8)
    assert len(objects(app)) == 2
    for file_id in (kept, forever):
        assert app.test_client().get(f"/uploads/{file_id}").data == b"text"
    assert parts(app).expiry.run() == 0


def test_more_than_a_batch_goes_in_one_run(
    local_app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.expiry._BATCH", 2)
    end(local_app, *ending(local_app, 5))
    assert parts(local_app).expiry.run() == 5
    assert (objects(local_app), counted(local_app)) == ([], (0, 0))


def test_one_whose_end_was_put_off_meanwhile_stays(
    app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    over, saved = ending(app, 2)
    end(app, over, saved)
    expiry = parts(app).expiry
    remove = expiry._remove_rows

    def put_off_first(ids: list[str], due: ColumnElement[bool]) -> object:
        with database_of(app).write() as session:
            longer = update(File).where(File.id == saved)
            session.execute(longer.values(expires_at=now() + timedelta(hours=1)))
        return remove(ids, due)

    monkeypatch.setattr(expiry, "_remove_rows", put_off_first)
    assert expiry.run() == 1
    assert app.test_client().get(f"/uploads/{saved}").data == b"text"
    assert counted(app) == (1, 4)


def test_a_store_that_is_down_keeps_its_others(
    local_app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.expiry._BATCH", 1)
    end(local_app, *ending(local_app, 3))
    storage = parts(local_app).storages["local"]
    works = storage.delete

    def fail(key: str) -> None:
        raise StorageUnavailable("it is down")

    monkeypatch.setattr(storage, "delete", fail)
    assert parts(local_app).expiry.run() == 1
    monkeypatch.setattr(storage, "delete", works)
    assert parts(local_app).expiry.run() == 2
    assert len(objects(local_app)) == 1, "an orphan, which is looked for by its own"


def test_an_expired_file_makes_room_in_a_quota(app: Holdall) -> None:
    (file_id,) = ending(app)
    parts(app).collections.set(EVERYONE, "brief", {"max_files": 1})
    end(app, file_id)
    parts(app).expiry.run()
    store(app, "brief")


def test_what_was_written_down_for_a_while_goes(app: Holdall) -> None:
    past, long_ago = now() - SECOND, now() - timedelta(days=30)
    with database_of(app).write() as session:
        session.add(UsedLink(id="old", file_id="f", expires_at=long_ago))
        session.add(UsedLink(id="late", file_id="f", expires_at=past))
        session.add(Failure(client="c", count=3, until=past))
        answer = IdempotencyKey(owner="", key="k", request="r", file_ids=[], expires_at=past)
        session.add(answer)
    parts(app).expiry.run()
    with database_of(app).read() as session:
        assert list(session.scalars(select(UsedLink.id))) == ["late"]
        assert session.scalar(select(func.count()).select_from(Failure)) == 0
        assert session.scalar(select(func.count()).select_from(IdempotencyKey)) == 0


# What caches are told


@pytest.mark.parametrize("left", (0, 1, 600))
def test_no_cache_keeps_a_file_for_longer_than_it_lives(left: int) -> None:
    file = replace(FILE, expires_at=NOW + timedelta(seconds=left + 0.9))
    told = headers_of(ask(file=file))["cache-control"]
    assert told == (f"public, max-age={left}, immutable" if left else "public, no-cache")
    etag = {"if-none-match": f'"{file.etag}"'}
    assert headers_of(ask(etag, file=file))["cache-control"] == told
    signed = headers_of(ask(file=file, access=Access(Grant.SIGNED, seconds_left=3000)))
    assert signed["cache-control"] == f"public, max-age={left}"
    assert headers_of(ask(file=file, access=PERSONAL))["cache-control"] == "private, no-store"


def test_a_file_that_lives_long_is_cached_as_its_collection_says() -> None:
    file = replace(FILE, expires_at=NOW + timedelta(days=30))
    assert headers_of(ask(file=file))["cache-control"] == headers_of(ask())["cache-control"]


def test_no_link_of_a_store_outlives_the_file() -> None:
    file = replace(FILE, expires_at=NOW + timedelta(minutes=10))
    answer = ask(file=file, way=Way.REDIRECT, access=PUBLIC)
    assert (answer.status, answer.hand_off is not None) == (302, True)
    assert answer.hand_off is not None
    assert answer.hand_off.lease.left(NOW) <= 600
    told = headers_of(answer)["cache-control"]
    assert int(told.partition("max-age=")[2].partition(",")[0]) <= 600
    assert ask(file=replace(file, expires_at=NOW + SECOND), way=Way.REDIRECT).status == 200
