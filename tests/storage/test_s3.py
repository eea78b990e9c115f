"""What the S3 storage does beyond the contract, against a real server: parts, budget, checks."""

import gc
import io
import secrets
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

import storage.s3 as storage_s3
from storage import open_storage
from storage.capabilities import Multipart, Part
from storage.errors import IntegrityError, ObjectNotFound, StorageError, StorageUnavailable
from storage.keys import new_key
from storage.multipart import PartWriter
from storage.parts import LARGE_PAGE, PROCESS_BUDGET, Budget
from storage.s3 import S3Storage
from tests.storage.bucket import MIB, Bucket, store, stored
from tests.support.faults import FaultProxy, Rewrite
from tests.support.processes import free_ports
from tests.support.servers import S3Server
from tests.support.tls import TlsFront

CONTENT = secrets.token_bytes(11 * MIB)


@pytest.fixture
def empty(s3_server: S3Server, tmp_path: Path) -> Iterator[Bucket]:
    """A bucket that is not made yet."""
    bucket = Bucket(s3_server, tmp_path / "scratch")
    yield bucket
    bucket.close()


@pytest.fixture
def bucket(empty: Bucket) -> Bucket:
    empty.create()
    return empty


@pytest.fixture(params=["http", "https", "https with checksums"])
def storage(request: pytest.FixtureRequest, bucket: Bucket) -> S3Storage:
    """A storage over each framing that botocore uses for bodies."""
    if request.param == "http":
        return bucket.storage()
    front: TlsFront = request.getfixturevalue("s3_tls_front")
    checksums = "when_supported" if "checksums" in request.param else "when_required"
    return bucket.storage(endpoint=front.endpoint, ca_bundle=front.ca_bundle, checksums=checksums)


def test_the_storage_can_do_multipart(storage: S3Storage) -> None:
    assert isinstance(storage, Multipart)
    assert storage.minimum_part_size == 5 * MIB


def test_parts_in_any_order_make_one_object(storage: S3Storage) -> None:
    key, first = new_key(), CONTENT[: 5 * MIB]
    upload_id = storage.begin(key, content_type="text/plain")
    second = storage.put_part(key, upload_id, 2, b"the end")
    parts = [storage.put_part(key, upload_id, 1, first), second]
    assert storage.list_parts(key, upload_id) == parts
    info = storage.complete(key, upload_id, parts)
    assert (info.size, stored(storage, key)) == (len(first) + 7, first + b"the end")
    assert storage.stat(key) == info


def test_a_part_comes_from_a_file_from_its_position_on(storage: S3Storage) -> None:
    key = new_key()
    upload_id = storage.begin(key)
    file = io.BytesIO(b"skipped, kept")
    file.seek(9)
    part = storage.put_part(key, upload_id, 1, file)
    assert part.size == 4
    storage.complete(key, upload_id, [part])
    assert stored(storage, key) == b"kept"


def test_a_part_put_again_replaces_the_first(storage: S3Storage) -> None:
    key = new_key()
    upload_id = storage.begin(key)
    storage.put_part(key, upload_id, 1, b"wrong")
    storage.complete(key, upload_id, [storage.put_part(key, upload_id, 1, b"right")])
    assert stored(storage, key) == b"right"


def test_a_part_is_copied_from_another_object(storage: S3Storage) -> None:
    source, key = new_key(), new_key()
    store(storage, source, CONTENT)
    upload_id = storage.begin(key)
    first = storage.copy_part(key, upload_id, 1, source, 1_000, 6 * MIB)
    storage.complete(key, upload_id, [first, storage.put_part(key, upload_id, 2, b"tail")])
    assert stored(storage, key) == CONTENT[1_000 : 6 * MIB] + b"tail"


def test_another_process_can_finish_an_upload(bucket: Bucket) -> None:
    key, here, there = new_key(), bucket.storage(), bucket.storage()
    upload_id = here.begin(key)
    here.put_part(key, upload_id, 1, b"bytes")
    there.complete(key, upload_id, there.list_parts(key, upload_id))
    assert stored(there, key) == b"bytes"


@pytest.mark.parametrize("unknown", ["", "short", "a" * 60])
def test_an_unknown_upload_is_not_found(bucket: Bucket, unknown: str) -> None:
    storage, key = bucket.storage(), new_key()
    with pytest.raises(ObjectNotFound):
        storage.put_part(key, unknown, 1, b"")
    with pytest.raises(ObjectNotFound):
        storage.list_parts(key, unknown)
    with pytest.raises(ObjectNotFound):
        storage.complete(key, unknown, [Part(1, "0" * 32, 1)])
    storage.abort(key, unknown)


