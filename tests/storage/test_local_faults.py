"""Tests of a local disk that fails: full, read-only, not there, unable to make bytes durable."""

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from storage.errors import StorageError, StorageFull, StorageUnavailable
from storage.local import LocalStorage
from tests.storage.faulty_disk import (
    file_size_limit,
    record_commits,
    small_disk,
    without_privileges,
)
from tests.storage.material import MIB, content_of, get, is_absent, keys_of, put

KEY = "k7/k7object"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def storage(root: Path) -> Iterator[LocalStorage]:
    with closing(LocalStorage(root, durable=True)) as storage:
        yield storage


@pytest.fixture
def published() -> Iterator[Path]:
    """A folder that every user of the machine can reach."""
    with tempfile.TemporaryDirectory() as parent:
        Path(parent).chmod(0o755)
        yield Path(parent)
        for folder in Path(parent).rglob("*"):
            folder.chmod(0o755)


def temporary_files(root: Path) -> list[Path]:
    return list((root / ".tmp").iterdir())


def test_a_full_disk_refuses_more_and_still_reads_and_deletes(root: Path) -> None:
    root.mkdir()
    with small_disk(root, 2 * MIB), closing(LocalStorage(root)) as storage:
        put(storage, KEY, content_of(MIB))
        with pytest.raises(StorageFull), storage.create("zz/large") as writer:
            for _ in range(4):
                writer.write(content_of(MIB))
        assert is_absent(storage, "zz/large")
        assert temporary_files(root) == []
        assert get(storage, KEY) == content_of(MIB)
        storage.delete(KEY)
        put(storage, "zz/large", content_of(MIB))


def test_a_write_that_stops_short_goes_on_and_then_fails(storage: LocalStorage, root: Path) -> None:
    put(storage, KEY, b"old")
    with pytest.raises(StorageFull), storage.create(KEY) as writer, file_size_limit(100_000):
        writer.write(content_of(99_999))
        try:
            writer.write(b"two")
        finally:
            (unfinished,) = temporary_files(root)
            assert unfinished.stat().st_size == 100_000
    assert get(storage, KEY) == b"old"
    assert temporary_files(root) == []


def test_a_writer_that_failed_takes_nothing_more(storage: LocalStorage) -> None:
    with storage.create(KEY) as writer:
        with file_size_limit(10), pytest.raises(StorageFull):
            writer.write(b"more than ten bytes")
        for act in (lambda: writer.write(b"more"), writer.commit):
            with pytest.raises(ValueError, match="failed"):
                act()
    assert is_absent(storage, KEY)


def test_a_copy_that_finds_no_room_leaves_nothing(storage: LocalStorage, root: Path) -> None:
    put(storage, KEY, content_of(MIB))
    with file_size_limit(1000), pytest.raises(StorageFull):
        storage.copy(KEY, "zz/copy")
    assert keys_of(storage) == [KEY]
    assert temporary_files(root) == []


