"""Expiry: what clients have given up goes, with all that it held; nothing else is touched."""

import hashlib
import threading
from datetime import timedelta

import pytest

from app import Holdall
from models import now
from services import expiry
from services.expiry import REMEMBERED
from services.locks import Locks
from storage.errors import StorageUnavailable
from tests.conftest import MakeApp, parts
from tests.http.test_tus import VERSION, head, join, partial, patch
from tests.services.uploading import (
    PART,
    Sent,
    database_of,
    expires_at,
    row_of,
    storage_of,
    stored,
)

LONG = 2 * PART


def run(app: Holdall) -> int:
    return parts(app).expiry.run()


def end(sent: Sent) -> None:
    """Let the upload have expired a second ago."""
    expires_at(sent.app, sent.id, now() - timedelta(seconds=1))


def files(app: Holdall) -> int:
    total: int = app.test_client().get("/api/files").get_json()["total"]
    return total


def fail_once(monkeypatch: pytest.MonkeyPatch, target: object, name: str) -> None:
    """Let a method of a store fail at its next call, and work again after."""
    works = getattr(target, name)

    def fail(*_: object, **__: object) -> None:
        monkeypatch.setattr(target, name, works)
        raise StorageUnavailable("it is down")

    monkeypatch.setattr(target, name, fail)


@pytest.mark.parametrize("sent_bytes", (0, 100, PART, PART + 9000))
def test_an_expired_upload_leaves_nothing(app: Holdall, sent_bytes: int) -> None:
    sent = Sent.begin(app, LONG)
    if sent_bytes:
        assert sent.send(0, sent_bytes).status_code == 204
    end(sent)
    assert run(app) == 1
    assert stored(app) == []
    assert sent.head().status_code == 410
    assert sent.send(sent_bytes).status_code == 410
    assert sent.client.delete(sent.url, headers=VERSION).status_code == 410
    assert run(app) == 0


def test_only_what_has_expired_is_dropped(app: Holdall) -> None:
    expired, alive, done = Sent.begin(app, LONG), Sent.begin(app, LONG), Sent.begin(app, 20_000)
    for sent in (expired, alive, done):
        assert sent.send(0, 20_000).status_code == 204
    file = done.file()
    end(expired)
    assert run(app) == 1
    assert expired.head().status_code == 410
    assert alive.offset() == 20_000
    assert alive.send(20_000).status_code == 204
    assert alive.file()["sha256"] == hashlib.sha256(alive.whole).hexdigest()
    assert done.client.get(file["url"]).data == done.whole
    assert len(stored(app)) == files(app) == 2


def test_an_expired_upload_is_gone_before_anything_looks(app: Holdall) -> None:
    sent = Sent.begin(app, LONG)
    assert sent.send(0, 9000).status_code == 204
    end(sent)
    assert sent.head().status_code == 410
    assert sent.send(9000).status_code == 410
    assert "Upload-Offset" not in sent.head().headers


def test_each_append_puts_the_end_off(local_app: Holdall) -> None:
    sent = Sent.begin(local_app, LONG)
    expires_at(local_app, sent.id, now() + timedelta(seconds=30))
    assert sent.send(0, 1).status_code == 204
    row = row_of(local_app, sent.id)
    assert row is not None and row.expires_at is not None
    assert row.expires_at > now() + timedelta(hours=23)


def test_one_that_is_being_written_is_left_alone(app: Holdall) -> None:
    sent = Sent.begin(app, LONG)
    assert sent.send(0, 9000).status_code == 204
    end(sent)
    before = stored(app)
    with Locks(database_of(app)).hold(sent.id):
        assert run(app) == 0
        assert stored(app) == before
        row = row_of(app, sent.id)
        assert row is not None
        assert row.state == "open"
    assert run(app) == 1
    assert stored(app) == []