def test_an_aborted_upload_is_gone(storage: S3Storage, bucket: Bucket) -> None:
    key = new_key()
    upload_id = storage.begin(key)
    storage.put_part(key, upload_id, 1, b"bytes")
    storage.abort(key, upload_id)
    storage.abort(key, upload_id)
    assert bucket.unfinished() == []
    with pytest.raises(ObjectNotFound):
        storage.stat(key)


def test_an_abandoned_writer_leaves_no_parts(storage: S3Storage, bucket: Bucket) -> None:
    with storage.create(new_key()) as writer:
        writer.write(CONTENT)
        assert len(bucket.unfinished()) == 1
    assert (bucket.unfinished(), bucket.names(), PROCESS_BUDGET.used) == ([], [], 0)


def test_small_and_large_objects_take_the_fewest_requests(bucket: Bucket) -> None:
    with FaultProxy(bucket.server.port) as proxy:
        storage, key = bucket.storage(endpoint=proxy.endpoint), new_key()
        store(storage, key, CONTENT[: 5 * MIB])
        assert stored(storage, key) == CONTENT[: 5 * MIB]
        assert [request.method for request in proxy.requests] == ["PUT", "GET"]
        proxy.requests.clear()
        store(storage, key, CONTENT)
        methods = sorted(request.method for request in proxy.requests)
        assert methods == ["HEAD", "POST", "POST", "PUT", "PUT", "PUT"]


def test_a_small_object_does_not_wait_for_its_turn_without_end(
    storage: S3Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_s3, "PUT_WITHIN", 0.05)
    with ExitStack() as stack:
        for _ in range(storage_s3.PUTS_AT_ONCE):
            stack.enter_context(storage._turn())
        with pytest.raises(StorageUnavailable):
            store(storage, new_key(), b"late")
    key = new_key()
    store(storage, key, b"in time")
    assert stored(storage, key) == b"in time"


def test_without_memory_parts_wait_in_the_scratch_folder(
    storage: S3Storage, bucket: Bucket
) -> None:
    storage._budget = Budget(64 * 1024)
    key = new_key()
    with storage.create(key) as writer:
        for start in range(0, len(CONTENT), 10_000):
            writer.write(CONTENT[start : start + 10_000])
        assert storage._budget.used == 0
        writer.commit()
    assert stored(storage, key) == CONTENT
    assert (list(bucket.scratch.iterdir()), storage._budget.used) == ([], 0)


def test_many_slow_senders_share_one_budget(bucket: Bucket) -> None:
    budget = Budget(4 * MIB)
    storage = bucket.storage(budget=budget)
    writers = [storage.create(new_key()) for _ in range(60)]
    for writer in writers:
        writer.write(CONTENT[: 200 * 1024])
    assert 3 * MIB < budget.used <= budget.limit
    for writer in writers:
        writer.__exit__(None, None, None)
    assert (budget.used, list(bucket.scratch.iterdir()), bucket.names()) == (0, [], [])


@pytest.mark.parametrize("quick", [True, False])
def test_only_a_sender_who_has_filled_a_part_quickly_is_given_large_pages(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch, quick: bool
) -> None:
    monkeypatch.setattr("storage.multipart.QUICK", 60 if quick else 0)
    budget = Budget(32 * MIB)
    with bucket.storage(budget=budget).create(new_key()) as writer:
        writer.write(CONTENT[: 5 * MIB - 1])
        assert budget.used == 5 * MIB - 1
        writer.write(bytes(11))
        assert isinstance(writer, PartWriter)
        writer._in_flight.settle()
        assert budget.used == (LARGE_PAGE if quick else 10)
    assert budget.used == 0


def test_a_large_put_and_get_keep_the_process_small(bucket: Bucket) -> None:
    storage, key, process = bucket.storage(part_size=8 * MIB), new_key(), psutil.Process()
    store(storage, key, b"warm")
    gc.collect()
    before = highest = process.memory_info().rss
    with storage.create(key) as writer:
        for _ in range(200):
            writer.write(CONTENT[:MIB])
            highest = max(highest, process.memory_info().rss)
        assert writer.commit().size == 200 * MIB
    with storage.open(key) as body:
        for _ in body:
            highest = max(highest, process.memory_info().rss)
    assert highest - before < 64 * MIB


def test_one_of_many_writers_of_a_key_wins_whole(bucket: Bucket) -> None:
    storage, key = bucket.storage(), new_key()
    barrier = threading.Barrier(6)

    def write(number: int) -> None:
        with storage.create(key) as writer:
            writer.write(bytes([number]) * (5 * MIB + 1))
            barrier.wait(30)
            writer.commit()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    content = stored(storage, key)
    assert len(content) == 5 * MIB + 1
    assert len(set(content)) == 1
    assert bucket.unfinished() == []


