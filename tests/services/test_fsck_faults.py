"""fsck beside faults and a service at work: no false findings, and nothing deleted in doubt."""

import os
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete

from app import Holdall
from models import File
from services import fsck, fsck_second_look
from services.fsck import Fsck, Options, Unchecked
from services.fsck_findings import Finding, Kind, Tally, describe
from storage.base import ObjectInfo
from storage.errors import StorageFull, StorageUnavailable
from storage.keys import new_key
from tests.conftest import objects, parts
from tests.http.test_tus import content, create, patch
from tests.services.checking import check, fails, file, is_stored, keep, row
from tests.services.uploading import database_of, storage_of


def test_a_database_that_knows_nothing_of_the_objects_deletes_none(app: Holdall) -> None:
    file(app)
    orphans = [keep(app) for _ in range(2)]
    checked = check(app, repair=True)
    assert len(checked.findings) == 2
    assert {finding.note for finding in checked.findings} == {fsck_second_look.WRONG_DATABASE}
    assert len(objects(app)) == 3
    assert check(app, repair=True, force=True).tally.deleted == 2
    assert not any(is_stored(app, key) for key in orphans)


def test_a_store_that_has_nothing_is_a_wrong_one(app: Holdall) -> None:
    for _ in range(40):
        row(app, new_key())
    with pytest.raises(Unchecked, match="right folder or bucket"):
        check(app, repair=True)
    assert len(check(app, force=True).findings) == 40


def test_a_store_that_is_down_is_no_flood_of_missing_files(
    app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        file(app)
    fails(monkeypatch, app, "check")
    with pytest.raises(Unchecked, match="it is down"):
        check(app)


@pytest.mark.parametrize("verify", (False, True))
def test_a_store_that_goes_down_on_the_way_ends_the_check(
    app: Holdall, verify: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    orphan = keep(app)
    for _ in range(3):
        file(app)
    storage_of(app).delete(file(app)[1])
    for name in ("open", "stat"):
        fails(monkeypatch, app, name)
    monkeypatch.setattr(storage_of(app), "check", lambda: None)
    with pytest.raises(Unchecked, match="it is down"):
        check(app, verify=verify, repair=True, force=True)
    monkeypatch.undo()
    assert is_stored(app, orphan)


def test_a_scan_that_breaks_off_deletes_nothing(
    local_app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        file(local_app)
    orphan = keep(local_app, key="22/" + "2" * 26)

    def broken(prefix: str = "") -> Iterator[ObjectInfo]:
        yield storage_of(local_app).stat(orphan)
        raise StorageUnavailable("it broke off")

    with monkeypatch.context() as patched, pytest.raises(Unchecked, match="it broke off"):
        patched.setattr(storage_of(local_app), "scan", broken)
        check(local_app, repair=True, force=True)
    assert is_stored(local_app, orphan)


def test_a_full_disk_can_be_checked(local_app: Holdall, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise StorageFull("the storage's disk has no room left")

    monkeypatch.setattr(storage_of(local_app), "check", full)
    file(local_app)
    assert check(local_app).tally.paired == 1


def test_what_happens_between_the_looks_is_no_damage(
    app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Publish what looked like an orphan, and delete what looked like a missing file."""
    file(app)
    published, deleted_id, deleted = keep(app), *file(app)
    half_deleted = keep(app)
    storage_of(app).delete(deleted)

    def meanwhile(_: float) -> None:
        row(app, published)
        with database_of(app).write() as session:
            session.execute(delete(File).where(File.id == deleted_id))
        storage_of(app).delete(half_deleted)

    monkeypatch.setattr(time, "sleep", meanwhile)
    checked = check(app, repair=True, force=True)
    assert checked.findings == []
    assert checked.tally.unnamed == 2
    assert is_stored(app, published)


def test_a_row_that_comes_at_the_last_moment_saves_its_object(
    local_app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    file(local_app)
    orphan = keep(local_app)

    def late(*args: Any) -> Finding:
        row(local_app, orphan)
        return describe(*args)

    monkeypatch.setattr(fsck_second_look, "describe", late)
    assert check(local_app, repair=True, force=True).findings == []
    assert is_stored(local_app, orphan)


def test_more_than_a_batch_is_walked_and_looked_at_again(
    local_app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.walking.BATCH", 3)
    monkeypatch.setattr(fsck, "_AGAIN", 2)
    for _ in range(10):
        file(local_app)
    missing = sorted(file(local_app)[1] for _ in range(5))
    for key in missing:
        storage_of(local_app).delete(key)
    orphans = sorted(keep(local_app) for _ in range(5))
    expected = [(Kind.MISSING, key) for key in missing] + [(Kind.ORPHAN, key) for key in orphans]
    checked = check(local_app)
    assert checked.kinds() == expected
    assert (checked.tally.seen_rows, checked.tally.objects) == (15, 15)
    assert check(local_app, repair=True).tally.deleted == 5


def test_ending_early_leaves_no_thread(local_app: Holdall) -> None:
    for _ in range(3):
        keep(local_app, b"one", file(local_app, b"two")[1])
    before = threading.active_count()
    check_ = Fsck(
        database_of(local_app), parts(local_app).storages, Options(verify=True, workers=2)
    )
    findings = check_.check("local", Tally())
    assert next(findings).kind is Kind.SHA256
    findings.close()
    assert threading.active_count() == before


def test_descriptors_do_not_leak(local_app: Holdall) -> None:
    for _ in range(5):
        file(local_app)
        keep(local_app)
    check(local_app, verify=True)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        check(local_app, verify=True)
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_busy_service_has_no_findings_and_loses_nothing(app: Holdall) -> None:
    """Check and repair, with no grace at all, while files come and go through several doors."""
    done = threading.Event()
    failures: list[str] = []
    for _ in range(4):
        file(app)
    clients = [threading.Thread(target=be_busy, args=(app, done, failures, n)) for n in range(3)]
    for client in clients:
        client.start()
    try:
        for turn in range(4):
            checked = check(
                app, verify=turn % 2 == 1, repair=True, force=True, patience=timedelta(seconds=1)
            )
            assert checked.findings == []
    finally:
        done.set()
        for client in clients:
            client.join(60)
    assert failures == []
    checked = check(app, verify=True)
    assert checked.findings == []
    assert checked.tally.paired > 4


def be_busy(app: Holdall, done: threading.Event, failures: list[str], seed: int) -> None:
    """Upload whole and in pieces, read back, and delete every second file."""
    client = app.test_client()
    number = 0
    while not done.is_set():
        number += 1
        whole = content(30_000 + number, b"%d" % seed)
        if number % 2:
            told = client.put("/api/upload/a.bin", data=whole).get_json()
        else:
            url = create(client, len(whole)).headers["Location"]
            patch(client, url, 0, whole[:10_000])
            last = patch(client, url, 10_000, whole[10_000:])
            told = client.get(f"/api/files/{last.headers['Upload-File-Id']}").get_json()
        if client.get(told["url"]).data != whole:
            failures.append(told["id"])
        if number % 4 < 2:
            client.delete(f"/api/files/{told['id']}")
