"""gc: what has expired and what crashes left goes, and nothing else is touched."""

import os
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select, update

from app import Holdall
from models import File, now
from services import fsck
from services.gc import ROUND, Collector
from services.gc_items import Item, Kind, Options
from services.gc_leftovers import Leftovers
from storage.capabilities import Sweepable
from storage.keys import folders, new_key
from tests.conftest import MakeApp, objects, parts
from tests.http.test_uploads import PNG
from tests.services.checking import file, is_stored, keep, row, rows_of
from tests.services.collecting import (
    age,
    collect,
    collect_with_problems,
    kinds,
    leave_multipart,
    leave_pending,
    leave_scratch,
    leave_staged,
    leave_temporary,
    leave_unfinished,
    uploads_folder,
)
from tests.services.test_direct import end, sent_in_parts, sent_whole
from tests.services.uploading import Sent, change, database_of, row_of, storage_of, stored
from tests.storage.material import put
from views import metrics

DAY = 86_400


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at orphans again at once, in the turns of the thread too."""
    monkeypatch.setattr(fsck, "REPAIR_PATIENCE", timedelta(0))


def expire(app: Holdall, file_id: str) -> None:
    over = now() - timedelta(seconds=1)
    with database_of(app).write() as session:
        session.execute(update(File).where(File.id == file_id).values(expires_at=over))


def leave_by_crash(app: Holdall) -> dict[Kind, int]:
    """Leave one of each kind that a crash can leave in the storage, and return the kinds."""
    for leave in (leave_multipart, leave_staged, leave_pending, leave_scratch, keep):
        leave(app)
    left = {Kind.MULTIPART, Kind.STAGING, Kind.PENDING, Kind.SCRATCH, Kind.ORPHAN}
    if isinstance(storage_of(app), Sweepable):
        leave_unfinished(app)
        leave_temporary(app)
        left |= {Kind.UNFINISHED, Kind.TEMPORARY}
    return dict.fromkeys(left, 1)


def leave_all(app: Holdall) -> dict[Kind, int]:
    """Leave these, and an upload and a file that have expired."""
    left = leave_by_crash(app)
    end(app, sent_whole(app.test_client())["id"])
    expire(app, file(app)[0])
    return left | {Kind.UPLOAD: 1, Kind.FILE: 1}


def test_all_that_was_left_goes_and_all_that_is_alive_stays(
    app: Holdall, client: FlaskClient
) -> None:
    kept = [file(app, b"some text")[1] for _ in range(5)]
    whole, upload, sent = sent_whole(client), sent_in_parts(client), Sent.begin(app, 20_000)
    assert sent.send(0, 9000).status_code == 204
    before = stored(app)
    left = leave_all(app)
    assert kinds(collect(app, dry_run=True)) == left
    assert kinds(collect(app)) == left
    assert stored(app) == before
    assert os.listdir(parts(app).settings.scratch) == []
    assert collect(app) == []
    assert client.post(whole["confirm_url"]).status_code == 201
    assert upload.complete().status_code == 200
    assert sent.send(9000).status_code == 204
    assert {*kept} < {*objects(app)}
    assert len(rows_of(app)) == len(objects(app)) == 8
    assert collect(app) == []


def test_nothing_younger_than_the_grace_period_goes(app: Holdall) -> None:
    file(app)
    leave_by_crash(app)
    before = stored(app)
    assert collect(app, grace=timedelta(hours=1)) == []
    assert stored(app) == before


def test_a_dry_run_changes_nothing(app: Holdall) -> None:
    file(app)
    left = leave_all(app)
    before, rows = stored(app), rows_of(app)
    assert kinds(collect(app, dry_run=True)) == left
    assert (stored(app), rows_of(app)) == (before, rows)


def test_what_a_row_names_by_the_time_it_is_asked_stays(
    app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that is written between the listing and the removal is seen."""
    file(app)
    orphan, staged = keep(app), leave_staged(app)
    sent = Sent.begin(app, 20_000)
    works = Leftovers._unknown

    def late(self: Leftovers, *arguments: object, **options: object) -> Iterator[Item]:
        change(app, sent.id, key=staged)
        return works(self, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Leftovers, "_unknown", late)
    monkeypatch.setattr(fsck.Options, "wait", lambda self: row(app, orphan))
    assert collect(app) == []
    assert is_stored(app, orphan)
    assert is_stored(app, staged)