def test_bytes_are_durable_before_the_name_and_the_name_before_the_answer(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = record_commits(monkeypatch)
    put(storage, KEY, b"one")
    commit = ["fsync file", "rename", "fsync folder k7"]
    assert [act for act in seen if act != "fsync folder root"][-3:] == commit
    assert seen.index("fsync folder root") < seen.index("rename")
    seen.clear()
    put(storage, KEY, b"two")
    assert seen == commit
    seen.clear()
    storage.delete(KEY)
    assert seen == ["fsync folder k7"]


def test_a_folder_that_another_process_made_is_made_durable_too(
    storage: LocalStorage, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "k7").mkdir(parents=True)
    seen = record_commits(monkeypatch)
    put(storage, KEY, b"content")
    assert seen[-4:] == ["fsync file", "fsync folder root", "rename", "fsync folder k7"]
    assert f"fsync folder {root.parent.name}" in seen[:-4], "the root's own name too"


def test_nothing_is_synced_where_the_operator_left_it_to_the_system(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = record_commits(monkeypatch)
    with closing(LocalStorage(root, durable=False)) as storage:
        put(storage, KEY, b"content")
        storage.delete(KEY)
    assert seen == ["rename"]


def test_a_failed_fsync_is_an_error_that_is_not_tried_again(
    storage: LocalStorage, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(storage, KEY, b"old")
    tried = []

    def failing(fd: int) -> None:
        assert stat.S_ISREG(os.fstat(fd).st_mode)
        tried.append(fd)
        raise OSError(errno.EIO, "failed")

    monkeypatch.setattr(os, "fsync", failing)
    with storage.create(KEY) as writer:
        writer.write(b"new")
        with pytest.raises(StorageUnavailable):
            writer.commit()
        with pytest.raises(ValueError, match="failed"):
            writer.commit()
    assert len(tried) == 1
    assert get(storage, KEY) == b"old"
    assert temporary_files(root) == []


def test_a_folder_that_cannot_be_synced_fails_the_commit_and_keeps_the_object_whole(
    storage: LocalStorage, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(storage, KEY, b"old")

    def failing(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EIO, "failed")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(StorageUnavailable):
        put(storage, KEY, b"new")
    assert get(storage, KEY) == b"new"
    assert temporary_files(root) == []


# What check says


def test_a_missing_disk_is_named_and_nothing_is_made_in_its_place(tmp_path: Path) -> None:
    with closing(LocalStorage(tmp_path / "unmounted" / "root")) as storage:
        with pytest.raises(StorageUnavailable, match="is the disk mounted"):
            storage.check()
        with pytest.raises(StorageUnavailable):
            storage.stat(KEY)
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_roots_place_is_named(root: Path) -> None:
    root.write_bytes(b"")
    with (
        closing(LocalStorage(root)) as storage,
        pytest.raises(StorageUnavailable, match="not a folder"),
    ):
        storage.check()


def test_a_folder_that_may_not_be_written_is_named_and_still_read(published: Path) -> None:
    with closing(LocalStorage(published)) as storage:
        put(storage, KEY, b"content")
    (published / KEY).chmod(0o444)
    for folder in (".tmp", "k7", "."):
        (published / folder).chmod(0o555)
    with without_privileges(), closing(LocalStorage(published)) as storage:
        assert get(storage, KEY) == b"content"
        for act in (storage.check, lambda: put(storage, KEY, b"x"), lambda: storage.delete(KEY)):
            with pytest.raises(StorageUnavailable, match="Permission denied"):
                act()


def test_a_root_that_went_away_is_named(storage: LocalStorage, root: Path) -> None:
    storage.check()
    root.rename(root.with_name("aside"))
    with pytest.raises(StorageUnavailable, match="gone"):
        storage.check()
    root.mkdir()
    with pytest.raises(StorageUnavailable, match="replaced"):
        storage.check()


def test_no_message_tells_where_the_folder_is(storage: LocalStorage, root: Path) -> None:
    messages = []
    root.mkdir()
    (root / "k7").write_bytes(b"a file in a folder's place")
    for act in (lambda: put(storage, KEY, b"x"), lambda: get(storage, KEY)):
        with pytest.raises(StorageError) as raised:
            act()
        messages.append(str(raised.value))
    with closing(LocalStorage(root / "k7" / "below")) as below:
        with pytest.raises(StorageError) as raised:
            below.check()
        messages.append(str(raised.value))
    assert not [text for text in messages if str(root) in text or "k7" in text or "tmp" in text]


# URLs


def test_a_url_may_hold_any_folder(tmp_path: Path) -> None:
    folder = tmp_path / "a b%41#?é"
    with closing(LocalStorage.from_url(folder.as_uri(), durable=False)) as storage:
        put(storage, KEY, b"content")
    assert (folder / KEY).read_bytes() == b"content"


@pytest.mark.parametrize(
    "url",
    [
        "file:",
        "file:///",
        "file:////",
        "file://folder",
        "file://host/folder",
        "file:///folder?durable=no",
        "file:///folder#part",
        "file:///folder%00",
        "file:folder",
        "http:///folder",
    ],
)
def test_a_url_that_names_no_folder_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="file://"):
        LocalStorage.from_url(url)
