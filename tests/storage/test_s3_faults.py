"""How the S3 storage bears a store that fails, hangs, breaks off or loses its answers."""

import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage.errors import IntegrityError, StorageError, StorageFull, StorageUnavailable
from storage.keys import new_key
from storage.parts import PROCESS_BUDGET
from storage.s3 import S3Storage
from tests.storage.bucket import MIB, Bucket, store, stored
from tests.support.faults import (
    CutBody,
    ErrorIn200,
    Fault,
    FaultProxy,
    Hang,
    LostAnswer,
    Rewrite,
    Status,
)
from tests.support.servers import S3Server, seaweedfs

CONTENT = secrets.token_bytes(11 * MIB)


@pytest.fixture
def bucket(s3_server: S3Server, tmp_path: Path) -> Iterator[Bucket]:
    bucket = Bucket(s3_server, tmp_path / "scratch")
    bucket.create()
    yield bucket
    bucket.close()


@pytest.fixture
def proxy(bucket: Bucket) -> Iterator[FaultProxy]:
    with FaultProxy(bucket.server.port) as proxy:
        yield proxy


@pytest.fixture
def storage(bucket: Bucket, proxy: FaultProxy) -> S3Storage:
    """A storage whose requests pass the proxy."""
    return bucket.storage(endpoint=proxy.endpoint)


@pytest.fixture
def impatient(bucket: Bucket, proxy: FaultProxy) -> S3Storage:
    """The same with a timeout that tests can wait for."""
    return bucket.storage(endpoint=proxy.endpoint, read_timeout=1)


ERROR_BEHIND_ITS_HEAD = Rewrite(
    lambda _: b'<?xml version="1.0"?><Error><Code>InternalError</Code></Error>'
)


@pytest.mark.parametrize("status", [500, 503])
@pytest.mark.parametrize("skip", [0, 1, 2])
def test_a_failing_request_is_sent_again(
    storage: S3Storage, proxy: FaultProxy, bucket: Bucket, status: int, skip: int
) -> None:
    key = new_key()
    proxy.inject(Status(status, "SlowDown"), method="PUT", skip=skip)
    proxy.inject(Status(status, "InternalError"), method="GET")
    store(storage, key, CONTENT)
    assert stored(storage, key) == CONTENT
    assert bucket.names() == [key]


def test_a_store_that_keeps_failing_is_unavailable_and_left_clean(
    storage: S3Storage, proxy: FaultProxy, bucket: Bucket
) -> None:
    proxy.inject(Status(500), target="partNumber=2", times=99)
    with pytest.raises(StorageUnavailable, match="overloaded or failing"):
        store(storage, new_key(), CONTENT)
    storage.close()
    assert (bucket.unfinished(), bucket.names(), PROCESS_BUDGET.used) == ([], [], 0)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (507, "XMinioStorageFull", StorageFull),
        (403, "QuotaExceeded", StorageFull),
        (507, "Unheard", StorageFull),
        (403, "AccessDenied", StorageUnavailable),
        (403, "RequestTimeTooSkewed", StorageUnavailable),
        (400, "BadDigest", IntegrityError),
        (400, "EntityTooLarge", StorageError),
        (301, "PermanentRedirect", StorageUnavailable),
    ],
)
def test_an_error_code_has_its_error(
    storage: S3Storage, proxy: FaultProxy, status: int, code: str, kind: type[StorageError]
) -> None:
    proxy.inject(Status(status, code), method="PUT", times=9)
    with pytest.raises(StorageError) as caught:
        store(storage, new_key(), b"bytes")
    assert type(caught.value) is kind
    assert caught.value.__cause__ is not None
    assert "Signature" not in str(caught.value)


def test_a_put_whose_answer_is_lost_is_one_object(
    storage: S3Storage, proxy: FaultProxy, bucket: Bucket
) -> None:
    key = new_key()
    proxy.inject(LostAnswer(), method="PUT")
    store(storage, key, b"bytes")
    assert (stored(storage, key), bucket.names()) == (b"bytes", [key])


def test_a_completion_whose_answers_are_lost_has_happened(
    storage: S3Storage, proxy: FaultProxy, bucket: Bucket
) -> None:
    key = new_key()
    proxy.inject(LostAnswer(), method="POST", target="uploadId=", times=9)
    store(storage, key, CONTENT)
    assert (stored(storage, key), bucket.unfinished()) == (CONTENT, [])


def test_an_error_in_a_200_after_the_act_is_a_success(
    storage: S3Storage, proxy: FaultProxy, bucket: Bucket
) -> None:
    key = new_key()
    proxy.inject(ErrorIn200(act=True), method="POST", target="uploadId=", times=9)
    store(storage, key, CONTENT)
    assert stored(storage, key) == CONTENT


def test_an_error_in_a_200_without_the_act_is_a_failure(
    storage: S3Storage, proxy: FaultProxy, bucket: Bucket
) -> None:
    proxy.inject(ErrorIn200(), method="POST", target="uploadId=", times=9)
    with pytest.raises(StorageUnavailable):
        store(storage, new_key(), CONTENT)
    storage.close()
    assert (bucket.unfinished(), bucket.names()) == ([], [])


