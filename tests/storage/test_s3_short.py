"""The short way puts and gets as the SDK does, and leaves to the SDK what goes wrong."""

import hashlib
import mmap
import secrets
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from storage.errors import ObjectNotFound, StorageUnavailable
from storage.keys import new_key
from storage.parts import PROCESS_BUDGET, Budget
from storage.s3 import S3Storage
from storage.s3_answers import TOKEN
from storage.s3_options import S3Options
from storage.s3_sent import PIECE, Sent
from storage.s3_short import LARGEST
from tests.storage.bucket import MIB, Bucket, store, stored
from tests.support.faults import CutRequest, Fault, FaultProxy, Hang, LostAnswer, Status
from tests.support.relay import Listener
from tests.support.servers import S3Server

SMALL = secrets.token_bytes(70_000)
LARGE = secrets.token_bytes(6 * MIB)
"""A part and a small one."""


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


def counting(storage: S3Storage) -> list[str]:
    """Return a list in which the calls that the SDK makes are noted."""
    calls: list[str] = []

    def note(model: object, **_: object) -> None:
        calls.append(str(getattr(model, "name", model)))

    storage._connection.client.meta.events.register("before-call.s3", note)
    return calls


def test_puts_and_gets_do_without_the_sdk(bucket: Bucket) -> None:
    storage, key = bucket.storage(), new_key()
    calls = counting(storage)
    with storage.create(key, content_type="text/plain; charset=utf-8") as writer:
        writer.write(SMALL)
        info = writer.commit()
    assert stored(storage, key) == SMALL
    with storage.open(key, 5, 60_000) as body:
        assert (b"".join(body), body.info) == (SMALL[5:60_000], storage.stat(key))
    assert body.info.etag == info.etag
    store(storage, key, b"")
    assert (stored(storage, key), calls) == (b"", ["HeadObject"])
    store(storage, key, bytes(LARGEST + 1))
    assert (len(stored(storage, key)), calls[1:]) == (LARGEST + 1, [])


def test_parts_that_are_in_memory_do_without_the_sdk_and_files_do_not(bucket: Bucket) -> None:
    storage, key = bucket.storage(), new_key()
    calls = counting(storage)
    store(storage, key, LARGE)
    assert (stored(storage, key), calls) == (
        LARGE,
        ["CreateMultipartUpload", "CompleteMultipartUpload", "HeadObject"],
    )
    storage = bucket.storage(budget=Budget(0))
    calls = counting(storage)
    store(storage, key, LARGE)
    assert (stored(storage, key), calls.count("UploadPart")) == (LARGE, 1)


@pytest.mark.parametrize("fault", [CutRequest(MIB), LostAnswer(), Status(503, "SlowDown")])
def test_a_part_that_breaks_off_is_sent_again_whole_and_its_memory_is_free(
    bucket: Bucket, proxy: FaultProxy, fault: Fault
) -> None:
    storage, key = bucket.storage(endpoint=proxy.endpoint), new_key()
    proxy.inject(fault, target="partNumber=1")
    store(storage, key, LARGE)
    assert stored(storage, key) == LARGE
    assert len([r for r in proxy.requests if "partNumber=1" in r.target]) == 2
    assert PROCESS_BUDGET.used == 0


def test_a_store_that_takes_no_body_is_asked_before_it_is_sent_one(bucket: Bucket) -> None:
    received: list[int] = []

    def refuse(client: socket.socket) -> None:
        head = client.recv(65_536)
        client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        client.settimeout(0.5)
        with suppress(TimeoutError):
            head += client.recv(65_536)
        received.append(len(head.partition(b"\r\n\r\n")[2]))

    listener = Listener(refuse)
    storage = bucket.storage(endpoint=f"http://127.0.0.1:{listener.port}", max_attempts=1)
    with pytest.raises(StorageUnavailable, match="denies access"):
        storage.put_part(new_key(), new_key() + "upload", 1, bytes(2 * MIB))
    storage.close()
    listener.stop()
    assert received == [0]


