"""What parts on a local disk do: where they lie, crashes, durability, links, full disks."""

import os
import stat
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from storage.capabilities import Part
from storage.errors import IntegrityError, ObjectNotFound, StorageFull, StorageUnavailable
from storage.local import LocalStorage
from tests.storage.faulty_disk import file_size_limit, record_commits
from tests.storage.material import MIB, content_of, get, keys_of, put

KEY = "k7/k7object"
EVER = datetime.max.replace(tzinfo=UTC)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def storage(root: Path) -> Iterator[LocalStorage]:
    with closing(LocalStorage(root, durable=True)) as storage:
        yield storage


def files_in(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


def put_parts(storage: LocalStorage, upload_id: str, *pieces: bytes) -> list[Part]:
    return [
        storage.put_part(KEY, upload_id, number, piece) for number, piece in enumerate(pieces, 1)
    ]


def folder_of(root: Path, upload_id: str) -> Path:
    return root / ".unfinished" / f"k7.k7object.{upload_id}"


def test_parts_are_files_in_a_hidden_folder(storage: LocalStorage, root: Path) -> None:
    upload_id = storage.begin(KEY)
    folder = folder_of(root, upload_id)
    parts = put_parts(storage, upload_id, b"one, ", b"two")
    assert [path.name for path in sorted(folder.iterdir())] == ["00001", "00002"]
    assert (folder / "00002").read_bytes() == b"two"
    assert stat.S_IMODE((folder / "00002").stat().st_mode) == 0o640
    assert keys_of(storage) == []
    storage.complete(KEY, upload_id, parts)
    assert files_in(root) == [KEY]
    assert not any((root / ".unfinished").iterdir())


def test_a_single_part_becomes_the_object_without_being_written_again(
    storage: LocalStorage, root: Path
) -> None:
    upload_id = storage.begin(KEY)
    (part,) = put_parts(storage, upload_id, content_of(MIB))
    inode = (folder_of(root, upload_id) / "00001").stat().st_ino
    info = storage.complete(KEY, upload_id, [part])
    assert (root / KEY).stat().st_ino == inode
    assert info.etag == part.etag == storage.stat(KEY).etag


def test_bytes_and_names_are_durable_before_each_answer(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = record_commits(monkeypatch)

    def acts() -> list[str]:
        done, seen[:] = list(seen), []
        return done

    upload_id = storage.begin(KEY)
    assert acts()[-1] == "fsync folder .unfinished"
    folder = f"fsync folder k7.k7object.{upload_id}"
    parts = put_parts(storage, upload_id, b"one", b"two")
    assert acts() == ["fsync file", "rename", folder] * 2
    storage.complete(KEY, upload_id, parts)
    assert [act for act in acts() if act != "fsync folder root"] == [
        *("fsync file", "rename", "fsync folder k7"),
        *("rename", "fsync folder .unfinished"),
    ]
    upload_id = storage.begin(KEY)
    parts = put_parts(storage, upload_id, b"one")
    acts()
    storage.complete(KEY, upload_id, parts)
    assert acts()[:2] == ["rename", "fsync folder k7"]
    acts()
    storage.complete(KEY, upload_id, parts)
    assert acts() == ["fsync folder k7"]


@pytest.mark.parametrize("count", [1, 2])
def test_who_dies_after_the_object_is_there_may_complete_again(
    storage: LocalStorage, root: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """At each step of removing what is left, as if the process ended there."""
    for step, fails in (("rename", 1), ("unlink", 1), ("unlink", 0), ("rmdir", 0)):
        upload_id = storage.begin(KEY)
        parts = put_parts(storage, upload_id, *[content_of(1000)] * count)
        storage.put_part(KEY, upload_id, 9, b"not named")
        with monkeypatch.context() as patch:
            calls, real = iter(range(100)), getattr(os, step)

            def dying(*args: object, **kwargs: object) -> None:
                if next(calls) >= fails:  # noqa: B023
                    raise OSError(5, "killed")
                real(*args, **kwargs)  # noqa: B023

            patch.setattr(os, step, dying)
            made = storage.complete(KEY, upload_id, parts)
        again = storage.complete(KEY, upload_id, parts)
        assert again.size == made.size == 1000 * count
        assert get(storage, KEY) == content_of(1000) * count
        for key, stale_id, _ in list(storage.stale_multiparts(EVER)):
            storage.abort(key, stale_id)
        assert files_in(root) == [KEY]
        assert not any((root / ".unfinished").iterdir())


def test_a_part_replaced_by_one_of_the_same_size_is_another_one(storage: LocalStorage) -> None:
    upload_id = storage.begin(KEY)
    old = put_parts(storage, upload_id, b"one", b"two")
    storage.put_part(KEY, upload_id, 2, b"new")
    for parts in (old, old[1:]):
        with pytest.raises(IntegrityError):
            storage.complete(KEY, upload_id, parts)
    assert keys_of(storage) == []


def test_a_completed_upload_is_not_taken_for_another_object(storage: LocalStorage) -> None:
    upload_id = storage.begin(KEY)
    parts = put_parts(storage, upload_id, b"one", b"two")
    storage.complete(KEY, upload_id, parts)
    put(storage, KEY, b"of another size")
    with pytest.raises(ObjectNotFound):
        storage.complete(KEY, upload_id, parts)
    assert get(storage, KEY) == b"of another size"


def test_a_full_disk_leaves_the_parts_as_they_were(storage: LocalStorage, root: Path) -> None:
    upload_id = storage.begin(KEY)
    parts = put_parts(storage, upload_id, content_of(60_000), content_of(70_000))
    before = files_in(root)
    with file_size_limit(100_000):
        with pytest.raises(StorageFull):
            storage.put_part(KEY, upload_id, 2, content_of(100_001))
        with pytest.raises(StorageFull):
            storage.complete(KEY, upload_id, parts)
    assert files_in(root) == before
    storage.complete(KEY, upload_id, parts)
    assert get(storage, KEY) == content_of(60_000) + content_of(70_000)


def test_where_the_kernel_cannot_copy_the_bytes_are_copied(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> int:
        raise OSError(38, "no such call")

    monkeypatch.setattr(os, "copy_file_range", missing)
    upload_id = storage.begin(KEY)
    parts = put_parts(storage, upload_id, content_of(MIB), b"", b"end")
    storage.complete(KEY, upload_id, parts)
    assert get(storage, KEY) == content_of(MIB) + b"end"


def test_nothing_but_uploads_is_taken_for_stale(storage: LocalStorage, root: Path) -> None:
    assert list(storage.stale_multiparts(EVER)) == []
    storage.start(KEY, content_type="text/plain", largest=10)
    with storage.append(KEY, {"size": 0, "complete": False}, 0) as appender:
        appender.write(b"resumable")
        appender.keep()
    upload_id = storage.begin(KEY)
    for name in (f"k7.{upload_id}", f"K7.x.{upload_id}", f"...{upload_id}", "k7.x.y", upload_id):
        (root / ".unfinished" / name).mkdir()
    assert [(key, found) for key, found, _ in storage.stale_multiparts(EVER)] == [(KEY, upload_id)]


@pytest.mark.parametrize("what", ["folder", "part"])
def test_a_link_is_not_followed(
    storage: LocalStorage, root: Path, tmp_path: Path, what: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "00001").write_bytes(b"secret")
    upload_id = storage.begin(KEY)
    put_parts(storage, upload_id, b"secret")
    folder = folder_of(root, upload_id)
    (folder / "00001").unlink()
    if what == "folder":
        folder.rmdir()
        folder.symlink_to(outside)
    else:
        (folder / "00001").symlink_to(outside / "00001")
    part = Part(1, "0", 6)
    for act in (
        lambda: storage.list_parts(KEY, upload_id),
        lambda: storage.complete(KEY, upload_id, [part]),
        lambda: storage.complete(KEY, upload_id, [part, Part(2, "0", 6)]),
    ):
        with pytest.raises(StorageUnavailable):
            act()
    if what == "folder":
        with pytest.raises(StorageUnavailable):
            storage.put_part(KEY, upload_id, 1, b"x")
        with pytest.raises(StorageUnavailable):
            storage.abort(KEY, upload_id)
    else:
        storage.abort(KEY, upload_id)
    assert (outside / "00001").read_bytes() == b"secret"
    assert keys_of(storage) == []


def test_no_descriptor_stays_open(storage: LocalStorage) -> None:
    storage.check()
    put(storage, "zz/source", b"source")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(2):
        upload_id = storage.begin(KEY)
        parts = put_parts(storage, upload_id, b"one", b"two")
        storage.copy_part(KEY, upload_id, 3, "zz/source", 1, 2)
        for wrong in ([Part(1, "x", 3)], parts[::-1]):
            with pytest.raises(IntegrityError):
                storage.complete(KEY, upload_id, wrong)
        with pytest.raises(ObjectNotFound):
            storage.copy_part(KEY, upload_id, 3, "zz/missing", 1, 2)
        with pytest.raises(ObjectNotFound):
            storage.copy_part("zz/none", upload_id, 3, "zz/source", 1, 2)
        storage.complete(KEY, upload_id, parts)
        storage.complete(KEY, upload_id, parts)
        storage.abort(KEY, upload_id)
        list(storage.stale_multiparts(EVER))
        assert len(os.listdir("/proc/self/fd")) == before