# Files of a local disk


@pytest.mark.parametrize("seconds", (0, 365 * DAY))
def test_a_file_that_is_being_written_stays_however_old_it_is(
    local_app: Holdall, seconds: int
) -> None:
    key = new_key()
    with storage_of(local_app).create(key) as writer:
        writer.write(PNG)
        (temporary,) = (uploads_folder(local_app) / ".tmp").iterdir()
        age(temporary, seconds)
        row(local_app, key, size=len(PNG))
        assert collect(local_app) == []
        writer.commit()
    assert is_stored(local_app, key)


def test_what_is_no_temporary_file_of_ours_stays(local_app: Holdall, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("not ours")
    made = leave_temporary(local_app)
    folder, scratch = made.parent, parts(local_app).settings.scratch
    (folder / "notes.txt").write_text("not ours")
    (folder / ("a" * 32)).symlink_to(outside)
    (folder / ("b" * 32)).mkdir()
    os.mkfifo(folder / ("c" * 32))
    (scratch / "link").symlink_to(outside)
    (scratch / "metrics").mkdir()
    (scratch / "metrics" / "counter.db").write_text("in use")
    assert [item.name for item in collect(local_app)] == [made.name]
    assert len(list(folder.iterdir())) == 4
    assert sorted(os.listdir(scratch)) == ["link", "metrics"]
    assert outside.read_text() == "not ours"


def test_what_has_no_date_stays(local_app: Holdall) -> None:
    file(local_app)
    orphan, staged = keep(local_app), leave_staged(local_app)
    unfinished = leave_unfinished(local_app).replace("/", ".")
    undated = [
        leave_temporary(local_app),
        leave_scratch(local_app),
        uploads_folder(local_app) / orphan,
        uploads_folder(local_app) / staged,
        uploads_folder(local_app) / ".unfinished" / unfinished,
    ]
    for path in undated:
        os.utime(path, (0, 0))
    assert collect(local_app) == []
    for path in undated:
        os.utime(path, (time.time() + DAY, time.time() + DAY))
    assert collect(local_app) == []
    assert all(path.exists() for path in undated)


def test_an_upload_in_parts_is_as_old_as_its_last_part(
    local_app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time
    with monkeypatch.context() as earlier:
        earlier.setattr("storage.local_multipart.time.time", lambda: real() - DAY)
        leave_multipart(local_app)
    assert collect(local_app, grace=timedelta(hours=1)) == []
    (folder,) = (uploads_folder(local_app) / ".unfinished").iterdir()
    age(folder, 3700)
    assert kinds(collect(local_app, grace=timedelta(hours=1))) == {Kind.MULTIPART: 1}
    assert stored(local_app) == []


# What stands in the way of a mistake


def test_another_database_than_that_of_the_objects_costs_no_object(local_app: Holdall) -> None:
    file(local_app)
    orphans = [keep(local_app) for _ in range(3)]
    items, collected = collect_with_problems(local_app)
    assert kinds(items) == {Kind.ORPHAN: 3}
    assert all("another database" in (item.note or "") for item in items)
    assert (collected.left, collected.number) == (3, {})
    assert all(is_stored(local_app, key) for key in orphans)
    assert kinds(collect(local_app, force=True)) == {Kind.ORPHAN: 3}
    assert not any(is_stored(local_app, key) for key in orphans)


def test_what_somebody_else_put_there_stays(local_app: Holdall) -> None:
    file(local_app)
    put(storage_of(local_app), "ab/foreign", PNG)
    (item,) = collect(local_app)
    assert "not one that this service gives" in (item.note or "")
    assert is_stored(local_app, "ab/foreign")


def test_a_store_that_is_down_keeps_no_other_from_being_looked_through(app_with: MakeApp) -> None:
    app = app_with(
        STORAGE_DEAD_URL="s3://bucket?endpoint=http://127.0.0.1:9&max_attempts=1",
        STORAGE_DEAD_ACCESS_KEY_ID="a" * 20,
        STORAGE_DEAD_SECRET_ACCESS_KEY="b" * 40,
    )
    left = leave_temporary(app)
    items, collected = collect_with_problems(app)
    assert [item.name for item in items] == [left.name]
    assert [*collected.problems] == ["dead"]


def test_rows_of_a_backend_that_is_gone_stop_nothing(local_app: Holdall) -> None:
    sent, lost = Sent.begin(local_app, 100), file(local_app, backend="lost")[0]
    row(local_app, new_key(), backend="lost", state="pending")
    change(local_app, sent.id, backend="lost", id="a" * 26)
    behind = Sent.begin(local_app, 100)
    for upload_id in ("a" * 26, behind.id):
        end(local_app, upload_id)
    expire(local_app, lost)
    assert kinds(collect(local_app)) == {Kind.UPLOAD: 2, Kind.FILE: 1, Kind.ORPHAN: 1}
    kept = row_of(local_app, "a" * 26)
    assert kept is not None and kept.key


def test_a_row_that_turns_ready_meanwhile_is_a_file(
    local_app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = leave_pending(local_app)
    database = parts(local_app).collector._database
    works = database.write

    def late(*arguments: object) -> object:
        monkeypatch.setattr(database, "write", works)
        ready = update(File).where(File.id == waiting).values(state="ready")
        with works() as session:
            session.execute(ready)
        return works()

    monkeypatch.setattr(database, "write", late)
    pending = parts(local_app).collector._pending(Options(grace=timedelta(0)), now())
    assert list(pending) == []
    with database_of(local_app).read() as session:
        assert session.scalars(select(File.id)).all() == [waiting]
    assert len(objects(local_app)) == 1


# By itself


def test_every_folder_is_walked_once_a_day_whatever_the_interval(local_app: Holdall) -> None:
    for interval in (30.0, 600.0, 3601.5, ROUND):
        collector = collector_of(local_app, interval)
        first = 1_800_000_000.0
        collector._folders_due(first)
        walked: list[str] = []
        for turn in range(1, int(ROUND / interval) + 2):
            walked += collector._folders_due(min(first + turn * interval, first + ROUND))
        assert sorted(walked) == folders()


def test_a_turn_walks_few_folders_also_after_a_long_pause(local_app: Holdall) -> None:
    collector = collector_of(local_app, 600)
    collector._folders_due(1_800_000_000.0)
    assert len(collector._folders_due(1_800_000_000.0 + 100 * ROUND)) < 80


def test_a_turn_looks_at_the_folders_whose_time_has_come(
    local_app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        file(local_app)
    orphans = [keep(local_app) for _ in range(2)]
    for key in orphans:
        age(uploads_folder(local_app) / key, 2 * DAY)
    collector = parts(local_app).collector
    monkeypatch.setattr(collector, "_folders_due", lambda _: (orphans[0][:3],))
    collector._tally("local").paired = 3
    assert collector.run().number == {Kind.ORPHAN: 1}
    assert not is_stored(local_app, orphans[0])
    assert is_stored(local_app, orphans[1])
    assert collector.run().number == {}


def test_one_instance_at_a_time_collects(local_app: Holdall) -> None:
    first, second = collector_of(local_app, 600), collector_of(local_app, 600)
    assert [each._take() for each in (first, second, first, second)] == [True, False, True, False]


def test_the_thread_collects_by_itself_and_its_figures_are_shown(app_with: MakeApp) -> None:
    app = app_with(GC_INTERVAL="1", GC_GRACE="3600")
    old, young = leave_temporary(app), leave_temporary(app)
    age(old, 3700)
    before = metrics.COLLECTED.labels("temporary")._value.get()
    collector = parts(app).collector
    collector.start()
    try:
        pause = threading.Event()
        for _ in range(300):
            counted = metrics.COLLECTED.labels("temporary")._value.get() - before
            if counted:
                break
            pause.wait(0.1)
    finally:
        collector.stop()
    assert counted == 1
    assert (old.exists(), young.exists()) == (False, True)
    shown = app.test_client().get("/metrics").get_data(as_text=True)
    assert 'holdall_gc_collected_bytes_total{kind="temporary"}' in shown


def collector_of(app: Holdall, interval: float) -> Collector:
    """Make a collector as another instance would."""
    made = parts(app)
    return Collector(
        database_of(app),
        made.storages,
        made.expiry,
        made.files,
        scratch=made.settings.scratch,
        grace=timedelta(days=1),
        interval=interval,
    )
