"""Files move between backends: every byte, nothing else, and at any moment readable."""

import hashlib
import os
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, update
from sqlalchemy.exc import OperationalError

from app import Holdall
from models import Collection, File, Lease, now
from services import delivery, migration_leftovers, migration_moving, migration_run, migration_turn
from services.fsck_findings import Kind
from services.leases import Leases
from services.migration_figures import CannotBegin, Failure, Stopped
from services.migration_rows import Rows
from services.migration_turn import Turn
from storage.base import Body, Storage
from storage.capabilities import Presigner
from storage.errors import StorageFull, StorageUnavailable
from storage.keys import new_key
from tests.conftest import MakeApp, lent_database, parts
from tests.services.checking import check, file, keep, row
from tests.services.moving import (
    NEW,
    OLD,
    keys_of,
    migration,
    move,
    new_of,
    old_of,
    row_of,
    s3_variables,
)
from tests.services.uploading import begun, database_of
from tests.storage.material import content_of, get, put

WAYS = ("local-s3-sqlite", "s3-local-postgresql", "s3-s3-sqlite")
"""Each pair of stores, and each database once. What hangs on neither is tested on two folders."""
MIB = 1024**2


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    monkeypatch.setattr(migration_moving, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(migration_run, "_PAUSES", (0.0, 0.0))


@pytest.fixture(params=WAYS)
def app(request: pytest.FixtureRequest, app_with: MakeApp, tmp_path: Path) -> Holdall:
    """An application with an old and a new backend."""
    *kinds, database = str(request.param).split("-")
    variables = {"STORAGE_BACKEND": OLD}
    for name, kind in zip((OLD, NEW), kinds, strict=True):
        if kind == "s3":
            variables |= s3_variables(request.getfixturevalue("s3_server"), name)
        else:
            variables[f"STORAGE_{name.upper()}_URL"] = (tmp_path / name).as_uri()
    if database == "postgresql":
        variables["DATABASE_URL"] = lent_database(request)
    return app_with(**variables)


@pytest.fixture
def disks(app_with: MakeApp, tmp_path: Path) -> Holdall:
    """An application with two folders, for what hangs on no store."""
    return app_with(
        STORAGE_BACKEND=OLD,
        STORAGE_OLD_URL=(tmp_path / "old").as_uri(),
        STORAGE_NEW_URL=(tmp_path / "new").as_uri(),
    )


def read(app: Holdall, file_id: str) -> bytes:
    answer = app.test_client().get(f"/uploads/{file_id}")
    assert answer.status_code == 200, answer.data
    return bytes(answer.data)


def test_files_of_any_size_move_and_are_read_from_their_new_place(app: Holdall) -> None:
    contents = [b"", b"text", content_of(300_000), content_of(11 * MIB)]
    files = [file(app, content) for content in contents]
    before = [row_of(app, file_id) for file_id, _ in files]
    tally, failures = move(app)
    assert failures == []
    assert (tally.moved, tally.files, tally.left) == (4, 4, 0)
    assert tally.moved_size == tally.files_size == tally.done_size == sum(map(len, contents))
    for (file_id, key), content, old in zip(files, contents, before, strict=True):
        row = row_of(app, file_id)
        assert (row.backend, row.key) == (NEW, key)
        assert (row.etag, row.sha256, row.updated_at) == (old.etag, old.sha256, old.updated_at)
        assert read(app, file_id) == get(new_of(app), key) == content
    assert keys_of(old_of(app)) == keys_of(new_of(app)), "the originals stay"
    assert check(app, OLD).findings == check(app, NEW, verify=True).findings == []


def test_the_way_back_sends_nothing_twice(disks: Holdall, monkeypatch: pytest.MonkeyPatch) -> None:
    file_id, _ = file(disks, content_of(100_000))
    move(disks)
    monkeypatch.setattr(old_of(disks), "create", refuse_all_but_probes(old_of(disks)))
    tally, failures = move(disks, NEW, OLD)
    assert (failures, tally.moved, tally.reused) == ([], 1, 1)
    assert row_of(disks, file_id).backend == OLD
    assert read(disks, file_id) == content_of(100_000)


def test_originals_are_deleted_when_asked_for(app: Holdall) -> None:
    files = [file(app, b"%d" % number) for number in range(5)]
    orphan = keep(app)
    tally, failures = move(app, delete_source=True)
    assert failures == []
    assert (tally.moved, tally.deleted, tally.deleted_size) == (5, 5, 5)
    assert keys_of(old_of(app)) == [orphan], "what is not a moved file's is left"
    assert [read(app, file_id) for file_id, _ in files] == [b"%d" % n for n in range(5)]
    tally, failures = move(app, NEW, OLD, delete_source=True)
    assert (failures, tally.moved, tally.deleted) == ([], 5, 5)
    assert keys_of(new_of(app)) == []
    assert [read(app, file_id) for file_id, _ in files] == [b"%d" % n for n in range(5)]


def test_originals_of_an_earlier_run_are_deleted_by_a_later_one(disks: Holdall) -> None:
    files = [file(disks, b"%d" % number) for number in range(3)]
    move(disks)
    tally, failures = move(disks, delete_source=True)
    assert (failures, tally.moved, tally.deleted) == ([], 0, 3)
    assert keys_of(old_of(disks)) == []
    assert [read(disks, file_id) for file_id, _ in files] == [b"0", b"1", b"2"]


def test_a_missing_sha256_is_filled_in_and_the_etag_stays(disks: Holdall) -> None:
    file_id, _ = file(disks, b"text", sha256=None, etag="as-it-was")
    tally, failures = move(disks)
    row = row_of(disks, file_id)
    assert (failures, tally.filled) == ([], 1)
    assert (row.sha256, row.etag) == (hashlib.sha256(b"text").hexdigest(), "as-it-was")


@pytest.mark.parametrize("known", (True, False), ids=("sha256", "none yet"))
def test_a_whole_copy_of_a_run_that_was_killed_is_read_and_not_sent_again(
    disks: Holdall, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_id, key = file(disks, b"text", **({} if known else {"sha256": None}))
    put(new_of(disks), key, b"text")
    monkeypatch.setattr(new_of(disks), "create", refuse_all_but_probes(new_of(disks)))
    tally, failures = move(disks)
    assert (failures, tally.moved, tally.reused) == ([], 1, 1)
    assert row_of(disks, file_id).sha256 == hashlib.sha256(b"text").hexdigest()


@pytest.mark.parametrize("content", (b"other bytes", b"tex_"), ids=("another size", "same size"))
@pytest.mark.parametrize("known", (True, False), ids=("sha256", "none yet"))
def test_anything_else_at_the_key_is_replaced(disks: Holdall, content: bytes, known: bool) -> None:
    file_id, key = file(disks, b"text", **({} if known else {"sha256": None}))
    put(new_of(disks), key, content)
    tally, failures = move(disks)
    assert (failures, tally.moved, tally.reused) == ([], 1, 0)
    assert read(disks, file_id) == b"text"


def test_a_source_with_other_bytes_is_not_moved(disks: Holdall) -> None:
    wrong, key = file(disks, b"text")
    short, cut = file(disks, b"text")
    put(old_of(disks), key, b"tex_")
    put(old_of(disks), cut, b"tex")
    right, _ = file(disks, b"right")
    tally, failures = move(disks, delete_source=True)
    assert (tally.moved, tally.failed, tally.left) == (1, 2, 2)
    told = {failure.file: failure.reason for failure in failures}
    assert "bytes with the SHA-256" in told[wrong]
    assert "3 bytes, and its row says 4" in told[short]
    assert sorted(keys_of(old_of(disks))) == sorted([key, cut])
    assert keys_of(new_of(disks)) == [row_of(disks, right).key]


def test_a_missing_object_is_told_and_the_rest_moves(disks: Holdall) -> None:
    lost, key = file(disks, b"text")
    old_of(disks).delete(key)
    other, _ = file(disks, b"other")
    tally, failures = move(disks)
    assert failures == [Failure(lost, key, 4, "its object is not on the source")]
    assert (tally.moved, tally.left) == (1, 1)
    assert row_of(disks, lost).backend == OLD
    assert row_of(disks, other).backend == NEW


def test_a_copy_that_comes_back_changed_is_not_switched_to(
    disks: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_id, key = file(disks, b"text")
    target = new_of(disks)
    works = target.open

    def mangled(at: str, *bounds: Any) -> Body:
        if at == key:
            put(target, at, b"tex_")
        return works(at, *bounds)

    monkeypatch.setattr(target, "open", mangled)
    _, failures = move(disks)
    assert [f.reason for f in failures] == ["the target gives back other bytes than it was given"]
    assert row_of(disks, file_id).backend == OLD
    assert keys_of(target) == []
    monkeypatch.undo()
    assert read(disks, file_id) == b"text"


def test_a_copy_that_does_not_come_back_is_not_switched_to(
    disks: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_id, key = file(disks, b"text")
    target = new_of(disks)
    works = target.open

    def lost(at: str, *bounds: Any) -> Body:
        if at == key:
            target.delete(at)
        return works(at, *bounds)

    monkeypatch.setattr(target, "open", lost)
    _, failures = move(disks)
    assert [failure.file for failure in failures] == [file_id]
    assert row_of(disks, file_id).backend == OLD


def test_a_file_that_is_deleted_meanwhile_leaves_no_copy(
    app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Delete one before it is copied, one after, and one whose copy was there before."""
    before, after, copied = (file(app, content_of(size)) for size in (1_000, 2_000, 3_000))
    put(new_of(app), copied[1], content_of(3_000))
    source, target = old_of(app), new_of(app)
    reads, writes = source.open, target.open

    def deletes(at: str, *bounds: Any) -> Body:
        if at in (before[1], copied[1]):
            app.test_client().delete(f"/api/files/{before[0] if at == before[1] else copied[0]}")
        return reads(at, *bounds)

    def deletes_copied(at: str, *bounds: Any) -> Body:
        if at in (after[1], copied[1]):
            app.test_client().delete(f"/api/files/{after[0] if at == after[1] else copied[0]}")
        return writes(at, *bounds)

    monkeypatch.setattr(source, "open", deletes)
    monkeypatch.setattr(target, "open", deletes_copied)
    tally, failures = move(app)
    assert failures == []
    assert (tally.moved, tally.gone) == (0, 3)
    assert keys_of(source) == keys_of(target) == []


def test_a_file_deleted_after_it_was_switched_leaves_no_original(
    disks: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_id, _ = file(disks)
    moving = migration(disks, delete_source=True, linger=0.01)
    moving._on_wait = lambda reason: delete_file(disks, file_id)
    with closing(moving.run()) as failures:
        assert list(failures) == []
    assert moving.tally.deleted == 1
    assert keys_of(old_of(disks)) == keys_of(new_of(disks)) == []


def test_a_file_deleted_while_its_original_is_about_to_go_is_no_failure(
    disks: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Delete it after its row was read, and before the target is asked for its object."""
    file_id, key = file(disks)
    works = new_of(disks).stat

    def deletes(at: str) -> Any:
        if at == key:
            delete_file(disks, file_id)
        return works(at)

    monkeypatch.setattr(new_of(disks), "stat", deletes)
    tally, failures = move(disks, delete_source=True)
    assert (failures, tally.deleted, tally.failed) == ([], 1, 0)
    assert keys_of(old_of(disks)) == keys_of(new_of(disks)) == []


def test_files_of_other_collections_and_states_stay(disks: Holdall) -> None:
    with database_of(disks).write() as session:
        session.execute(insert(Collection).values(name="photos"))
    photo, _ = file(disks, b"photo", collection="photos")
    other, _ = file(disks, b"other")
    pending, _ = file(disks, b"pending", collection="photos", state="pending")
    trashed, _ = file(disks, b"trashed", collection="photos", deleted_at=now())
    tally, failures = move(disks, collection="photos", delete_source=True)
    assert (failures, tally.files, tally.moved, tally.left) == ([], 2, 2, 0)
    assert {row_of(disks, each).backend for each in (photo, trashed)} == {NEW}
    assert {row_of(disks, each).backend for each in (other, pending)} == {OLD}
    assert len(keys_of(old_of(disks))) == 2


def test_uploads_that_go_on_stay_where_they_are_and_are_counted(disks: Holdall) -> None:
    begun(disks)
    tally, _ = move(disks)
    assert (tally.moved, tally.uploads) == (0, 1)


def test_what_is_uploaded_to_the_source_meanwhile_moves_too(
    disks: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    file(disks, b"first")
    late: list[str] = []
    works = new_of(disks).create

    def uploads(key: str, **kind: Any) -> Any:
        if len(late) < 3 and row_exists(disks, key):
            late.append("")
            late[-1] = file(disks, b"late")[0]
        return works(key, **kind)

    monkeypatch.setattr(new_of(disks), "create", uploads)
    tally, failures = move(disks, workers=1)
    assert failures == []
    assert tally.moved + tally.left == 4
    assert row_of(disks, late[0]).backend == NEW


def test_rows_are_walked_in_pages_and_switched_in_batches(
    disks: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.migration_rows.PAGE", 3)
    monkeypatch.setattr(migration_run, "_BATCH", 2)
    monkeypatch.setattr(migration_leftovers, "_AT_ONCE", 3)
    files = {file(disks, b"%d" % number)[0]: b"%d" % number for number in range(17)}
    tally, failures = move(disks, delete_source=True)
    assert (failures, tally.moved, tally.deleted) == ([], 17, 17)
    assert {file_id: read(disks, file_id) for file_id in files} == files


def test_a_target_with_many_objects_is_asked_for_each_and_not_listed(
    disks: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration_run, "_LISTED_PER_LOOK", 0)
    file(disks, backend=NEW)
    _, key = file(disks, b"text")
    put(new_of(disks), key, b"text")
    monkeypatch.setattr(new_of(disks), "scan", None)
    tally, failures = move(disks)
    assert (failures, tally.moved, tally.reused) == ([], 1, 1)


def test_a_store_that_breaks_off_once_is_tried_again(
    disks: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_id, _ = file(disks, content_of(100_000))
    for storage in (old_of(disks), new_of(disks)):
        monkeypatch.setattr(storage, "check", lambda: None)
        monkeypatch.setattr(storage, "open", failing_once(storage.open))
    tally, failures = move(disks)
    assert (failures, tally.moved) == ([], 1)
    assert tally.done_size == tally.files_size
    assert read(disks, file_id) == content_of(100_000)


def test_an_object_that_cannot_be_read_is_told_and_the_rest_moves(
    disks: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, bad = file(disks, b"bad")
    file(disks, b"good")
    fails_for(monkeypatch, old_of(disks), "open", bad)
    tally, failures = move(disks)
    assert [(failure.key, failure.reason) for failure in failures] == [(bad, "it is worn")]
    assert (tally.moved, tally.done_size) == (1, 7)


@pytest.mark.parametrize("name", (OLD, NEW))
def test_a_store_that_is_down_ends_it_and_the_next_run_goes_on(
    disks: Holdall, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(9):
        file(disks, b"%d" % number)
    storage = parts(disks).storages[name]
    with monkeypatch.context() as patched, pytest.raises(Stopped, match="it is down"):
        goes_down_after(patched, storage, 4)
        move(disks, workers=2)
    moved = sum(row.backend == NEW for row in rows_of(disks))
    assert 1 <= moved < 9
    tally, failures = move(disks)
    assert (failures, tally.moved) == ([], 9 - moved)


def test_a_full_target_ends_it(disks: Holdall, monkeypatch: pytest.MonkeyPatch) -> None:
    file_id, _ = file(disks)
    works = new_of(disks).create

    def full(key: str, **kind: Any) -> Any:
        if row_exists(disks, key):
            raise StorageFull("the disk is full")
        return works(key, **kind)

    monkeypatch.setattr(new_of(disks), "create", full)
    with pytest.raises(Stopped, match="the disk is full"):
        move(disks)
    assert row_of(disks, file_id).backend == OLD


def test_a_source_that_has_nothing_is_no_flood_of_failures(
    disks: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration_run, "_HOPELESS", 5)
    for _ in range(20):
        row(disks, new_key())
    with pytest.raises(Stopped, match="none of the first 5 files could be moved"):
        move(disks)


def test_a_database_that_fails_once_at_the_switch_is_tried_again(
    disks: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit took effect, and its answer was lost."""
    file_id, _ = file(disks)
    works, calls = Rows.switch, []

    def lost(self: Rows, session: Any, *arguments: Any, **options: Any) -> set[str]:
        answer = works(self, session, *arguments, **options)
        calls.append(answer)
        if len(calls) == 1:
            session.commit()
            raise OperationalError("COMMIT", {}, Exception("the connection was lost"))
        return answer

    monkeypatch.setattr(Rows, "switch", lost)
    tally, failures = move(disks)
    assert (failures, tally.moved, tally.gone, len(calls)) == ([], 1, 0, 2)
    assert read(disks, file_id) == b"text"


def test_ending_early_keeps_what_was_copied_and_leaves_no_thread(
    disks: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration_run, "_BATCH_SECONDS", 60.0)
    for number in range(30):
        file(disks, b"%d" % number)
    _, lost = file(disks)
    old_of(disks).delete(lost)
    before = threading.active_count()
    moving = migration(disks, workers=2)
    failures = moving.run()
    assert next(failures).key == lost
    failures.close()
    assert threading.active_count() == before
    assert moving.tally.moved == sum(row.backend == NEW for row in rows_of(disks))
    assert check(disks, OLD).kinds() == [(Kind.MISSING, lost)]
    with database_of(disks).read() as session:
        assert session.query(Lease).all() == []
    assert move(disks)[0].left == 1


def test_descriptors_do_not_leak(disks: Holdall) -> None:
    for number in range(5):
        file(disks, b"%d" % number)
    move(disks)
    before = len(os.listdir("/proc/self/fd"))
    for way in ((NEW, OLD), (OLD, NEW)):
        move(disks, *way, delete_source=True)
    assert len(os.listdir("/proc/self/fd")) <= before


def test_one_place_under_two_names_is_refused(app_with: MakeApp, tmp_path: Path) -> None:
    folder = (tmp_path / "one").as_uri()
    app = app_with(STORAGE_BACKEND=OLD, STORAGE_OLD_URL=folder, STORAGE_NEW_URL=folder)
    file_id, key = file(app)
    with pytest.raises(CannotBegin, match="one place"):
        move(app, delete_source=True)
    assert keys_of(old_of(app)) == [key]
    assert row_of(app, file_id).backend == OLD


@pytest.mark.parametrize(
    ("way", "options", "said"),
    (
        ((OLD, "nowhere"), {}, "no backend is called nowhere: there are local, new, old"),
        (("nowhere", NEW), {}, "no backend is called nowhere"),
        ((OLD, OLD), {}, "to itself"),
        ((OLD, NEW), {"collection": "none"}, "no collection is called none"),
    ),
)
def test_mistakes_end_it_before_it_begins(
    disks: Holdall, way: tuple[str, str], options: dict[str, str], said: str
) -> None:
    with pytest.raises(CannotBegin, match=said):
        move(disks, *way, **options)
    with pytest.raises(CannotBegin, match=said):
        migration(disks, *way, **options).estimate()


def test_a_target_that_fails_its_check_ends_it_before_it_begins(
    disks: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down() -> None:
        raise StorageUnavailable("it is down")

    monkeypatch.setattr(new_of(disks), "check", down)
    with pytest.raises(CannotBegin, match="it is down"):
        move(disks)


def test_an_estimate_changes_nothing(disks: Holdall) -> None:
    file_id, _ = file(disks, b"text")
    begun(disks)
    tally = migration(disks).estimate()
    assert (tally.files, tally.files_size, tally.uploads, tally.moved) == (1, 4, 1, 0)
    assert row_of(disks, file_id).backend == OLD
    assert keys_of(new_of(disks)) == []


def test_a_backend_is_in_one_migration_at_a_time(
    app_with: MakeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration_turn, "_RENEW_EVERY", 0.1)
    folders = {f"STORAGE_{n}_URL": (tmp_path / n).as_uri() for n in ("OLD", "NEW", "THIRD")}
    app = app_with(STORAGE_BACKEND=OLD, **folders)
    with Turn(database_of(app), OLD, NEW):
        for way in ((OLD, NEW), (NEW, OLD), (NEW, "third"), ("third", OLD)):
            with pytest.raises(CannotBegin, match="another migration"):
                move(app, *way)
        move(app, "third", "local")
    move(app)


def test_the_turn_of_a_migration_that_was_killed_is_waited_for(
    disks: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migration_turn, "LEASE", 1.0)
    waited: list[str] = []
    file(disks)
    moving = migration(disks)
    moving._on_wait = waited.append
    assert Leases(database_of(disks)).take("migrate:old", seconds=2)
    with closing(moving.run()) as failures:
        assert list(failures) == []
    assert (moving.tally.moved, len(waited)) == (1, 1)


def test_a_migration_that_lost_its_turn_changes_nothing_more(
    disks: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_id, key = file(disks)
    works = new_of(disks).open

    def lost(at: str, *bounds: Any) -> Body:
        if at == key:
            with database_of(disks).write() as session:
                session.execute(update(Lease).values(holder="another"))
        return works(at, *bounds)

    monkeypatch.setattr(new_of(disks), "open", lost)
    with pytest.raises(Stopped, match="another migration took over"):
        move(disks)
    assert row_of(disks, file_id).backend == OLD
    with database_of(disks).read() as session:
        assert {lease.holder for lease in session.query(Lease)} == {"another"}


def test_an_original_is_kept_while_the_target_has_no_whole_copy(disks: Holdall) -> None:
    _, lost = file(disks, b"lost")
    _, short = file(disks, b"short")
    move(disks)
    new_of(disks).delete(lost)
    put(new_of(disks), short, b"shor")
    tally, failures = move(disks, delete_source=True)
    assert (tally.deleted, tally.failed) == (0, 2)
    told = {failure.key: failure.reason for failure in failures}
    assert told[lost] == "the target has no such object"
    assert told[short] == "the object at the target has another size"
    assert all(failure.moved for failure in failures)
    assert sorted(keys_of(old_of(disks))) == sorted([lost, short])


@pytest.mark.parametrize("app", ("local-s3-sqlite", "s3-local-postgresql"), indirect=True)
def test_originals_stay_as_long_as_links_to_them_hold(app: Holdall) -> None:
    rows = Rows(database_of(app), OLD, NEW)
    assert migration_leftovers.linger_for(old_of(app), rows) == migration_leftovers.LINGER
    with database_of(app).write() as session:
        session.execute(update(Collection).values(delivery="redirect"))
    longest = max(delivery._STORE_LINK_LIFE.values())
    expected = longest if isinstance(old_of(app), Presigner) else 0
    waits = migration_leftovers.linger_for(old_of(app), rows)
    assert waits == expected + migration_leftovers.LINGER


@pytest.mark.parametrize("app", ("local-s3-sqlite", "s3-local-postgresql"), indirect=True)
def test_a_reader_that_found_the_old_place_is_sent_to_the_new_one(
    app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file moves, and its original goes, between the look at the row and the open."""
    file_id, _ = file(app, b"text", visibility="private")
    public, _ = file(app, b"more")
    for each, content, url in (
        (file_id, b"text", f"/uploads/{file_id}?download=1"),
        (public, b"more", f"/uploads/{public}"),
    ):
        stale = parts(app).files.for_delivery(each)
        move(app, delete_source=True)
        first = iter([stale])
        works = parts(app).files.for_delivery
        with monkeypatch.context() as patched:
            patched.setattr(
                type(parts(app).files),
                "for_delivery",
                lambda self, asked, first=first, works=works: next(first, None) or works(asked),
            )
            answer = app.test_client().get(url)
        assert (answer.status_code, answer.data) == (200, content)
        move(app, NEW, OLD)


def test_a_reader_that_has_begun_reads_on(disks: Holdall) -> None:
    content = content_of(3 * MIB)
    _, key = file(disks, content)
    with old_of(disks).open(key) as body:
        pieces = iter(body)
        first = next(pieces)
        move(disks, delete_source=True)
        assert keys_of(old_of(disks)) == []
        assert first + b"".join(pieces) == content


def test_a_rename_that_found_the_old_place_looks_again(
    disks: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_id, _ = file(disks, b"a,b\n1,2\n")
    works = old_of(disks).open
    moved: list[bool] = []

    def moves(*arguments: Any) -> Body:
        if not moved:
            moved.append(True)
            with monkeypatch.context() as patched:
                patched.setattr(old_of(disks), "open", works)
                move(disks, delete_source=True)
        return works(*arguments)

    monkeypatch.setattr(old_of(disks), "open", moves)
    answer = disks.test_client().patch(f"/api/files/{file_id}", json={"filename": "a.csv"})
    assert answer.status_code == 200, answer.data
    assert answer.get_json()["content_type"].startswith("text/csv")


@pytest.mark.parametrize("app", ("local-s3-sqlite",), indirect=True)
def test_fsck_finds_nothing_while_files_move(app: Holdall) -> None:
    """Check both sides, with no grace at all, while a migration goes to and fro."""
    for number in range(20):
        file(app, content_of(1_000 + number))
    found: list[Any] = []
    done = threading.Event()

    def checks() -> None:
        while not done.is_set():
            for name in (OLD, NEW):
                patience = {"patience": timedelta(seconds=0.5)}
                found.extend(check(app, name, repair=True, force=True, **patience).findings)

    checking = threading.Thread(target=checks)
    checking.start()
    try:
        assert move(app, delete_source=True)[1] == []
        assert move(app, NEW, OLD)[1] == []
    finally:
        done.set()
        checking.join(60)
    assert found == []
    assert check(app, OLD, verify=True).findings == []


def test_clients_notice_nothing(app: Holdall) -> None:
    """Upload, read and delete while files move to and fro, without their originals."""
    kept = {file(app, content)[0]: content for content in map(content_of, range(1_000, 1_020))}
    done = threading.Event()
    wrong: list[str] = []
    clients = [threading.Thread(target=be_busy, args=(app, kept, done, wrong)) for _ in range(2)]
    for client in clients:
        client.start()
    try:
        assert move(app, delete_source=True)[1] == []
        assert move(app, NEW, OLD, delete_source=True)[1] == []
    finally:
        done.set()
        for client in clients:
            client.join(60)
    assert wrong == []
    assert {file_id: read(app, file_id) for file_id in kept} == kept
    move(app, delete_source=True)
    assert sorted(keys_of(new_of(app))) == sorted(row.key for row in rows_of(app))
    assert keys_of(old_of(app)) == []


def be_busy(app: Holdall, kept: dict[str, bytes], done: threading.Event, wrong: list[str]) -> None:
    """Upload a file, read it and one of `kept`, and delete it, until it is `done`."""
    client = app.test_client()
    names = sorted(kept)
    number = 0
    while not done.is_set():
        number += 1
        content = content_of(5_000 + number)
        made = client.put("/api/upload/a.bin", data=content).get_json()["id"]
        known = names[number % len(names)]
        for file_id, expected in ((made, content), (known, kept[known])):
            answer = client.get(f"/uploads/{file_id}")
            if (answer.status_code, answer.data) != (200, expected):
                wrong.append(f"{answer.status_code} {answer.data[:200]!r}")
        deleted = client.delete(f"/api/files/{made}")
        if deleted.status_code != 204:
            wrong.append(f"delete: {deleted.status_code}")


def refuse_all_but_probes(storage: Storage) -> Callable[..., Any]:
    """Return a `create` that lets the self-test through, and no file of over 3 bytes' row."""
    works = storage.create

    def create(key: str, **kind: Any) -> Any:
        assert "content_type" not in kind, "a file was sent"
        return works(key)

    return create


def failing_once(works: Callable[..., Body]) -> Callable[..., Body]:
    calls: list[str] = []

    def opens(key: str, *bounds: Any) -> Body:
        calls.append(key)
        if calls.count(key) == 1:
            raise StorageUnavailable("it broke off")
        return works(key, *bounds)

    return opens


def fails_for(monkeypatch: pytest.MonkeyPatch, storage: Storage, name: str, bad: str) -> None:
    works = getattr(storage, name)

    def fails(key: str, *bounds: Any) -> Any:
        if key == bad:
            raise StorageUnavailable("it is worn")
        return works(key, *bounds)

    monkeypatch.setattr(storage, name, fails)


def goes_down_after(monkeypatch: pytest.MonkeyPatch, storage: Storage, opened: int) -> None:
    """Let a store answer nothing any more once it has opened some objects of files."""
    calls: list[str] = []
    opens, stat = storage.open, storage.stat

    def fails(key: str, *bounds: Any) -> Body:
        calls.append(key)
        if len(calls) > opened:
            raise StorageUnavailable("it is down")
        return opens(key, *bounds)

    def asked(key: str) -> Any:
        if len(calls) > opened:
            raise StorageUnavailable("it is down")
        return stat(key)

    monkeypatch.setattr(storage, "check", lambda: None)
    monkeypatch.setattr(storage, "open", fails)
    monkeypatch.setattr(storage, "stat", asked)


def row_exists(app: Holdall, key: str) -> bool:
    with database_of(app).read() as session:
        return session.query(File).filter(File.key == key).first() is not None


def rows_of(app: Holdall) -> list[File]:
    with database_of(app).read() as session:
        return list(session.query(File))


def delete_file(app: Holdall, file_id: str) -> None:
    assert app.test_client().delete(f"/api/files/{file_id}").status_code == 204