def test_a_copy_in_parts_is_the_same_object(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.s3.COPIED_AT_ONCE", 5 * MIB)
    monkeypatch.setattr("storage.s3_multipart.COPIED_AT_ONCE", 5 * MIB)
    storage, source, target = bucket.storage(), new_key(), new_key()
    store(storage, source, CONTENT)
    assert storage.copy(source, target).size == len(CONTENT)
    assert stored(storage, target) == CONTENT
    assert bucket.unfinished() == []


def test_a_scan_sees_only_objects_with_keys(bucket: Bucket) -> None:
    storage, key = bucket.storage(), new_key()
    store(storage, key, b"ours")
    for foreign in ("readme.txt", "aa/Foreign", "aa/bb/cc"):
        bucket.client.put_object(Bucket=bucket.name, Key=foreign, Body=b"theirs")
    assert [info.key for info in storage.scan()] == [key]


def test_check_passes_and_leaves_nothing(storage: S3Storage, bucket: Bucket) -> None:
    storage.check()
    assert (bucket.names(), bucket.unfinished()) == ([], [])


def test_check_names_a_missing_bucket(empty: Bucket) -> None:
    with pytest.raises(StorageUnavailable, match=r"no such bucket: .*create_bucket=true"):
        empty.storage().check()


def test_a_missing_bucket_is_never_a_missing_object(empty: Bucket) -> None:
    storage, key = empty.storage(), new_key()
    with pytest.raises(StorageUnavailable, match="no such bucket"):
        storage.stat(key)
    with pytest.raises(StorageUnavailable, match="no such bucket"):
        storage.open(key)


def test_check_makes_the_bucket_when_the_url_says_so(empty: Bucket) -> None:
    storages = [empty.storage(create_bucket="true") for _ in range(3)]
    failures: list[StorageError] = []

    def check(storage: S3Storage) -> None:
        try:
            storage.check()
        except StorageError as failure:
            failures.append(failure)

    threads = [threading.Thread(target=check, args=(storage,)) for storage in storages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (failures, empty.names()) == ([], [])


def test_check_names_wrong_credentials_and_keeps_them_secret(bucket: Bucket) -> None:
    storage = bucket.storage(secret_access_key="not-the-secret")
    with pytest.raises(StorageUnavailable, match="refuses the credentials") as caught:
        storage.check()
    assert "not-the-secret" not in str(caught.value)
    assert bucket.server.access_key_id not in str(caught.value)


def test_check_names_missing_credentials(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    storage = open_storage(bucket.server.url(bucket.name), scratch=tmp_path)
    with pytest.raises(StorageUnavailable, match="no credentials are set"):
        storage.check()
    storage.close()


def test_check_names_an_untrusted_certificate(bucket: Bucket, s3_tls_front: TlsFront) -> None:
    storage = bucket.storage(endpoint=s3_tls_front.endpoint)
    with pytest.raises(StorageUnavailable, match="ca_bundle"):
        storage.check()


def test_check_names_an_endpoint_that_refuses(bucket: Bucket) -> None:
    endpoint = f"http://127.0.0.1:{free_ports(1)[0]}"
    with pytest.raises(StorageUnavailable, match=rf"{endpoint} cannot be reached"):
        bucket.storage(endpoint=endpoint).check()


def test_check_names_stored_chunk_framing_and_cleans_up(bucket: Bucket) -> None:
    def framed(content: bytes) -> bytes:
        return b"%x;chunk-signature=0\r\n%b\r\n0\r\n\r\n" % (len(content), content)

    with FaultProxy(bucket.server.port) as proxy:
        proxy.inject(Rewrite(framed), method="GET", target="/test-", skip=1, times=9)
        storage = bucket.storage(endpoint=proxy.endpoint)
        with pytest.raises(IntegrityError, match="chunk framing"):
            storage.check()
    assert (bucket.names(), bucket.unfinished()) == ([], [])


def test_an_object_swapped_in_the_middle_of_a_copy_is_not_copied(bucket: Bucket) -> None:
    storage, source, target = bucket.storage(), new_key(), new_key()
    store(storage, source, b"inspected")
    seen = storage.stat(source)

    def swap(**_: object) -> None:
        bucket.client.put_object(Bucket=bucket.name, Key=source, Body=b"malicious")

    storage._connection.client.meta.events.register("before-call.s3.CopyObject", swap)
    with pytest.raises(IntegrityError):
        storage.copy(source, target, etag=seen.etag)
    store(storage, source, b"another")
    with pytest.raises(StorageUnavailable):
        storage.copy(source, target)
    assert bucket.names() == [source]