@pytest.mark.parametrize("fault", [ErrorIn200(), ERROR_BEHIND_ITS_HEAD], ids=["bare", "with tag"])
def test_an_error_in_a_200_is_no_small_object_that_was_put(
    storage: S3Storage, proxy: FaultProxy, fault: Fault
) -> None:
    key = new_key()
    proxy.inject(fault, method="PUT")
    store(storage, key, b"small")
    assert [request.method for request in proxy.requests] == ["PUT", "PUT"]
    assert stored(storage, key) == b"small"


def test_an_error_in_a_200_is_no_object_that_was_opened(
    storage: S3Storage, proxy: FaultProxy
) -> None:
    key = new_key()
    store(storage, key, b"small")
    for start in (0, 2):
        proxy.inject(ErrorIn200(), method="GET")
        with pytest.raises(StorageUnavailable):
            storage.open(key, start)
    assert stored(storage, key) == b"small"


def test_an_object_of_the_same_size_by_another_writer_is_not_ours(
    storage: S3Storage, proxy: FaultProxy, bucket: Bucket
) -> None:
    key, theirs = new_key(), bytes(len(CONTENT))
    store(storage, key, theirs)
    proxy.inject(Status(500), method="POST", target="uploadId=", times=9)
    with pytest.raises(StorageUnavailable):
        store(storage, key, CONTENT)
    assert stored(storage, key) == theirs


@pytest.mark.parametrize("after", [0, 1, 300_000, 9 * MIB])
def test_a_read_that_breaks_off_once_goes_on(
    storage: S3Storage, proxy: FaultProxy, after: int
) -> None:
    key = new_key()
    store(storage, key, CONTENT)
    proxy.inject(CutBody(after), method="GET")
    with storage.open(key, 1_000, 10 * MIB) as body:
        assert b"".join(body) == CONTENT[1_000 : 10 * MIB]


def test_a_read_that_breaks_off_again_is_an_error(storage: S3Storage, proxy: FaultProxy) -> None:
    key = new_key()
    store(storage, key, CONTENT)
    proxy.inject(CutBody(300_000), method="GET", times=2)
    with storage.open(key) as body, pytest.raises(StorageUnavailable):
        b"".join(body)


@pytest.mark.parametrize("change", [b"n" * len(CONTENT), b"shorter", None])
def test_a_read_never_mixes_two_versions(
    storage: S3Storage, proxy: FaultProxy, change: bytes | None
) -> None:
    key = new_key()
    store(storage, key, CONTENT)
    proxy.inject(CutBody(300_000), method="GET")
    with storage.open(key) as body:
        if change is None:
            storage.delete(key)
        else:
            store(storage, key, change)
        with pytest.raises(StorageUnavailable):
            b"".join(body)


def test_a_body_left_early_costs_no_connection(storage: S3Storage) -> None:
    key = new_key()
    store(storage, key, CONTENT)
    for _ in range(5):
        with storage.open(key) as body:
            assert next(iter(body))
    assert stored(storage, key) == CONTENT


@pytest.mark.parametrize(
    "act",
    [
        lambda storage: store(storage, new_key(), b"bytes"),
        lambda storage: store(storage, new_key(), CONTENT),
        lambda storage: storage.open(new_key()),
        lambda storage: storage.stat(new_key()),
        lambda storage: storage.delete(new_key()),
        lambda storage: list(storage.scan()),
        lambda storage: storage.check(),
    ],
    ids=["put", "large put", "open", "stat", "delete", "scan", "check"],
)
@pytest.mark.parametrize("refusing", [True, False], ids=["refusing", "hanging"])
def test_a_dead_store_is_an_error_within_seconds(
    impatient: S3Storage,
    proxy: FaultProxy,
    act: Callable[[S3Storage], object],
    refusing: bool,
) -> None:
    if refusing:
        proxy.stop()
    else:
        proxy.inject(Hang(), times=999)
    began = time.monotonic()
    with pytest.raises(StorageUnavailable):
        act(impatient)
    assert time.monotonic() - began < 8
    proxy.release()


def test_a_completion_that_hangs_is_an_error_within_seconds(
    impatient: S3Storage, proxy: FaultProxy
) -> None:
    proxy.inject(Hang(), method="POST", target="uploadId=", times=99)
    proxy.inject(Hang(), method="HEAD", times=99)
    proxy.inject(Hang(), method="DELETE", times=99)
    began = time.monotonic()
    with pytest.raises(StorageUnavailable):
        store(impatient, new_key(), CONTENT)
    assert time.monotonic() - began < 8
    proxy.release()


def test_a_store_that_comes_back_is_used_again(tmp_path: Path) -> None:
    with seaweedfs(tmp_path) as server:
        bucket = Bucket(server, tmp_path / "scratch")
        bucket.create()
        storage, key = bucket.storage(), new_key()
        store(storage, key, CONTENT)
        with pytest.raises(StorageUnavailable), storage.create(new_key()) as writer:
            writer.write(CONTENT)
            server.stop()
            writer.write(CONTENT)
            writer.commit()
        with pytest.raises(StorageUnavailable):
            storage.stat(key)
        server.start()
        assert stored(storage, key) == CONTENT
        assert bucket.names() == [key]
        store(storage, key, b"again")
        bucket.close()
    assert PROCESS_BUDGET.used == 0