def test_what_is_sent_lies_where_it_lay_and_lets_go_of_it() -> None:
    memory = mmap.mmap(-1, 2 * PIECE + 5)
    memory[-5:] = b"bytes"
    with Sent.rest_of(cast("BinaryIO", memory), at_once=LARGEST // 4) as sent:
        assert sent is not None
        assert [len(piece) for piece in sent] == [PIECE, PIECE, 5]
        assert sent.sha256() == hashlib.sha256(memory).hexdigest()
        held = next(iter(sent))
    memory.close()
    with pytest.raises(ValueError, match="released"):
        bytes(held)


def test_an_object_is_described_as_the_sdk_describes_it(bucket: Bucket) -> None:
    storage, key = bucket.storage(), new_key()
    with storage.create(key, content_type="text/plain; charset=utf-8") as writer:
        writer.write(SMALL)
        writer.commit()
    head = bucket.client.head_object(Bucket=bucket.name, Key=storage.options.prefix + key)
    assert head["ContentType"] == "text/plain; charset=utf-8"
    assert list(head["Metadata"]) == [TOKEN]


def test_attempts_are_as_many_as_the_options_say(bucket: Bucket, proxy: FaultProxy) -> None:
    proxy.inject(Status(500), times=99)
    for attempts in (1, 3):
        storage = bucket.storage(endpoint=proxy.endpoint, max_attempts=attempts)
        for act in (lambda s: store(s, new_key(), SMALL), lambda s: s.open(new_key())):
            proxy.requests.clear()
            with pytest.raises(StorageUnavailable, match="overloaded or failing"):
                act(storage)
            assert len(proxy.requests) == attempts


def test_timeouts_are_as_many_as_the_sdk_is_allowed(bucket: Bucket, proxy: FaultProxy) -> None:
    storage = bucket.storage(endpoint=proxy.endpoint, read_timeout=0.5, max_attempts=9)
    store(storage, new_key(), SMALL)
    proxy.requests.clear()
    proxy.inject(Hang(), times=99)
    with pytest.raises(StorageUnavailable, match="does not answer in time"):
        store(storage, new_key(), SMALL)
    assert len(proxy.requests) == 2
    proxy.release()


def test_what_is_not_there_is_asked_for_once(bucket: Bucket, proxy: FaultProxy) -> None:
    storage = bucket.storage(endpoint=proxy.endpoint)
    with pytest.raises(ObjectNotFound):
        storage.open(new_key())
    assert [request.method for request in proxy.requests] == ["GET"]
    calls = counting(storage)
    store(storage, new_key(), SMALL)
    assert calls == [], "and the short way stays open"


def test_after_a_failure_the_sdk_sees_the_successes(bucket: Bucket, proxy: FaultProxy) -> None:
    storage, key = bucket.storage(endpoint=proxy.endpoint), new_key()
    calls = counting(storage)
    proxy.inject(Status(503, "SlowDown"), method="PUT")
    store(storage, key, SMALL)
    assert (stored(storage, key), stored(storage, key)) == (SMALL, SMALL)
    assert calls == ["PutObject", "GetObject", "GetObject"]


def test_a_failure_of_one_thread_is_no_other_ones(bucket: Bucket, proxy: FaultProxy) -> None:
    """What the SDK is given in place of an attempt is used up by the call that it belongs to."""
    storage, key = bucket.storage(endpoint=proxy.endpoint), new_key()
    store(storage, key, SMALL)
    proxy.inject(Status(403, "AccessDenied"), method="PUT")
    with pytest.raises(StorageUnavailable, match="denies access"):
        store(storage, new_key(), SMALL)
    assert storage.stat(key).size == len(SMALL)
    assert stored(storage, key) == SMALL


@pytest.mark.parametrize(
    ("options", "address"),
    (
        (S3Options(bucket="abc", endpoint="http://store:9000"), "http://store:9000/abc"),
        (S3Options(bucket="abc", endpoint="https://store/at"), "https://store/at/abc"),
        (
            S3Options(bucket="abc", path_style=False, region="eu-west-1"),
            "https://abc.s3.eu-west-1.amazonaws.com",
        ),
        (
            S3Options(bucket="abc", path_style=False, endpoint="http://store.example"),
            "http://abc.store.example",
        ),
    ),
)
def test_the_address_is_where_the_sdk_would_look(
    options: S3Options, address: str, tmp_path: Path
) -> None:
    storage = S3Storage(
        options, scratch=tmp_path, access_key_id="a" * 20, secret_access_key="b" * 40
    )
    assert storage._connection.short._find_address() == address
    storage.close()
