"""What puts files into the trash, takes them out and empties it, and the counters all the while."""

import random
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import OperationalError

from app import Holdall
from models import Counter, File, now
from services.caller import EVERYONE
from services.gc_items import Kind
from tests.conftest import MakeApp, objects, parts
from tests.services.checking import file
from tests.services.collecting import collect
from tests.services.uploading import database_of

ROUNDS = 120


def recounted(app: Holdall) -> dict[tuple[str, str], tuple[int, ...]]:
    """Count files by collection and owner the slow way."""
    in_trash = File.deleted_at.is_not(None)
    query = (
        select(
            File.collection,
            func.coalesce(File.owner, ""),
            func.count(),
            func.sum(File.size),
            func.count().filter(in_trash),
            func.coalesce(func.sum(File.size).filter(in_trash), 0),
        )
        .where(File.state == "ready")
        .group_by(File.collection, File.owner)
    )
    with database_of(app).read() as session:
        return {(row[0], row[1]): tuple(map(int, row[2:])) for row in session.execute(query)}


def counted(app: Holdall) -> dict[tuple[str, str], tuple[int, ...]]:
    """Return the counters that are not zero."""
    columns = (Counter.files, Counter.bytes, Counter.trashed_files, Counter.trashed_bytes)
    with database_of(app).read() as session:
        rows = session.execute(select(Counter.collection, Counter.owner, *columns)).all()
    return {(row[0], row[1]): tuple(row[2:]) for row in rows if any(row[2:])}


def back(app: Holdall, **ago: Any) -> None:
    """Let everything have gone into the trash so much earlier."""
    with database_of(app).write() as session:
        rows = session.execute(select(File.id, File.deleted_at).where(File.deleted_at.is_not(None)))
        for file_id, deleted_at in rows.all():
            assert deleted_at is not None
            earlier = deleted_at - timedelta(**ago)
            session.execute(update(File).where(File.id == file_id).values(deleted_at=earlier))


def test_the_counters_are_right_whatever_is_done(app: Holdall) -> None:
    chance, ids = random.Random(6), list[str]()
    parts(app).collections.set(EVERYONE, "photos", {})
    client = app.test_client()
    for turn in range(ROUNDS):
        some = chance.sample(ids, min(len(ids), 3))
        match chance.randrange(7):
            case 0 | 1:
                collection = chance.choice(["default", "photos"])
                url = f"/api/upload/{turn}.txt?collection={collection}"
                ids.append(client.put(url, data=b"x" * chance.randrange(1, 50)).get_json()["id"])
            case 2 | 3:
                parts(app).trash.put(EVERYONE, some)
            case 4:
                parts(app).trash.restore(EVERYONE, some)
            case 5:
                parts(app).files.remove_rows(EVERYONE, some[:1])
            case _:
                with database_of(app).write() as session:
                    over = update(File).where(File.id.in_(some[:1]))
                    session.execute(over.values(expires_at=now()))
                parts(app).expiry.run()
        assert counted(app) == recounted(app)
    live, trashed = (
        client.get("/api/files").get_json(),
        client.get("/api/files?trashed=1").get_json(),
    )
    assert live["total"] == len(live["items"]) > 0
    assert trashed["total"] == len(trashed["items"]) > 0
    back(app, days=8)
    parts(app).expiry.run()
    assert counted(app) == recounted(app)
    assert {each[2:] for each in counted(app).values()} == {(0, 0)}


def test_the_trash_is_emptied_of_what_has_been_there_for_long_enough(app: Holdall) -> None:
    (old, _), (restored, _) = file(app), file(app)
    trash = parts(app).trash
    trash.put(EVERYONE, [old, restored])
    back(app, days=7)
    young, _ = file(app)
    kept, _ = file(app)
    trash.put(EVERYONE, [young])
    assert trash.restore(EVERYONE, [restored]) == {restored}
    assert [item.name for item in collect(app, dry_run=True)] == [old]
    assert [(item.kind, item.name) for item in collect(app)] == [(Kind.TRASH, old)]
    assert len(objects(app)) == 3
    assert trash.restore(EVERYONE, [old, young]) == {young}
    assert parts(app).expiry.run() == 0
    assert app.test_client().get("/api/files").get_json()["total"] == 3
    assert parts(app).files.get(EVERYONE, kept).deleted_at is None


def test_a_file_in_the_trash_ends_when_it_was_to_end(local_app: Holdall) -> None:
    ended, _ = file(local_app)
    parts(local_app).trash.put(EVERYONE, [ended])
    with database_of(local_app).write() as session:
        session.execute(update(File).values(expires_at=now()))
    assert parts(local_app).trash.restore(EVERYONE, [ended]) == set()
    listed = local_app.test_client().get("/api/files?trashed=true&q=a").get_json()
    assert (listed["items"], listed["total"]) == ([], 0)
    back(local_app, days=8)
    assert [item.name for item in collect(local_app, dry_run=True)] == [ended]
    assert [(item.kind, item.name) for item in collect(local_app)] == [(Kind.FILE, ended)]
    assert counted(local_app) == {}


def test_what_is_set_decides_how_long_files_stay(app_with: MakeApp) -> None:
    app = app_with(TRASH_EXPIRES_IN="0")
    file_id, _ = file(app)
    parts(app).trash.put(EVERYONE, [file_id])
    assert parts(app).expiry.run() == 1
    assert objects(app) == []


def test_the_trash_counts_toward_a_quota_until_it_is_emptied(local_app: Holdall) -> None:
    parts(local_app).collections.set(EVERYONE, "small", {"max_files": 1})
    client = local_app.test_client()
    first = client.put("/api/upload/a.txt?collection=small", data=b"1").get_json()["id"]
    parts(local_app).trash.put(EVERYONE, [first])
    assert client.put("/api/upload/b.txt?collection=small", data=b"2").status_code == 507
    back(local_app, days=8)
    parts(local_app).expiry.run()
    assert client.put("/api/upload/b.txt?collection=small", data=b"2").status_code == 201


def test_a_move_that_the_database_refuses_changes_nothing(
    local_app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_id, _ = file(local_app)

    def fail(*_: object, **__: object) -> None:
        raise OperationalError("UPDATE", {}, Exception("the disk is full"))

    with monkeypatch.context() as broken:
        broken.setattr("services.trash.count", fail)
        with pytest.raises(OperationalError):
            parts(local_app).trash.put(EVERYONE, [file_id])
    assert parts(local_app).files.get(EVERYONE, file_id).deleted_at is None
    assert counted(local_app) == recounted(local_app)
