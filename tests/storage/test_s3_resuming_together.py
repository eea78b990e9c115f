"""Resumable writing on S3 by two at once, and by one that dies: no store has a lock."""

import json
import multiprocessing
import os
import secrets
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from storage.capabilities import State
from storage.errors import IntegrityError, ObjectNotFound
from storage.s3 import S3Storage
from storage.s3_options import S3Options
from tests.storage.bucket import MIB, Bucket, stored
from tests.storage.resuming import Upload
from tests.support.servers import S3Server

PART = 5 * MIB
CONTENT = secrets.token_bytes(13 * MIB)


@pytest.fixture
def bucket(s3_server: S3Server, tmp_path: Path) -> Iterator[Bucket]:
    bucket = Bucket(s3_server, tmp_path / "scratch")
    bucket.create()
    yield bucket
    bucket.close()


@pytest.fixture
def storage(bucket: Bucket) -> S3Storage:
    return bucket.storage()


def require_kept_or_refused(upload: Upload, storage: S3Storage, content: bytes) -> None:
    """Finish: stores differ in whether a part put again replaces the one of another tag."""
    try:
        upload.finish()
    except IntegrityError:
        with pytest.raises(ObjectNotFound):
            storage.stat(upload.key)
    else:
        assert stored(storage, upload.key) == content


def test_parts_put_by_one_who_was_too_late_never_mix_with_those_that_were_kept(
    bucket: Bucket, storage: S3Storage
) -> None:
    upload = Upload(bucket.storage)
    upload.append(CONTENT[:PART])
    with storage.append(upload.key, upload.state, PART) as late:
        late.write(b"stale")
        upload.append(CONTENT[PART : 2 * PART])
        late.write(bytes(PART))
        late.keep()
    upload.append(complete=True)
    require_kept_or_refused(upload, storage, CONTENT[: 2 * PART])


def test_a_last_part_put_by_one_who_was_too_late_never_replaces_the_kept_one(
    bucket: Bucket, storage: S3Storage
) -> None:
    upload = Upload(bucket.storage)
    upload.append(CONTENT[: PART + 9])
    with storage.append(upload.key, upload.state, PART + 9) as late:
        late.write(b"stale")
        upload.append(b"end", complete=True)
        late.complete()
    require_kept_or_refused(upload, storage, CONTENT[: PART + 9] + b"end")


def test_a_part_that_is_another_than_the_kept_one_makes_no_object(
    bucket: Bucket, storage: S3Storage
) -> None:
    upload = Upload(bucket.storage)
    upload.append(CONTENT[: 2 * PART])
    kept = upload.state
    upload.write_down(kept | {"parts": [kept["parts"][0], "0" * 32]})
    with pytest.raises(IntegrityError, match="overwritten"):
        upload.append(b"more")
    upload.write_down(kept | {"parts": ["0" * 32, kept["parts"][1]], "complete": True})
    with pytest.raises(IntegrityError, match="InvalidPart"):
        upload.finish()
    assert bucket.names() == []


def test_the_same_bytes_sent_twice_do_no_harm(bucket: Bucket, storage: S3Storage) -> None:
    upload = Upload(bucket.storage)
    upload.append(CONTENT[:PART])
    with storage.append(upload.key, upload.state, PART) as late:
        upload.append(CONTENT[PART:])
        late.write(CONTENT[PART:])
    upload.complete()
    assert stored(storage, upload.key) == CONTENT


def _append_until_killed(
    options: S3Options,
    scratch: Path,
    keys: tuple[str, str],
    upload: tuple[str, State, int],
    ready: Connection,
) -> None:
    key, state, offset = upload
    storage = S3Storage(options, scratch=scratch, access_key_id=keys[0], secret_access_key=keys[1])
    appender = storage.append(key, state, offset)
    appender.write(bytes(12 * MIB))
    ready.send(json.dumps(appender.keep().state))
    again = storage.append(key, state, offset)
    again.write(bytes(12 * MIB))
    ready.send("")
    signal.pause()


def kill_in_the_middle(bucket: Bucket, upload: Upload) -> None:
    """Append in a process that is killed after a keep that nobody wrote down, and in the next."""
    here, there = multiprocessing.Pipe()
    keys = (bucket.server.access_key_id, bucket.server.secret_access_key)
    what = (upload.key, upload.state, upload.size)
    process = multiprocessing.get_context("spawn").Process(
        target=_append_until_killed,
        args=(bucket.options(), bucket.scratch, keys, what, there),
    )
    process.start()
    for _ in range(2):
        assert here.poll(60)
        here.recv()
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    process.close()
    here.close()
    there.close()


@pytest.mark.parametrize("kept", [0, 7, PART + 7])
def test_another_process_goes_on_after_a_kill_and_leaves_nothing_of_it(
    bucket: Bucket, storage: S3Storage, kept: int
) -> None:
    for end in (Upload.finish, Upload.discard):
        upload = Upload(bucket.storage)
        upload.append(CONTENT[:kept])
        kill_in_the_middle(bucket, upload)
        upload.append(CONTENT[kept:], complete=True)
        end(upload)
        if end is Upload.finish:
            assert stored(storage, upload.key) == CONTENT
            storage.delete(upload.key)
        assert (bucket.names(), bucket.unfinished()) == ([], [])
