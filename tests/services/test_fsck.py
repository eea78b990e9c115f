"""fsck: it finds each kind of damage and nothing else, and deletes nothing that is named."""

import hashlib
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from app import Holdall
from models import Upload, now
from services import fsck_second_look
from services.fsck import Fsck, Options, Unchecked
from services.fsck_findings import Kind, is_made
from storage.errors import StorageUnavailable
from storage.keys import new_key, random_name
from tests.conftest import MakeApp, objects, parts
from tests.http.test_tus import begin, content, partial
from tests.services.checking import (
    backend_of,
    check,
    file,
    is_stored,
    keep,
    row,
    row_of,
    rows_of,
)
from tests.services.uploading import PART, Sent, change, database_of, storage_of

DAY = timedelta(days=1)


def test_a_store_in_order_is_clean(app: Holdall) -> None:
    for size in (0, 1, 70_000):
        file(app, content(size))
    Sent.begin(app, 9000).send()
    checked = check(app, verify=True, repair=True)
    assert checked.findings == []
    assert (checked.tally.paired, checked.tally.read) == (4, 4)
    assert checked.tally.read_size == 79_001
    assert len(objects(app)) == 4


def test_each_kind_of_damage_is_found_and_nothing_else(app: Holdall) -> None:
    file(app)
    missing_id, missing = file(app, b"it goes")
    storage_of(app).delete(missing)
    orphan = keep(app, b"whose?")
    size_id, size = file(app, b"as it was")
    keep(app, b"shorter", size)
    sha_id, sha = file(app, b"one")
    keep(app, b"two", sha)
    unfinished_id = row(app, (unfinished := new_key()), state="pending", created_at=now() - DAY)
    checked = check(app, verify=True)
    assert checked.kinds() == [
        (Kind.MISSING, missing),
        (Kind.ORPHAN, orphan),
        (Kind.SHA256, sha),
        (Kind.SIZE, size),
        (Kind.UNFINISHED, unfinished),
    ]
    told = {finding.kind: finding for finding in checked.findings}
    expected = hashlib.sha256(b"one").hexdigest(), hashlib.sha256(b"two").hexdigest()
    assert (told[Kind.SHA256].expected, told[Kind.SHA256].found) == expected
    assert (told[Kind.SIZE].expected, told[Kind.SIZE].found) == (9, 7)
    assert (told[Kind.MISSING].expected, told[Kind.MISSING].found) == (7, None)
    assert (told[Kind.ORPHAN].expected, told[Kind.ORPHAN].found) == (None, 6)
    files = {kind: finding.file for kind, finding in told.items()}
    assert files == {
        Kind.MISSING: missing_id,
        Kind.ORPHAN: None,
        Kind.SIZE: size_id,
        Kind.SHA256: sha_id,
        Kind.UNFINISHED: unfinished_id,
    }
    assert all(finding.backend == backend_of(app) for finding in checked.findings)


def test_a_check_changes_nothing(app: Holdall) -> None:
    storage_of(app).delete(file(app)[1])
    keep(app)
    file(app, sha256=None)
    before = objects(app), rows_of(app)
    check(app, verify=True)
    assert (objects(app), rows_of(app)) == before


def test_a_repair_deletes_orphans_and_nothing_else(app: Holdall) -> None:
    kept = [file(app)[1] for _ in range(3)]
    gone_id, gone = file(app, b"gone")
    storage_of(app).delete(gone)
    _, other = file(app, b"four")
    keep(app, b"longer", other)
    orphans = [keep(app, b"x" * 1000) for _ in range(3)]
    before = rows_of(app)
    checked = check(app, repair=True)
    deleted = {finding.key for finding in checked.findings if finding.deleted}
    assert deleted == set(orphans)
    assert (checked.tally.deleted, checked.tally.deleted_size) == (3, 3000)
    assert objects(app) == sorted([*kept, other])
    assert rows_of(app) == before
    assert check(app).kinds() == [(Kind.MISSING, gone), (Kind.SIZE, other)]
    assert gone_id in {finding.file for finding in check(app).findings}


