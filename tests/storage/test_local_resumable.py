"""What resumable writing on a local disk does: locks, crashes, links, durability, full disks."""

import json
import multiprocessing
import os
import signal
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from storage.capabilities import State
from storage.errors import (
    IntegrityError,
    ObjectNotFound,
    StorageError,
    StorageFull,
    StorageUnavailable,
)
from storage.local import LocalStorage
from tests.storage.faulty_disk import file_size_limit, record_commits
from tests.storage.material import MIB, content_of, get, keys_of, put
from tests.storage.resuming import Upload

KEY = "k7/k7object"
UNFINISHED = ".unfinished/k7.k7object"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def storage(root: Path) -> Iterator[LocalStorage]:
    with closing(LocalStorage(root, durable=True)) as storage:
        yield storage


@pytest.fixture
def upload(root: Path) -> Upload:
    return Upload(lambda: LocalStorage(root, durable=True), KEY)


def files_in(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir())


def test_an_unfinished_object_is_one_hidden_file(
    upload: Upload, storage: LocalStorage, root: Path
) -> None:
    assert not root.exists()
    upload.append(b"one, ")
    upload.append(b"two")
    assert files_in(root) == [UNFINISHED]
    assert (root / UNFINISHED).read_bytes() == b"one, two"
    assert stat.S_IMODE((root / UNFINISHED).stat().st_mode) == 0o640
    assert keys_of(storage) == []
    upload.complete()
    assert files_in(root) == [KEY]


# Locks


def _append_until_killed(root: Path, state: State, offset: int, end: Connection) -> None:
    with closing(LocalStorage(root, durable=True)) as storage:
        appender = storage.append(KEY, state, offset)
        appender.write(content_of(3 * MIB))
        end.send(os.getpid())
        signal.pause()


