"""Each step is on disk before the next is taken, seen by strace: the file, its name, the folder,
the commit, and only then the answer. What `DURABILITY=os` leaves out is left out.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import MakeApp
from tests.crash.scenarios import OFFSET_TYPE, TUS
from tests.crash.traced import Call, tracing
from tests.storage.faulty_disk import record_commits
from tests.support.service import Service, running

CONTENT = b"x" * 400_000
SYNCS = ("fsync", "fdatasync")
RENAMES = ("rename", "renameat", "renameat2")


def put(service: Service, name: str = "a.bin") -> Callable[[], int]:
    """Return what uploads a file in one request."""
    return lambda: service.request("PUT", f"/api/upload/{name}", CONTENT).status


def last_append(service: Service) -> Callable[[], int]:
    """Return what sends the end of an upload in two requests."""
    length = {"Upload_Length": str(len(CONTENT))}
    made = service.request("POST", "/api/tus", b"", **TUS, **length)
    path = made.headers["location"]
    assert append(service, path, 0, len(CONTENT) // 2) == 204
    return lambda: append(service, path, len(CONTENT) // 2, len(CONTENT))


def append(service: Service, path: str, start: int, stop: int) -> int:
    headers = TUS | OFFSET_TYPE | {"Upload_Offset": str(start)}
    return service.request("PATCH", path, CONTENT[start:stop], **headers).status


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of one worker, which tells the system to write down what it acknowledges."""
    with one_worker(tmp_path_factory.mktemp("service"), "fsync") as started:
        yield started


@contextmanager
def one_worker(folder: Path, durability: str) -> Iterator[Service]:
    with running(folder, WEB_CONCURRENCY="1", DURABILITY=durability) as service:
        put(service)()
        yield service


def calls_of(service: Service, act: Callable[[], int], log: Path) -> list[Call]:
    (worker,) = service.workers()
    with tracing(worker, log) as calls:
        assert act() in (201, 204)
        # The client may have an answer before the tracer has written down that it went out.
        assert service.request("GET", "/api/health").status == 200
    return calls


def place(calls: Sequence[Call], names: Sequence[str], pattern: str, start: int = 0) -> int:
    """Return where in `calls`, from `start` on, one of such a name was given the like of this."""
    for number, call in enumerate(calls[start:], start):
        if call.name in names and re.search(pattern, call.given):
            return number
    raise AssertionError(f"no {names} of {pattern} from {start} on in {calls}")


@pytest.mark.parametrize(("door", "status"), ((put, 201), (last_append, 204)))
def test_the_answer_comes_after_all_that_it_promises_is_on_disk(
    service: Service, tmp_path: Path, door: Callable[[Service], Callable[[], int]], status: int
) -> None:
    calls = calls_of(service, door(service), tmp_path / "trace")
    renamed = place(calls, RENAMES, r"uploads/[0-9a-z]{2}>")
    unfinished = r"uploads/\.(tmp|unfinished)"
    last_write = max(
        number
        for number, call in enumerate(calls[:renamed])
        if call.name in ("write", "pwrite64") and re.search(unfinished, call.given)
    )
    synced = place(calls, SYNCS, unfinished, last_write)
    folder = place(calls, SYNCS, r"uploads/[0-9a-z]{2}>", renamed)
    # SQLite has committed once its log is on disk.
    committed = place(calls, SYNCS, r"app\.db-wal>", folder)
    answered = place(calls, ("sendto", "write"), rf"HTTP/1\.1 {status}")
    assert last_write < synced < renamed < folder < committed < answered
    written = [n for n, call in enumerate(calls) if writes_the_log(call)]
    assert any(folder < number < committed for number in written)
    # Releasing the lease is no promise, and all else that is written down is so before.
    assert place(calls, SYNCS, r"app\.db-wal>", max(n for n in written if n < answered)) < answered


def writes_the_log(call: Call) -> bool:
    return call.name in ("write", "pwrite64") and "app.db-wal>" in call.given


def test_what_an_append_acknowledges_is_on_disk(service: Service, tmp_path: Path) -> None:
    length = {"Upload_Length": str(len(CONTENT))}
    made = service.request("POST", "/api/tus", b"", **TUS, **length)
    path = made.headers["location"]
    calls = calls_of(service, lambda: append(service, path, 0, 200_000), tmp_path / "trace")
    synced = place(calls, SYNCS, r"uploads/\.unfinished/")
    folder = place(calls, SYNCS, r"uploads/\.unfinished>")
    noted = place(calls, SYNCS, r"app\.db-wal>", synced)
    assert synced < folder < noted < place(calls, ("sendto", "write"), r"HTTP/1\.1 204")


def test_a_delete_is_committed_before_the_object_goes(service: Service, tmp_path: Path) -> None:
    made = service.request("PUT", "/api/upload/b.bin", CONTENT).json()
    url = f"/api/files/{made['id']}"
    calls = calls_of(service, lambda: service.request("DELETE", url).status, tmp_path / "trace")
    committed = place(calls, SYNCS, r"app\.db-wal>")
    unlinked = place(calls, ("unlinkat",), r"uploads/[0-9a-z]{2}>")
    assert committed < unlinked < place(calls, SYNCS, r"uploads/[0-9a-z]{2}>")


def test_durability_os_waits_for_no_disk(tmp_path: Path) -> None:
    with one_worker(tmp_path, "os") as service:
        for door in (put, last_append):
            calls = calls_of(service, door(service), tmp_path / "trace")
            place(calls, RENAMES, r"uploads/[0-9a-z]{2}>")
            assert [call for call in calls if call.name in SYNCS] == []


def test_folders_that_a_start_makes_outlive_a_crash(
    tmp_path: Path, app_with: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = record_commits(monkeypatch)
    for durability in ("os", "fsync"):
        folder = tmp_path / durability / "above" / "data"
        app_with(DATA_DIR=str(folder), DURABILITY=durability)
        made = {f"fsync folder {name}" for name in (tmp_path.name, durability, "above")}
        assert made & {*seen} == (made if durability == "fsync" else set())
