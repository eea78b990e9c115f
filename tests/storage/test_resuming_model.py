"""Any sequence of appends, kept or not, is the sum of the kept ones: on a disk and in memory."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import ObjectNotFound, StorageError
from storage.local import LocalStorage
from tests.storage.material import get, keys_of
from tests.storage.resuming import OpenStore, Upload
from tests.storage.test_contract_resuming import Lasting

PIECES = st.lists(st.binary(max_size=40), max_size=4)
ACTS = st.lists(
    st.tuples(st.sampled_from(["append", "abandon", "lose", "wrong offset"]), PIECES), max_size=12
)
ENDS = st.sampled_from(["finish", "finish twice", "discard"])


@contextmanager
def local_store() -> Iterator[OpenStore]:
    with tempfile.TemporaryDirectory() as folder:
        yield lambda: LocalStorage(Path(folder), durable=False)


@contextmanager
def memory_store() -> Iterator[OpenStore]:
    storage = Lasting()
    yield lambda: storage


def act(upload: Upload, name: str, pieces: list[bytes]) -> bytes:
    """Do one act and return the bytes that count because of it."""
    match name:
        case "append":
            upload.append(*pieces)
            return b"".join(pieces)
        case "abandon":
            upload.abandon(*pieces)
        case "lose":
            state, size = upload.state, upload.size
            upload.append(*pieces)
            upload.write_down(state)
            upload.size = size
        case _:
            storage = upload.open_store()
            with pytest.raises(StorageError):
                storage.append(upload.key, upload.state, upload.size + 1 + len(pieces))
            storage.close()
    return b""


@pytest.mark.parametrize("store", [local_store, memory_store])
@given(acts=ACTS, end=ENDS)
@settings(deadline=None, max_examples=60)
def test_what_was_kept_is_what_is_there(
    store: Callable[[], AbstractContextManager[OpenStore]],
    acts: list[tuple[str, list[bytes]]],
    end: str,
) -> None:
    with store() as open_store, closing(open_store()) as storage:
        upload = Upload(open_store)
        expected = b"".join(act(upload, name, pieces) for name, pieces in acts)
        assert keys_of(storage) == []
        if end == "discard":
            upload.discard()
            with pytest.raises(ObjectNotFound):
                storage.stat(upload.key)
            return
        upload.append(complete=True)
        for _ in end.split():
            assert upload.finish().size == len(expected)
        assert get(storage, upload.key) == expected