def test_what_unfinished_uploads_hold_is_no_orphan(app: Holdall) -> None:
    client = app.test_client()
    open_one, large = Sent.begin(app, 20_000), Sent.begin(app, 2 * PART)
    assert open_one.send(0, 9000).status_code == 204
    assert large.send(0, PART + 9000).status_code == 204
    partial(client, b"a part of a file")
    given = client.post("/api/direct", json={"filename": "a.bin", "size": 5})
    assert given.status_code == 201, given.data
    with database_of(app).read() as session:
        staged = session.scalars(select(Upload.key).where(Upload.protocol == "direct")).one()
    keep(app, b"12345", staged)
    final = keep(app, b"12345")
    change(app, given.get_json()["id"], storage_state={"final": final})
    file(app)
    before = objects(app)
    checked = check(app, repair=True, force=True)
    assert checked.findings == []
    assert checked.tally.uploads == len(before) - 1 >= 3
    assert objects(app) == before
    assert large.send(PART + 9000).status_code == 204
    assert large.file()["sha256"] == hashlib.sha256(large.whole).hexdigest()


def test_what_is_young_may_be_on_its_way(app: Holdall) -> None:
    file(app)
    young = keep(app)
    row(app, new_key(), state="pending")
    checked = check(app, grace=DAY, repair=True, force=True)
    assert checked.findings == []
    assert checked.tally.young == 1
    assert is_stored(app, young)


def test_a_missing_object_is_found_however_young_its_row(app: Holdall) -> None:
    file(app)
    _, key = file(app)
    storage_of(app).delete(key)
    assert check(app, grace=DAY).kinds() == [(Kind.MISSING, key)]


def test_files_in_the_trash_are_like_others(local_app: Holdall) -> None:
    _, there = file(local_app, deleted_at=now())
    _, gone = file(local_app, deleted_at=now())
    storage_of(local_app).delete(gone)
    checked = check(local_app, verify=True, repair=True)
    assert (checked.kinds(), checked.tally.rows) == ([(Kind.MISSING, gone)], 2)
    assert is_stored(local_app, there)


def test_expired_files_are_like_others_while_they_are_there(local_app: Holdall) -> None:
    file(local_app, expires_at=now() - DAY)
    _, gone = file(local_app, expires_at=now() - DAY)
    storage_of(local_app).delete(gone)
    assert check(local_app).kinds() == [(Kind.MISSING, gone)]


def test_sha256_is_filled_in_when_repairing(app: Holdall) -> None:
    file_id, _ = file(app, b"unread", sha256=None, etag="as published")
    checked = check(app, verify=True)
    assert (checked.findings, checked.tally.undigested, checked.tally.filled) == ([], 1, 0)
    assert row_of(app, file_id).sha256 is None
    checked = check(app, verify=True, repair=True)
    assert (checked.findings, checked.tally.undigested, checked.tally.filled) == ([], 1, 1)
    filled = row_of(app, file_id)
    assert (filled.sha256, filled.etag) == (hashlib.sha256(b"unread").hexdigest(), "as published")


def test_a_wrong_sha256_is_never_written_over(app: Holdall) -> None:
    file_id, key = file(app, b"one")
    keep(app, b"two", key)
    assert check(app, verify=True, repair=True).kinds() == [(Kind.SHA256, key)]
    assert row_of(app, file_id).sha256 == hashlib.sha256(b"one").hexdigest()


def test_changed_bytes_are_noticed_only_by_reading_them(local_app: Holdall) -> None:
    _, key = file(local_app, b"one")
    keep(local_app, b"two", key)
    assert check(local_app).findings == []


def test_an_object_that_cannot_be_read_is_one_finding(local_app: Holdall) -> None:
    file(local_app)
    _, folder = file(local_app)
    uploads = parts(local_app).settings.data_dir / "uploads"
    (uploads / folder).unlink()
    (uploads / folder).mkdir()
    _, link = file(local_app)
    (uploads / link).unlink()
    (uploads / link).symlink_to("/etc/passwd")
    found = check(local_app, verify=True, repair=True)
    assert found.kinds() == sorted([(Kind.UNREADABLE, folder), (Kind.UNREADABLE, link)])
    assert not any(str(uploads) in str(finding) for finding in found.findings)


