"""What meets on a mirrored backend: the trash, thumbnails beside files, migrations and backups."""

from contextlib import closing
from pathlib import Path

import pytest

from app import Holdall
from services.backup import Backup
from storage import open_storage
from storage.base import Storage
from tests.conftest import MakeApp, parts
from tests.http.test_thumbnails import PICTURE, put
from tests.services.checking import check, row_of
from tests.services.collecting import collect
from tests.services.moving import keys_of
from tests.services.test_mirroring import delete, far, folders, moved, near, read, run, tasks
from tests.services.uploading import database_of

PLACES = ("near", "far", "safe", "safe/far")


@pytest.fixture
def disks(app_with: MakeApp, tmp_path: Path) -> Holdall:
    """An application on two folders, beside `local`, which is mirrored nowhere."""
    return app_with(**folders(tmp_path))


def picture_in_trash(app: Holdall) -> tuple[str, str]:
    """Upload an image, have a thumbnail made of it, trash it, and return its id and key."""
    client = app.test_client()
    made = put(client)
    assert client.get(f"{made['url']}?w=64").status_code == 200
    assert client.post("/api/files/trash", json={"ids": [made["id"]]}).status_code == 200
    return made["id"], row_of(app, made["id"]).key


def restored(app: Holdall, file_id: str) -> bytes:
    answer = app.test_client().post("/api/files/restore", json={"ids": [file_id]})
    assert answer.status_code == 200, answer.data
    return read(app, file_id)


def sound(app: Holdall) -> None:
    """Check every place with repairs, and collect, without finding anything."""
    for place in PLACES:
        assert check(app, place, verify=True, repair=True, force=True).findings == [], place
    assert collect(app, force=True, expired=False) == []


def test_what_is_in_the_trash_is_mirrored_moved_and_had_back(disks: Holdall) -> None:
    file_id, key = picture_in_trash(disks)
    assert run(disks) == 1
    assert [each.startswith(f"{key}0") for each in keys_of(near(disks))] == [False, True]
    assert keys_of(far(disks)) == [key], "thumbnails are made again and not mirrored"
    sound(disks)
    for source, target in (("safe", "local"), ("local", "safe"), ("safe", "far"), ("far", "safe")):
        assert moved(disks, source, target) == 1
        run(disks)
        assert tasks(disks) == []
        sound(disks)
    assert restored(disks, file_id) == PICTURE


def test_a_file_in_the_trash_comes_back_to_a_primary_that_lost_it(disks: Holdall) -> None:
    file_id, key = picture_in_trash(disks)
    run(disks)
    near(disks).delete(key)
    (finding,) = check(disks, "safe", repair=True).findings
    assert (finding.file, tasks(disks)) == (file_id, [("near", key, "copy")])
    run(disks)
    sound(disks)
    assert restored(disks, file_id) == PICTURE


def test_a_file_that_is_deleted_leaves_no_thumbnail_on_any_member(disks: Holdall) -> None:
    """A mirror has some where it was the primary before."""
    file_id, key = picture_in_trash(disks)
    run(disks)
    with far(disks).create(f"{key}01w64h64cw") as writer:
        writer.write(b"made when it was the primary")
        writer.commit()
    sound(disks)
    delete(disks, file_id)
    run(disks)
    collect(disks)
    assert (keys_of(near(disks)), keys_of(far(disks)), tasks(disks)) == ([], [], [])


def test_a_backup_has_what_is_in_the_trash_and_no_thumbnails(
    disks: Holdall, tmp_path: Path
) -> None:
    _, key = picture_in_trash(disks)
    run(disks)

    def target(name: str) -> Storage:
        place = tmp_path / "saved" / name
        place.mkdir(parents=True, exist_ok=True)
        return open_storage(place.as_uri(), scratch=tmp_path, durable=False)

    for copied in (1, 0):
        saved = Backup(
            database_of(disks), parts(disks).storages, tmp_path / "saved.db", target
        ).run()
        assert (saved.files, saved.copied, saved.problems) == (1, copied, {})
        with closing(target("safe")) as place:
            assert keys_of(place) == [key]
    sound(disks)
