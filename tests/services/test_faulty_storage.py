"""Every call that a request makes to its storage fails once, in every way: nothing is ever lost.

The calls of each way through the service are counted first; then it is gone once for each of them,
and that one fails. Whatever breaks, the client is told so in the documented form, no row is ever
without its object, sending the request again ends as if nothing had been, and what is left in the
store is collected. HOLDALL_TEST_STEP=1 tries each fault at each call, and not the faults in turn.
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from werkzeug.test import TestResponse

from app import Holdall
from storage import Storages, open_storage
from storage.base import Storage
from storage.capabilities import Filed, Multipart, Presigner, Resumable, Sweepable
from storage.errors import IntegrityError, StorageError, StorageFull, StorageUnavailable
from storage.memory import MemoryStorage
from tests.conftest import MakeApp, parts
from tests.services.persisting import (
    DOORS,
    WHOLE,
    Door,
    Persistent,
    go_through,
    require_nothing_left,
    reserved,
    saying,
)
from tests.storage.contract import StorageContract
from tests.support.faulty_storage import After, Before, Cut, Fault, Faults, faulty
from tests.support.servers import S3Server

UNAVAILABLE = (503, "storage_unavailable")
SECRET = "at /srv/secret with AKIASECRET"
STEP = int(os.environ.get("HOLDALL_TEST_STEP", "7"))
MEMORY = {
    "STORAGE_BACKEND": "memory",
    "STORAGE_MEMORY_URL": "memory:",
    "WEB_CONCURRENCY": "1",
}
FAULTS: dict[str, tuple[str, Callable[[], Fault], tuple[int, str]]] = {
    "refused": ("local", lambda: Before(StorageUnavailable(SECRET)), UNAVAILABLE),
    "answer lost": ("local", lambda: After(StorageUnavailable(SECRET)), UNAVAILABLE),
    "full": ("memory", lambda: Before(StorageFull(SECRET)), (507, "storage_full")),
    "corrupt": ("memory", lambda: Before(IntegrityError(SECRET)), (500, "storage_error")),
}
"""By name: the storage that it is tried on, the fault, and how it is answered."""


def app_on(storage: str, app_with: MakeApp, faults: Faults) -> Holdall:
    """Make an application with a quota, whose storage fails as `faults` has it."""
    app = app_with(**(MEMORY if storage == "memory" else {}))
    storages, name = parts(app).storages, parts(app).settings.storage_backend
    assert isinstance(storages, Storages)
    storages[name] = faulty(storages[name], faults)
    limits = {"max_files": 100_000, "max_bytes": 10**12}
    assert app.test_client().patch("/api/collections/default", json=limits).status_code == 200
    return app


def number_of_calls(app: Holdall, faults: Faults, door: Door) -> int:
    """Go through a door with nothing failing, and return how often the storage was called."""
    faults.forget()
    door(Persistent(app.test_client()))
    return len(faults.calls)


@pytest.mark.parametrize("fault", FAULTS)
def test_any_call_may_fail_once(app_with: MakeApp, fault: str) -> None:
    storage, make, told = FAULTS[fault]
    faults = Faults()
    app = app_on(storage, app_with, faults)
    first = 1 + [*FAULTS].index(fault) % STEP
    for door in DOORS:
        for call in range(first, number_of_calls(app, faults, door) + 1, STEP):
            with saying(f"{door.__name__}, call {call}"):
                faults.plan(make(), call=call)
                go_through(app, door, lambda answer: require_told(app, answer, *told))
                assert not faults.is_due
    require_nothing_left(app)
    assert reserved(app) == []


def require_told(app: Holdall, answer: TestResponse, status: int, code: str) -> None:
    """Check that an answer is the documented one, and tells nothing of the inside.

    Bytes that a client sends to the store itself may change while they are confirmed: that they
    did is a conflict.
    """
    said = answer.get_json()
    changed = code == "storage_error" and answer.request.path.startswith("/api/direct")
    given = (answer.status_code, said["code"])
    assert given == (status, code) or (changed and given == (409, "conflict")), said
    assert ("Retry-After" in answer.headers) == (status in (503, 507))
    for secret in ("secret", "AKIA", "Traceback", str(parts(app).settings.data_dir)):
        assert secret not in answer.text


def test_no_transaction_is_held_while_the_storage_is_asked(app_with: MakeApp) -> None:
    faults = Faults()
    app = app_on("local", app_with, faults)
    database = parts(app).settings.data_dir / "app.db"
    lock, taken = threading.Lock(), []

    def write(name: str) -> None:
        with lock, closing(sqlite3.connect(database, timeout=0, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            other.execute("ROLLBACK")
            taken.append(name)

    faults.meanwhile = write
    for door in DOORS:
        with saying(door.__name__):
            assert number_of_calls(app, faults, door) > 0
    assert {"commit", "delete", "finish", "copy", "complete", "open"} <= set(taken)


@pytest.mark.parametrize(
    "headers", ({}, {"Range": "bytes=100-199999"}, {"Range": "bytes=0-9,50-99"})
)
@pytest.mark.parametrize("fault", ("refused", "corrupt"))
def test_a_download_is_whole_or_an_error(
    app_with: MakeApp, fault: str, headers: dict[str, str]
) -> None:
    _, make, told = FAULTS[fault]
    faults = Faults()
    app = app_on("memory", app_with, faults)
    client = app.test_client()
    url = client.put("/api/upload/a.bin", data=WHOLE * 2).get_json()["url"]
    faults.forget()
    whole = client.get(url, headers=headers)
    calls = list(faults.calls)
    assert calls[:2] == ["open", "read"]
    for call, name in enumerate(calls, start=1):
        faults.plan(make(), call=call)
        if name == "open" and call == 1:
            require_told(app, client.get(url, headers=headers), *told)
        else:
            # The server has said how much comes, and breaks the connection at this error.
            with pytest.raises(StorageError):
                client.get(url, headers=headers)
    assert client.get(url, headers=headers).data == whole.data


def test_a_download_that_is_cut_is_an_error_wherever_it_is_cut(app_with: MakeApp) -> None:
    faults = Faults()
    client = app_on("memory", app_with, faults).test_client()
    url = client.put("/api/upload/a.bin", data=WHOLE).get_json()["url"]
    for after in (0, 1, 262_143, len(WHOLE) - 1):
        faults.plan(Cut(after, StorageUnavailable(SECRET)), name="read", call=1 + after // 262_144)
        with pytest.raises(StorageUnavailable):
            client.get(url)
    assert client.get(url).data == WHOLE


class TestWithoutFaults(StorageContract):
    """The wrapper is a storage like any other."""

    memory_limit = None
    large_size = 4 * 1024**2
    many = 50

    @pytest.fixture(scope="class")
    @classmethod
    def storage(cls) -> Iterator[Storage]:
        with closing(faulty(MemoryStorage(), Faults())) as storage:
            yield storage


def test_it_has_the_capabilities_of_what_it_wraps(s3_server: S3Server, tmp_path: Path) -> None:
    for url in ("memory:", f"file://{tmp_path}/a", s3_server.url("none")):
        with closing(open_storage(url, scratch=tmp_path)) as storage:
            wrapped = faulty(storage, Faults())
            for capability in (Multipart, Resumable, Presigner, Filed, Sweepable):
                assert isinstance(wrapped, capability) == isinstance(storage, capability)
