"""Tests of what only a local disk does: links, full disks, fsync, what lies in the folder."""

import errno
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import count
from pathlib import Path

import pytest

from storage.errors import ObjectNotFound, StorageError, StorageUnavailable
from storage.keys import new_key
from storage.local import LocalStorage
from tests.storage.material import MIB, content_of, get, keys_of, put

KEY = "k7/k7object"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def storage(root: Path) -> Iterator[LocalStorage]:
    with closing(LocalStorage(root, durable=True)) as storage:
        yield storage


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "k7object").write_bytes(b"secret")
    return folder


def files_in(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# What lies in the folder


def test_an_object_is_one_file_at_its_key(storage: LocalStorage, root: Path) -> None:
    put(storage, KEY, b"content")
    assert files_in(root) == [KEY]
    assert (root / KEY).read_bytes() == b"content"


def test_a_temporary_file_is_gone_after_an_abandoned_write(
    storage: LocalStorage, root: Path
) -> None:
    with storage.create(KEY) as writer:
        writer.write(b"lost")
        assert len(files_in(root)) == 1
    assert files_in(root) == []


def test_group_members_may_read_and_others_may_not(storage: LocalStorage, root: Path) -> None:
    before = os.umask(0o022)
    try:
        put(storage, KEY, b"content")
    finally:
        os.umask(before)
    assert stat.S_IMODE((root / KEY).stat().st_mode) == 0o640
    for folder in (root, root / "k7", root / ".tmp"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o750


def test_nothing_is_made_before_the_first_use(root: Path) -> None:
    LocalStorage(root).close()
    assert not root.exists()


def test_a_scan_ignores_what_is_no_object(storage: LocalStorage, root: Path) -> None:
    put(storage, KEY, b"content")
    (root / "lost+found").mkdir()
    (root / "README").write_bytes(b"x")
    (root / ".tmp" / "k7").write_bytes(b"x")
    (root / "k7" / "k7OBJECT").write_bytes(b"x")
    (root / "k7" / ".hidden").write_bytes(b"x")
    (root / "k7" / "k7folder").mkdir()
    (root / "a0").mkdir()
    assert keys_of(storage) == [KEY]


def test_a_temporary_folder_that_was_removed_is_made_again(
    storage: LocalStorage, root: Path
) -> None:
    put(storage, KEY, b"one")
    (root / ".tmp").rmdir()
    put(storage, KEY, b"two")
    assert get(storage, KEY) == b"two"


def test_a_folder_that_was_removed_is_made_again(storage: LocalStorage, root: Path) -> None:
    put(storage, KEY, b"one")
    storage.delete(KEY)
    (root / "k7").rmdir()
    storage.delete(KEY)
    put(storage, KEY, b"two")
    assert get(storage, KEY) == b"two"


def test_a_file_cut_short_from_outside_breaks_its_body_off(
    storage: LocalStorage, root: Path
) -> None:
    put(storage, KEY, content_of(MIB))
    with storage.open(KEY) as body:
        os.truncate(root / KEY, MIB // 2)
        with pytest.raises(StorageUnavailable, match="shorter"):
            list(body)


def test_a_copy_works_where_the_kernel_cannot_copy(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*arguments: object, **options: object) -> int:
        raise OSError(errno.EXDEV, "refused")

    content = content_of(MIB + 1)
    put(storage, KEY, content)
    monkeypatch.setattr(os, "copy_file_range", refused)
    assert storage.copy(KEY, "zz/copy").size == len(content)
    assert get(storage, "zz/copy") == content


def test_no_descriptor_stays_open(storage: LocalStorage) -> None:
    put(storage, KEY, b"content")
    before = open_descriptors()
    for _ in range(3):
        put(storage, KEY, b"content")
        get(storage, KEY)
        storage.copy(KEY, new_key())
        next(storage.scan())
        with storage.create(KEY) as writer:
            writer.write(b"lost")
        for act in (storage.open, storage.stat):
            with pytest.raises(ObjectNotFound):
                act("zz/missing")
        assert open_descriptors() == before


# Links


def test_the_root_itself_may_be_a_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    root.symlink_to(tmp_path / "disk")
    with closing(LocalStorage(root)) as storage:
        storage.check()
        put(storage, KEY, b"content")
    assert (tmp_path / "disk" / KEY).read_bytes() == b"content"


def test_a_link_in_a_folders_place_leads_nowhere(
    storage: LocalStorage, root: Path, outside: Path
) -> None:
    put(storage, "zz/other", b"inside")
    (root / "k7").symlink_to(outside)
    for act in (
        lambda: put(storage, KEY, b"new"),
        lambda: put(storage, "k7/further", b"new"),
        lambda: get(storage, KEY),
        lambda: storage.stat(KEY),
        lambda: storage.delete(KEY),
        lambda: storage.copy("zz/other", KEY),
        lambda: storage.copy(KEY, "zz/stolen"),
        lambda: keys_of(storage),
    ):
        with pytest.raises(StorageUnavailable):
            act()
    assert files_in(outside) == ["k7object"]
    assert (outside / "k7object").read_bytes() == b"secret"
    assert files_in(root) == ["zz/other"]


def test_a_link_in_a_files_place_leads_nowhere(
    storage: LocalStorage, root: Path, outside: Path
) -> None:
    put(storage, "k7/other", b"inside")
    (root / KEY).symlink_to(outside / "k7object")
    for act in (
        lambda: get(storage, KEY),
        lambda: storage.stat(KEY),
        lambda: storage.copy(KEY, "zz/stolen"),
    ):
        with pytest.raises(StorageUnavailable):
            act()
    assert keys_of(storage) == ["k7/other"]
    put(storage, KEY, b"replaces the link")
    assert get(storage, KEY) == b"replaces the link"
    (root / KEY).unlink()
    (root / KEY).symlink_to(outside / "k7object")
    storage.delete(KEY)
    assert (outside / "k7object").read_bytes() == b"secret"


def test_a_link_in_the_temporary_folders_place_is_not_followed(
    storage: LocalStorage, root: Path, outside: Path
) -> None:
    root.mkdir()
    (root / ".tmp").symlink_to(outside)
    with pytest.raises(StorageUnavailable):
        put(storage, KEY, b"new")
    assert files_in(outside) == ["k7object"]


def test_a_link_that_comes_and_goes_is_never_followed(
    storage: LocalStorage, root: Path, outside: Path
) -> None:
    folder = root / "k7"
    finished = threading.Event()

    def swap() -> None:
        for number in count():
            for act in (
                lambda aside=root / f"aside{number}": folder.rename(aside),
                lambda: folder.symlink_to(outside),
                folder.unlink,
            ):
                with suppress(OSError):
                    act()
            if finished.is_set():
                return

    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        for _ in range(200):
            with suppress(StorageError):
                put(storage, KEY, b"inside")
            with suppress(StorageError):
                assert get(storage, KEY) == b"inside"
            with suppress(StorageError):
                storage.delete("k7/absent")
    finally:
        finished.set()
        swapping.join()
    assert files_in(outside) == ["k7object"]
    assert (outside / "k7object").read_bytes() == b"secret"


def test_neither_a_pipe_nor_a_folder_is_taken_for_an_object(
    storage: LocalStorage, root: Path
) -> None:
    put(storage, "k7/other", b"x")
    os.mkfifo(root / "k7" / "pipe")
    (root / "k7" / "folder").mkdir()
    before = open_descriptors()
    for key in ("k7/pipe", "k7/folder"):
        for act in (storage.open, storage.stat):
            with pytest.raises(StorageUnavailable):
                act(key)
    assert keys_of(storage) == ["k7/other"]
    assert open_descriptors() == before
