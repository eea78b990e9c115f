"""How resumable writing on S3 cuts objects, and how it bears a store that fails."""

import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.errors import IntegrityError, ObjectNotFound, StorageError, StorageUnavailable
from storage.parts import PROCESS_BUDGET, Budget
from storage.s3 import S3Storage
from storage.s3_resumable import fixed_part_size
from tests.storage.bucket import MIB, Bucket, store, stored
from tests.storage.resuming import Upload
from tests.support.faults import ErrorIn200, FaultProxy, Hang, LostAnswer, Status
from tests.support.servers import S3Server

PART = 5 * MIB
CONTENT = secrets.token_bytes(13 * MIB)


@pytest.fixture
def bucket(s3_server: S3Server, tmp_path: Path) -> Iterator[Bucket]:
    bucket = Bucket(s3_server, tmp_path / "scratch")
    bucket.create()
    yield bucket
    bucket.close()
    assert PROCESS_BUDGET.used == 0
    assert not bucket.scratch.exists() or list(bucket.scratch.iterdir()) == []


@pytest.fixture
def proxy(bucket: Bucket) -> Iterator[FaultProxy]:
    with FaultProxy(bucket.server.port) as proxy:
        yield proxy


@pytest.fixture
def storage(bucket: Bucket) -> S3Storage:
    """A storage whose requests go straight to the server."""
    return bucket.storage()


@pytest.fixture
def upload(bucket: Bucket, proxy: FaultProxy) -> Upload:
    """An unfinished object whose requests pass the proxy."""
    return Upload(lambda: bucket.storage(endpoint=proxy.endpoint))


def left(bucket: Bucket) -> tuple[list[str], list[str]]:
    return bucket.names(), bucket.unfinished()


# Parts and tails


