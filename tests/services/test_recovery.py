"""A fault at each step of the end of an upload: whoever comes next finishes what was begun.

    append ─▸ bytes kept ─▸ checkpoint ─▸ finish ─▸ publish ─▸ answer

Wherever it breaks, HEAD tells no more than what is durable, the client goes on from there, and in
the end there is one file with the right bytes. What was left beside it in the store is gone when
the upload itself is forgotten.
"""

import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select
from typing_extensions import Buffer

from app import Holdall
from models import Upload, now
from services.resumable import Uploads
from services.resumed import ResumedFeed
from storage.base import ObjectInfo
from storage.errors import StorageUnavailable
from tests.conftest import parts
from tests.http.test_tus import VERSION, join
from tests.services.uploading import (
    PART,
    Sent,
    change,
    database_of,
    expires_at,
    row_of,
    storage_of,
    stored,
)

SIZES = (0, 100, 9000, PART, PART + 9000)
Fault = Callable[[pytest.MonkeyPatch, object, str], None]


def before(monkeypatch: pytest.MonkeyPatch, target: object, name: str) -> None:
    """Break off once instead of doing it."""
    works = getattr(target, name)

    def fail(*_: object, **__: object) -> None:
        monkeypatch.setattr(target, name, works)
        raise StorageUnavailable("broken off before")

    monkeypatch.setattr(target, name, fail)


def after(monkeypatch: pytest.MonkeyPatch, target: object, name: str) -> None:
    """Do it once and break off, as if its answer had been lost."""
    works = getattr(target, name)

    def fail(*arguments: object, **named: object) -> None:
        monkeypatch.setattr(target, name, works)
        works(*arguments, **named)
        raise StorageUnavailable("broken off after")

    monkeypatch.setattr(target, name, fail)


def finished(sent: Sent) -> None:
    """Check that an upload is one file, the right one, and that there is nothing else."""
    told = sent.head()
    assert told.status_code == 200
    assert told.headers["Upload-Offset"] == str(len(sent.whole))
    (file,) = sent.client.get("/api/files").get_json()["items"]
    assert file["id"] == told.headers["Upload-File-Id"]
    assert file["sha256"] == hashlib.sha256(sent.whole).hexdigest()
    assert sent.client.get(file["url"]).data == sent.whole
    assert sent.send(len(sent.whole)).status_code == 204
    assert sent.client.get("/api/files").get_json()["total"] == 1
    expires_at(sent.app, sent.id, now())
    parts(sent.app).expiry.run()
    assert sent.head().status_code == 404
    assert len(stored(sent.app)) == 1
    assert sent.client.get(file["url"]).data == sent.whole


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("fault", (before, after))
@pytest.mark.parametrize("step", ("finish", "publish"))
def test_the_next_request_ends_what_was_broken_off(
    app: Holdall, monkeypatch: pytest.MonkeyPatch, step: str, fault: Fault, size: int
) -> None:
    sent = Sent.begin(app, max(size, 1)) if size else _empty(app, monkeypatch)
    target = storage_of(app) if step == "finish" else parts(app).publishing
    fault(monkeypatch, target, step)
    answer = sent.send() if size else sent.head()
    assert answer.status_code == 503
    finished(sent)


def _empty(app: Holdall, monkeypatch: pytest.MonkeyPatch) -> Sent:
    """Begin an upload of no bytes whose creation breaks off before it is taken in."""
    client = app.test_client()
    before(monkeypatch, parts(app).uploads, "get")
    broken = client.post("/api/tus", headers=VERSION | {"Upload-Length": "0"})
    assert broken.status_code == 503
    with database_of(app).read() as session:
        upload_id = session.scalars(select(Upload.id)).one()
    return Sent(app, client, f"/api/tus/{upload_id}", b"")