@contextmanager
def another_process_appending(root: Path, upload: Upload) -> Iterator[int]:
    """Let another process append, and hold on until it is killed; yield its id."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_append_until_killed, args=(root, upload.state, upload.size, there)
    )
    process.start()
    try:
        assert here.poll(60)
        yield here.recv()
    finally:
        process.kill()
        process.join()
        process.close()
        here.close()
        there.close()


@pytest.mark.parametrize("kept", [0, 9])
def test_only_one_process_appends_and_a_dead_one_is_in_nobodys_way(
    upload: Upload, storage: LocalStorage, root: Path, kept: int
) -> None:
    upload.append(b"x" * kept)
    with another_process_appending(root, upload):
        for _ in range(2):
            with pytest.raises(StorageUnavailable, match="still appending"):
                upload.append(b"too early")
        assert (root / UNFINISHED).stat().st_size == kept + 3 * MIB
    upload.append(b"after the death")
    upload.complete()
    assert get(storage, KEY) == b"x" * kept + b"after the death"


def test_a_process_killed_in_the_middle_of_its_writes_costs_only_what_was_not_kept(
    upload: Upload, storage: LocalStorage, root: Path
) -> None:
    kept = b""
    for number in range(4):
        with another_process_appending(root, upload) as pid:
            os.kill(pid, signal.SIGKILL)
        upload.append(content_of(number * 1000))
        kept += content_of(number * 1000)
    upload.complete()
    assert get(storage, KEY) == kept


def test_two_appends_of_one_process_are_two_as_well(upload: Upload, storage: LocalStorage) -> None:
    with storage.append(KEY, upload.state, 0) as first:
        first.write(b"first")
        with pytest.raises(StorageUnavailable, match="still appending"):
            storage.append(KEY, upload.state, 0)
        first.keep()
        storage.append(KEY, upload.state, 0).__exit__(None, None, None)


def test_who_comes_late_cuts_off_nothing_before_it_writes(
    upload: Upload, storage: LocalStorage, root: Path
) -> None:
    """A process that slept may open with a state that another one has gone beyond."""
    upload.append(b"one, ")
    late = upload.state
    upload.append(b"two, ")
    with storage.append(KEY, late, 5):
        assert (root / UNFINISHED).read_bytes() == b"one, two, "
    assert (root / UNFINISHED).read_bytes() == b"one, two, "
    upload.complete(b"three")
    assert get(storage, KEY) == b"one, two, three"


@pytest.mark.parametrize("pieces", [[], [b""], [b"2"]])
def test_what_was_never_kept_is_cut_off_when_bytes_are_kept(
    upload: Upload, storage: LocalStorage, pieces: list[bytes]
) -> None:
    upload.append(b"one, ")
    with storage.append(KEY, upload.state, 5) as appender:
        appender.write(b"lost with its state")
        appender.keep()
    upload.complete(*pieces)
    assert get(storage, KEY) == b"one, " + b"".join(pieces)


def test_an_object_is_not_finished_while_someone_appends(
    upload: Upload, storage: LocalStorage
) -> None:
    upload.append(b"whole", complete=True)
    with (
        storage.append(KEY, upload.state | {"complete": False}, 5),
        pytest.raises(StorageUnavailable, match="still appending"),
    ):
        upload.finish()
    upload.finish()
    assert get(storage, KEY) == b"whole"


def test_who_appends_to_an_object_that_is_discarded_learns_of_it(
    upload: Upload, storage: LocalStorage, root: Path
) -> None:
    for end in ("keep", "complete"):
        with storage.append(KEY, upload.state, 0) as appender:
            appender.write(b"lost")
            upload.discard()
            with pytest.raises(ObjectNotFound, match="discarded"):
                getattr(appender, end)()
    assert files_in(root) == []


# What is on the disk


def test_bytes_and_name_are_durable_before_they_are_kept(
    upload: Upload, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root.mkdir()
    seen = record_commits(monkeypatch)
    above = {f"fsync folder {folder.name}" for folder in root.parents}

    def done() -> list[str]:
        """Return what was done since, but for what each storage does once above its root."""
        told = [each for each in seen if each not in above]
        seen.clear()
        return told

    upload.append(b"first")
    assert done() == ["fsync folder root", "fsync file", "fsync folder .unfinished"]
    upload.append(b"second")
    assert done() == ["fsync file"]
    upload.append(complete=True)
    assert done() == ["fsync file"]
    upload.finish()
    assert done() == ["fsync folder root", "rename", "fsync folder k7"]
    upload.finish()
    assert done() == ["fsync folder k7"]


def test_nothing_is_synced_where_the_operator_left_it_to_the_system(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = record_commits(monkeypatch)
    upload = Upload(lambda: LocalStorage(root, durable=False), KEY)
    upload.append(b"bytes")
    upload.complete()
    upload.discard()
    assert seen == ["rename"]


def test_a_failed_fsync_keeps_nothing_and_the_bytes_are_written_again(
    upload: Upload, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload.append(b"kept, ")
    assert list(storage.scan()) == []
    with monkeypatch.context() as patch:

        def failing(fd: int) -> None:
            raise OSError(5, "failed")

        patch.setattr(os, "fsync", failing)
        with storage.append(KEY, upload.state, 6) as appender:
            appender.write(b"lost")
            with pytest.raises(StorageUnavailable):
                appender.keep()
            with pytest.raises(ValueError, match="failed"):
                appender.keep()
    upload.complete(b"end")
    assert get(storage, KEY) == b"kept, end"


def test_a_full_disk_gives_back_what_was_not_kept(
    upload: Upload, storage: LocalStorage, root: Path
) -> None:
    upload.append(b"kept, ")
    with file_size_limit(100_000), pytest.raises(StorageFull):
        upload.append(content_of(99_000), content_of(99_000))
    assert (root / UNFINISHED).stat().st_size == 6
    upload.complete(b"end")
    assert get(storage, KEY) == b"kept, end"


def test_a_file_that_lost_bytes_is_told_as_such(upload: Upload, root: Path) -> None:
    upload.append(b"0123456789")
    os.truncate(root / UNFINISHED, 5)
    with pytest.raises(IntegrityError, match="lost"):
        upload.append(b"more")
    upload.write_down({"size": 10, "complete": True})
    with pytest.raises(IntegrityError):
        upload.finish()
    assert files_in(root) == [UNFINISHED]


def test_a_file_that_is_gone_is_not_begun_again(upload: Upload, root: Path) -> None:
    upload.append(b"bytes")
    (root / UNFINISHED).unlink()
    with pytest.raises(ObjectNotFound):
        upload.append(b"more")
    (root / ".unfinished").rmdir()
    with pytest.raises(ObjectNotFound):
        upload.append(b"more")
    assert files_in(root) == []


def test_a_folder_that_was_removed_is_made_again(
    upload: Upload, storage: LocalStorage, root: Path
) -> None:
    upload.append(b"bytes")
    upload.discard()
    (root / ".unfinished").rmdir()
    again = Upload(lambda: storage, KEY)
    with storage.append(KEY, again.state, 0) as appender:
        appender.write(b"bytes")
        state = appender.complete().state
    storage.finish(KEY, state, 5)
    assert get(storage, KEY) == b"bytes"


def test_a_finish_replaces_what_is_at_the_key(upload: Upload, storage: LocalStorage) -> None:
    put(storage, KEY, b"old")
    upload.complete(b"new")
    assert get(storage, KEY) == b"new"


def test_another_object_is_not_taken_for_the_finished_one(
    upload: Upload, storage: LocalStorage
) -> None:
    upload.append(b"bytes", complete=True)
    upload.discard()
    put(storage, KEY, b"of another size")
    with pytest.raises(IntegrityError):
        upload.finish()


# Links


def test_a_link_in_the_hidden_folders_place_is_not_followed(
    upload: Upload, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    root.mkdir()
    (root / ".unfinished").symlink_to(tmp_path / "outside")
    with pytest.raises(StorageUnavailable):
        upload.append(b"bytes")
    assert files_in(tmp_path / "outside") == []


@pytest.mark.parametrize("what", ["link", "pipe", "folder"])
def test_nothing_but_a_plain_file_is_written_or_finished(
    upload: Upload, root: Path, tmp_path: Path, what: str
) -> None:
    upload.append(b"bytes")
    place, secret = root / UNFINISHED, tmp_path / "secret"
    secret.write_bytes(b"secret")
    place.unlink()
    match what:
        case "link":
            place.symlink_to(secret)
        case "pipe":
            os.mkfifo(place)
        case "folder":
            place.mkdir()
    with pytest.raises(StorageUnavailable):
        upload.append(b"more")
    upload.write_down({"size": 5, "complete": True})
    with pytest.raises(StorageUnavailable):
        upload.finish()
    assert secret.read_bytes() == b"secret"
    assert not (root / KEY).exists()


def test_no_descriptor_stays_open(upload: Upload, storage: LocalStorage) -> None:
    upload.append(b"bytes")
    storage.check()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        state = json.loads(json.dumps(upload.state))
        with storage.append(KEY, state, 5) as appender:
            appender.write(b"lost")
            with pytest.raises(StorageError):
                storage.append(KEY, state, 5)
        with storage.append(KEY, state, 5) as appender:
            appender.keep()
        with pytest.raises(StorageError):
            storage.append(KEY, state, 6)
        with pytest.raises(StorageError):
            storage.finish("zz/missing", state | {"complete": True}, 5)
        storage.discard("zz/missing", state)
        assert len(os.listdir("/proc/self/fd")) == before