@pytest.mark.parametrize("tebibytes", [1, 5])
def test_ten_thousand_parts_hold_the_largest_object(tebibytes: int) -> None:
    largest = tebibytes * 1024**4
    size = fixed_part_size(8 * MIB, largest, 10_000)
    assert size % MIB == 0
    assert -(-largest // size) <= 10_000
    assert (size - MIB) * 10_000 < largest


def test_parts_are_no_smaller_than_asked_for_and_allowed() -> None:
    assert fixed_part_size(8 * MIB, 1, 10_000) == 8 * MIB
    assert fixed_part_size(8 * MIB, 80_000 * MIB, 10_000) == 8 * MIB
    assert fixed_part_size(8 * MIB, 80_000 * MIB + 1, 10_000) == 9 * MIB
    assert fixed_part_size(0, 0, 10_000) == 5 * MIB
    assert fixed_part_size(8 * MIB, 2**63, 10_000) == 5 * 1024**3


def test_more_parts_than_the_store_takes_are_an_error(
    bucket: Bucket, storage: S3Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = Upload(bucket.storage, largest=10)
    upload.append(CONTENT[: 2 * PART])
    monkeypatch.setattr(S3Storage, "maximum_parts", 2)
    for more in (b"", b"more"):
        with pytest.raises(StorageError, match="more parts"):
            upload.append(bytes(PART), more)
        with pytest.raises(StorageError, match="more parts"):
            upload.append(b"tail", more, complete=True)
    upload.complete()
    assert stored(storage, upload.key) == CONTENT[: 2 * PART]


def test_an_object_that_may_become_the_largest_takes_a_few_bytes(
    bucket: Bucket, storage: S3Storage
) -> None:
    upload = Upload(bucket.storage, largest=5 * 1024**4)
    for piece in (b"a", b"b" * MIB, b"c"):
        upload.append(piece)
    upload.complete()
    assert stored(storage, upload.key) == b"a" + b"b" * MIB + b"c"


def test_an_object_shorter_than_a_part_takes_few_requests(
    upload: Upload, bucket: Bucket, proxy: FaultProxy
) -> None:
    upload.complete(b"small")
    assert [request.method for request in proxy.requests] == ["PUT", "HEAD", "PUT", "DELETE"]
    proxy.requests.clear()
    empty = Upload(upload.open_store)
    empty.complete()
    assert [request.method for request in proxy.requests] == ["PUT"]
    assert left(bucket) == (sorted([upload.key, empty.key]), [])


def test_a_tail_is_a_new_object_and_the_old_one_stays_until_it_is_deleted(
    bucket: Bucket, storage: S3Storage
) -> None:
    upload = Upload(bucket.storage)
    upload.append(b"one ")
    (first,) = bucket.names()
    with storage.append(upload.key, upload.state, 4) as appender:
        appender.write(b"lost")
        assert appender.keep().superseded == (first,)
    assert first in bucket.names()
    upload.append(b"two")
    assert first not in bucket.names()
    upload.complete()
    assert stored(storage, upload.key) == b"one two"


def test_a_large_tail_is_copied_in_parts(
    bucket: Bucket, storage: S3Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.s3.COPIED_AT_ONCE", 5 * MIB)
    monkeypatch.setattr("storage.s3_multipart.COPIED_AT_ONCE", 5 * MIB)
    upload = Upload(lambda: bucket.storage(part_size=16 * MIB))
    upload.append(CONTENT, complete=True)
    for _ in range(2):
        assert upload.finish().size == len(CONTENT)
        assert stored(storage, upload.key) == CONTENT
        assert left(bucket) == ([upload.key], [])


def test_the_type_that_was_told_at_the_start_is_the_object_s(bucket: Bucket) -> None:
    for size in (0, 1, PART + 1):
        upload = Upload(bucket.storage)
        upload.complete(CONTENT[:size])
        head = bucket.client.head_object(Bucket=bucket.name, Key=upload.key)
        assert head["ContentType"] == "text/plain"


def test_without_memory_appends_wait_in_the_scratch_folder(
    bucket: Bucket, storage: S3Storage
) -> None:
    budget = Budget(64 * 1024)
    upload = Upload(lambda: bucket.storage(budget=budget))
    for start in range(0, len(CONTENT), 4 * MIB):
        piece = CONTENT[start : start + 4 * MIB]
        upload.append(*(piece[at : at + 50_000] for at in range(0, len(piece), 50_000)))
    upload.complete()
    assert stored(storage, upload.key) == CONTENT
    assert budget.used == 0


# A store that fails


def test_a_part_that_fails_leaves_no_gap(
    upload: Upload, proxy: FaultProxy, storage: S3Storage
) -> None:
    upload.append(CONTENT[:100])
    proxy.inject(Status(500), target="partNumber=1", times=99)
    with pytest.raises(StorageUnavailable):
        upload.append(CONTENT[100:])
    proxy.release()
    assert upload.size == 100
    upload.append(CONTENT[100 : PART + 7])
    proxy.inject(Status(500), target="partNumber=2", times=99)
    with pytest.raises(StorageUnavailable):
        upload.append(bytes(9 * MIB))
    proxy.release()
    upload.complete(CONTENT[PART + 7 :])
    assert stored(storage, upload.key) == CONTENT


def test_a_tail_that_fails_is_removed_and_the_old_one_counts(
    upload: Upload, proxy: FaultProxy, bucket: Bucket, storage: S3Storage
) -> None:
    upload.append(b"kept, ")
    before = bucket.names()
    for fault in (Status(500), LostAnswer()):
        proxy.inject(fault, method="PUT", times=3)
        with pytest.raises(StorageUnavailable):
            upload.append(b"lost")
        assert bucket.names() == before
    upload.complete(b"and the end")
    assert stored(storage, upload.key) == b"kept, and the end"
    assert left(bucket) == ([upload.key], [])


def test_an_upload_begun_by_an_append_that_failed_is_aborted(
    upload: Upload, proxy: FaultProxy, bucket: Bucket
) -> None:
    proxy.inject(Status(400, "BadDigest"), target="partNumber=2", times=99)
    with pytest.raises(IntegrityError):
        upload.append(CONTENT)
    assert left(bucket) == ([], [])


def test_a_tail_that_cannot_be_read_back_is_an_error_that_costs_nothing(
    upload: Upload, proxy: FaultProxy, storage: S3Storage
) -> None:
    upload.append(b"kept, ")
    proxy.inject(Status(503, "SlowDown"), method="GET", times=3)
    with pytest.raises(StorageUnavailable):
        upload.append(b"lost")
    assert PROCESS_BUDGET.used == 0
    upload.complete(b"end")
    assert stored(storage, upload.key) == b"kept, end"


@pytest.mark.parametrize("fault", [LostAnswer(), ErrorIn200(act=True)], ids=["lost", "error"])
def test_a_completion_that_took_effect_unheard_is_found(
    upload: Upload, proxy: FaultProxy, bucket: Bucket, storage: S3Storage, fault: LostAnswer
) -> None:
    upload.append(CONTENT, complete=True)
    proxy.inject(fault, method="POST", target="uploadId=", times=9)
    for _ in range(2):
        assert upload.finish().size == len(CONTENT)
    assert stored(storage, upload.key) == CONTENT
    assert left(bucket) == ([upload.key], [])


def test_an_error_in_a_200_is_an_error_and_the_finish_can_be_tried_again(
    upload: Upload, proxy: FaultProxy, bucket: Bucket, storage: S3Storage
) -> None:
    upload.append(CONTENT, complete=True)
    proxy.inject(ErrorIn200(), method="POST", target="uploadId=", times=9)
    with pytest.raises(StorageUnavailable):
        upload.finish()
    assert bucket.names() == []
    proxy.release()
    upload.finish()
    assert stored(storage, upload.key) == CONTENT


def test_a_copy_of_the_tail_whose_answer_is_lost_can_be_tried_again(
    upload: Upload, proxy: FaultProxy, bucket: Bucket, storage: S3Storage
) -> None:
    upload.append(b"small", complete=True)
    proxy.inject(LostAnswer(), method="PUT", times=3)
    with pytest.raises(StorageUnavailable):
        upload.finish()
    assert upload.finish().size == 5
    assert stored(storage, upload.key) == b"small"
    assert left(bucket) == ([upload.key], [])


def test_a_tail_that_could_not_be_deleted_is_no_failed_finish(
    upload: Upload, proxy: FaultProxy, bucket: Bucket
) -> None:
    upload.append(b"small", complete=True)
    proxy.inject(Status(500), method="DELETE", times=9)
    assert upload.finish().size == 5
    proxy.release()
    upload.discard()
    assert left(bucket) == ([upload.key], [])


@pytest.mark.parametrize("size", [5, PART + 5])
def test_an_upload_that_is_gone_is_never_a_success(
    bucket: Bucket, storage: S3Storage, size: int
) -> None:
    upload = Upload(bucket.storage)
    upload.append(CONTENT[:size], complete=True)
    upload.discard()
    with pytest.raises(ObjectNotFound):
        upload.finish()
    store(storage, upload.key, CONTENT[:size])
    with pytest.raises(ObjectNotFound):
        upload.finish()
    assert stored(storage, upload.key) == CONTENT[:size]


def test_a_store_that_hangs_is_an_error_within_seconds_and_costs_nothing(
    bucket: Bucket, proxy: FaultProxy, storage: S3Storage
) -> None:
    upload = Upload(lambda: bucket.storage(endpoint=proxy.endpoint, read_timeout=1))
    upload.append(CONTENT[:PART])
    proxy.inject(Hang(), method="PUT", times=99)
    began = time.monotonic()
    with pytest.raises(StorageUnavailable):
        upload.append(CONTENT[PART:])
    assert time.monotonic() - began < 12
    proxy.release()
    upload.complete(CONTENT[PART:])
    assert stored(storage, upload.key) == CONTENT