def test_bytes_that_cannot_be_read_are_a_finding_too(
    local_app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [file(local_app, sha256=None)[1], file(local_app)[1], file(local_app)[1]]
    storage = storage_of(local_app)
    works = storage.open

    def worn(key: str, *args: Any) -> Any:
        if key in keys[:2]:
            raise StorageUnavailable("the storage's disk refused: Input/output error")
        return works(key, *args)

    monkeypatch.setattr(storage, "open", worn)
    found = check(local_app, verify=True)
    assert found.kinds() == sorted((Kind.UNREADABLE, key) for key in keys[:2])
    assert {finding.note for finding in found.findings} == {
        "the storage's disk refused: Input/output error"
    }


def test_an_error_that_does_not_come_back_is_none(
    local_app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    file(local_app)
    storage = storage_of(local_app)
    works, calls = storage.open, []

    def shaky(key: str, *args: Any) -> Any:
        calls.append(key)
        if len(calls) == 1:
            raise StorageUnavailable("it broke off")
        return works(key, *args)

    monkeypatch.setattr(storage, "check", lambda: None)
    monkeypatch.setattr(storage, "open", shaky)
    assert check(local_app, verify=True).findings == []
    assert len(calls) == 2


def test_what_a_file_of_another_backend_names_is_not_deleted(
    app_with: MakeApp, tmp_path: Any
) -> None:
    """Two backends can be one folder, and a moved file leaves its object behind."""
    folder = (tmp_path / "shared").as_uri()
    app = app_with(STORAGE_LOCAL_URL=folder, STORAGE_OLD_URL=folder)
    file(app, b"there")
    _, key = file(app, b"named", backend="old")
    row(app, (gone := new_key()), backend="old")
    checked = check(app, repair=True, force=True)
    assert checked.findings == []
    assert (checked.tally.copies, checked.tally.copies_size) == (1, 5)
    assert check(app, "old", repair=True, force=True).kinds() == [(Kind.MISSING, gone)]
    assert is_stored(app, key)
    assert len(objects(app)) == 2


def test_a_row_of_a_backend_that_is_not_configured_names_its_object(local_app: Holdall) -> None:
    file(local_app)
    _, key = file(local_app, backend="forgotten")
    assert check(local_app, repair=True, force=True).tally.copies == 1
    assert is_stored(local_app, key)


def test_a_backend_that_is_not_configured_is_named_and_not_checked(local_app: Holdall) -> None:
    file(local_app, backend="forgotten")
    change_upload = begin(local_app.test_client(), 5).rpartition("/")[2]
    change(local_app, change_upload, backend="lost")
    fsck_ = Fsck(database_of(local_app), parts(local_app).storages, Options())
    assert fsck_.backends() == ["forgotten", "local", "lost"]
    with pytest.raises(Unchecked, match="1 files are on it, and no storage has this name"):
        check(local_app, "forgotten")


def test_names_that_are_not_ours_are_left(local_app: Holdall) -> None:
    file(local_app)
    foreign = ["ab/abcdef", "00/0", "zz/" + "a" * 26, "aa/" + "a" * 51, "aa/" + "a" * 53]
    for key in foreign:
        keep(local_app, key=key)
    checked = check(local_app, repair=True, force=True)
    assert [key for _, key in checked.kinds()] == sorted(foreign)
    assert {(finding.deleted, finding.note) for finding in checked.findings} == {
        (False, fsck_second_look.NOT_OURS)
    }
    assert objects(local_app) == sorted([*foreign, *(set(objects(local_app)) - {*foreign})])


def test_the_names_that_are_made_are_known() -> None:
    key = new_key()
    assert is_made(key)
    assert is_made(key + random_name())
    assert not is_made(key + "1" * 26)
    assert not is_made(key.upper())
    assert not is_made("ab/" + "cd" * 13)