@pytest.mark.parametrize("size", (100, PART + 9000))
def test_one_whose_bytes_are_all_there_is_finished(
    app: Holdall, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = Sent.begin(app, size)
    fail_once(monkeypatch, storage_of(app), "finish")
    assert sent.send().status_code == 503
    end(sent)
    assert run(app) == 0
    (file,) = sent.client.get("/api/files").get_json()["items"]
    assert file["sha256"] == hashlib.sha256(sent.whole).hexdigest()
    assert sent.client.get(file["url"]).data == sent.whole
    assert len(stored(app)) == 1


def test_a_finished_upload_is_forgotten_and_its_file_stays(app: Holdall) -> None:
    sent = Sent.begin(app, 9000)
    assert sent.send().status_code == 204
    file = sent.file()
    end(sent)
    assert run(app) == 0
    assert sent.head().status_code == 404
    assert sent.client.get(file["url"]).data == sent.whole


def test_finished_parts_go_and_what_was_joined_stays(app: Holdall) -> None:
    client = app.test_client()
    urls = [partial(client, b"one, "), partial(client, b"two")]
    joined = join(client, urls)
    link = joined.headers["Upload-File-Url"]
    for url in (*urls, joined.headers["Location"]):
        end(Sent(app, client, url, b""))
    assert run(app) == 2
    assert [head(client, url).status_code for url in urls] == [410, 410]
    assert head(client, joined.headers["Location"]).status_code == 404
    assert client.get(link).data == b"one, two"
    assert len(stored(app)) == 1
    assert join(client, urls).status_code == 400


def test_a_finishing_part_goes_too(app: Holdall, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = Sent.begin(app, 100, Upload_Concat="partial")
    fail_once(monkeypatch, storage_of(app), "finish")
    assert sent.send().status_code == 503
    end(sent)
    assert run(app) == 1
    assert stored(app) == []
    assert files(app) == 0


def test_it_is_forgotten_in_the_end(local_app: Holdall) -> None:
    sent = Sent.begin(local_app, LONG)
    end(sent)
    assert run(local_app) == 1
    expires_at(local_app, sent.id, now() - REMEMBERED + timedelta(minutes=1))
    run(local_app)
    assert sent.head().status_code == 410
    expires_at(local_app, sent.id, now() - REMEMBERED - timedelta(seconds=1))
    run(local_app)
    assert sent.head().status_code == 404
    assert row_of(local_app, sent.id) is None


@pytest.mark.parametrize("sent_bytes", (9000, PART + 9000))
def test_what_a_store_that_was_down_still_holds_goes_later(
    app: Holdall, sent_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = Sent.begin(app, LONG)
    assert sent.send(0, sent_bytes).status_code == 204
    expires_at(app, sent.id, now() - 2 * REMEMBERED)
    fail_once(monkeypatch, storage_of(app), "discard")
    assert run(app) == 1
    assert stored(app) != []
    assert sent.head().status_code == 410
    run(app)
    assert stored(app) == []
    run(app)
    assert sent.head().status_code == 404


def test_one_that_cannot_be_dropped_does_not_keep_the_others(
    local_app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = [Sent.begin(local_app, 100) for _ in range(3)]
    fail_once(monkeypatch, storage_of(local_app), "finish")
    stuck = uploads[1]
    assert stuck.send().status_code == 503
    for sent in uploads:
        end(sent)
    fail_once(monkeypatch, storage_of(local_app), "finish")
    assert run(local_app) == 2
    assert files(local_app) == 0
    run(local_app)
    assert files(local_app) == 1


def test_more_than_a_batch_is_dropped_in_one_run(
    local_app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "_BATCH", 2)
    for _ in range(5):
        end(Sent.begin(local_app, 10))
    assert run(local_app) == 5


def test_an_upload_that_finishes_while_it_expires_is_kept_or_gone(app: Holdall) -> None:
    """Sweep while the last bytes come, at every distance from the end of its time."""
    client = app.test_client()
    for delay in range(0, 60, 10):
        sent = Sent.begin(app, 20_000)
        assert sent.send(0, 10_000).status_code == 204
        before = files(app)
        expires_at(app, sent.id, now() + timedelta(milliseconds=delay))
        sweeping = threading.Thread(target=run, args=(app,))
        sweeping.start()
        response = sent.send(10_000)
        sweeping.join(60)
        assert response.status_code in (204, 410)
        if response.status_code == 204:
            assert client.get(sent.file()["url"]).data == sent.whole
        expires_at(app, sent.id, now() - timedelta(seconds=1))
        run(app)
        assert files(app) - before == (response.status_code == 204)
    assert len(stored(app)) == files(app)


def test_sweeping_all_the_time_loses_nothing(app: Holdall) -> None:
    """Drop what has expired over and over while others upload."""
    done = threading.Event()

    def sweep() -> None:
        while not done.is_set():
            run(app)

    sweeping = threading.Thread(target=sweep)
    sweeping.start()
    try:
        for number in range(4):
            given_up, sent = Sent.begin(app, LONG), Sent.begin(app, 60_000 + number)
            assert given_up.send(0, 9000).status_code == 204
            end(given_up)
            for start in range(0, len(sent.whole), 20_000):
                assert sent.send(start, start + 20_000).status_code == 204
            assert sent.client.get(sent.file()["url"]).data == sent.whole
    finally:
        done.set()
        sweeping.join(60)
    run(app)
    assert len(stored(app)) == files(app) == 4


def test_the_thread_drops_by_itself(app_with: MakeApp) -> None:
    app = app_with(SWEEP_INTERVAL="1")
    sent = Sent.begin(app, 100)
    assert sent.send(0, 50).status_code == 204
    end(sent)
    sweeper = parts(app).expiry
    sweeper.start()
    try:
        gone = threading.Event()
        for _ in range(100):
            row = row_of(app, sent.id)
            if row is not None and row.key == "":
                break
            gone.wait(0.1)
        assert stored(app) == []
        assert patch(sent.client, sent.url, 50, b"x").status_code == 410
    finally:
        sweeper.stop()