@pytest.mark.parametrize("size", (100, 9000, PART, PART + 9000))
def test_bytes_that_were_not_written_down_are_sent_again(
    app: Holdall, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    sent = Sent.begin(app, size)
    for fault in (before, before):
        fault(monkeypatch, Uploads, "_checkpoint")
        assert sent.send().status_code == 503
        assert sent.offset() == 0
    assert sent.send().status_code == 204
    finished(sent)


@pytest.mark.parametrize("size", (200, 2 * PART + 9000))
def test_a_break_after_the_checkpoint_of_a_piece_keeps_it(
    app: Holdall, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    sent = Sent.begin(app, size)
    half = size // 2
    after(monkeypatch, Uploads, "_checkpoint")
    assert sent.send(0, half).status_code == 503
    assert sent.offset() == half
    assert sent.send(half).status_code == 204
    finished(sent)


@pytest.mark.parametrize("size", (20_000, 2 * PART + 9000))
def test_what_an_append_replaced_goes_at_the_end_at_the_latest(
    app: Holdall, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    sent = Sent.begin(app, size)
    assert sent.send(0, 9000).status_code == 204
    before(monkeypatch, storage_of(app), "delete")
    assert sent.send(9000, 9100).status_code == 204
    assert sent.send(9100).status_code == 204
    finished(sent)


def test_each_step_may_break_off_in_turn(app: Holdall, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = Sent.begin(app, PART + 9000)
    before(monkeypatch, storage_of(app), "finish")
    assert sent.send().status_code == 503
    for target, step, fault in (
        (storage_of(app), "finish", after),
        (parts(app).publishing, "publish", before),
        (parts(app).publishing, "publish", after),
    ):
        fault(monkeypatch, target, step)
        assert sent.head().status_code == 503
    finished(sent)


@pytest.mark.parametrize("fault", (before, after))
def test_a_part_is_finished_by_the_next_request(
    app: Holdall, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    sent = Sent.begin(app, 9000, Upload_Concat="partial")
    fault(monkeypatch, storage_of(app), "finish")
    assert sent.send().status_code == 503
    assert join(sent.client, [sent.url]).status_code == 409
    assert sent.offset() == 9000
    assert "Upload-File-Id" not in sent.head().headers
    joined = join(sent.client, [sent.url])
    assert sent.client.get(joined.headers["Upload-File-Url"]).data == sent.whole


def test_a_join_that_breaks_off_leaves_its_parts(
    app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = Sent.begin(app, 9000, Upload_Concat="partial")
    assert sent.send().status_code == 204
    before(monkeypatch, parts(app).publishing, "publish")
    assert join(sent.client, [sent.url]).status_code == 503
    assert len(stored(app)) == 1
    assert join(sent.client, [sent.url]).status_code == 201
    assert len(stored(app)) == 2


@pytest.mark.parametrize("step", ("finish", "publish"))
@pytest.mark.parametrize("size", (100, PART + 9000))
def test_terminating_what_was_broken_off_leaves_nothing(
    app: Holdall, monkeypatch: pytest.MonkeyPatch, step: str, size: int
) -> None:
    sent = Sent.begin(app, size)
    if step == "finish":
        after(monkeypatch, storage_of(app), "finish")
    else:
        before(monkeypatch, parts(app).publishing, "publish")
    assert sent.send().status_code == 503
    assert sent.client.delete(sent.url, headers=VERSION).status_code == 204
    assert sent.head().status_code == 404
    assert stored(app) == []
    assert sent.client.get("/api/files").get_json()["total"] == 0


@pytest.mark.parametrize("size", (100, PART + 9000))
def test_what_a_terminated_upload_left_in_a_store_that_was_down_goes_later(
    app: Holdall, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    sent = Sent.begin(app, 2 * PART)
    assert sent.send(0, size).status_code == 204
    before(monkeypatch, storage_of(app), "discard")
    assert sent.client.delete(sent.url, headers=VERSION).status_code == 204
    assert sent.head().status_code == 410
    parts(app).expiry.run()
    assert stored(app) == []


def test_an_upload_whose_bytes_are_gone_is_gone(app: Holdall) -> None:
    sent = Sent.begin(app, 20_000)
    assert sent.send(0, 9000).status_code == 204
    row = row_of(app, sent.id)
    assert row is not None
    parts(app).storages[row.backend].discard(row.key, row.storage_state)  # type: ignore[attr-defined]
    assert sent.send(9000).status_code == 410
    assert sent.head().status_code == 404


class Meanwhile:
    """A step during which the lease runs out, and somebody else comes to ask how far it is."""

    def __init__(self, sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
        self._sent = sent
        self._monkeypatch = monkeypatch
        self._works: Callable[..., Any] = storage_of(sent.app).finish  # type: ignore[attr-defined]
        monkeypatch.setattr(storage_of(sent.app), "finish", self)

    def __call__(self, *arguments: object) -> ObjectInfo:
        self._monkeypatch.setattr(storage_of(self._sent.app), "finish", self._works)
        stored_now: ObjectInfo = self._works(*arguments)
        change(self._sent.app, self._sent.id, lock_until=now() - timedelta(seconds=1))
        assert self._sent.offset() == len(self._sent.whole)
        return stored_now


@pytest.mark.parametrize("size", (100, PART + 9000))
def test_two_that_finish_at_once_make_one_file(
    app: Holdall, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    sent = Sent.begin(app, size)
    Meanwhile(sent, monkeypatch)
    late = sent.send()
    assert (late.status_code, late.get_json()["code"]) == (409, "conflict")
    finished(sent)


def test_who_lost_the_lease_breaks_nothing_of_the_one_who_has_it(
    app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The late one has bytes in hand, and must neither write them nor end the upload."""
    sent = Sent.begin(app, 30_000)
    assert sent.send(0, 9000).status_code == 204
    works = ResumedFeed._store

    def late(feed: ResumedFeed, chunk: Buffer) -> None:
        monkeypatch.setattr(ResumedFeed, "_store", works)
        change(app, sent.id, lock_until=now() - timedelta(seconds=1))
        assert sent.send(9000, 20_000).status_code == 204
        works(feed, chunk)

    monkeypatch.setattr(ResumedFeed, "_store", late)
    assert sent.send(9000, 9100).status_code == 409
    assert sent.offset() == 20_000
    assert sent.send(20_000).status_code == 204
    finished(sent)
