"""How much of an object is held while it is read from a real store: by how quick the reader is."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from storage import s3_body
from storage.base import CHUNK_SIZE, LARGEST_CHUNK
from storage.keys import new_key
from storage.s3 import S3Storage
from tests.storage.bucket import MIB, Bucket, store
from tests.support.servers import S3Server

CONTENT = secrets.token_bytes(7 * MIB + 1)
KEY = new_key()


@pytest.fixture(scope="module")
def storage(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Storage]:
    bucket = Bucket(s3_server, Path(tmp_path_factory.mktemp("scratch")))
    bucket.create()
    made = bucket.storage()
    store(made, KEY, CONTENT)
    yield made
    bucket.close()


def sizes(storage: S3Storage) -> list[int]:
    with storage.open(KEY) as body:
        pieces = list(body)
    assert b"".join(pieces) == CONTENT
    return [len(piece) for piece in pieces]


def test_a_quick_reader_gets_larger_and_larger_pieces(
    storage: S3Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_body, "QUICK", 60.0)
    assert sizes(storage)[:4] == [CHUNK_SIZE, 2 * CHUNK_SIZE, LARGEST_CHUNK, LARGEST_CHUNK]


def test_a_slow_reader_gets_small_ones(storage: S3Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_body, "QUICK", 0.0)
    assert max(sizes(storage)) == CHUNK_SIZE


def test_a_reader_that_becomes_slow_is_given_less(
    storage: S3Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with storage.open(KEY) as body:
        pieces = iter(body)
        monkeypatch.setattr(s3_body, "QUICK", 60.0)
        assert [len(next(pieces)) for _ in range(3)][-1] == LARGEST_CHUNK
        monkeypatch.setattr(s3_body, "QUICK", 0.0)
        assert len(next(pieces)) == CHUNK_SIZE


def test_only_so_many_readers_at_a_time_have_large_pieces(
    storage: S3Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_body, "QUICK", 60.0)
    with ExitStack() as stack:
        for _ in range(s3_body.QUICK_AT_ONCE):
            pieces = iter(stack.enter_context(storage.open(KEY)))
            assert [len(next(pieces)) for _ in range(2)][-1] > CHUNK_SIZE
        assert max(sizes(storage)) == CHUNK_SIZE
    assert max(sizes(storage)) == LARGEST_CHUNK
