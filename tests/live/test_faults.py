"""What the service survives: killed workers, full disks, a store that is down, many bad clients."""

import hashlib
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.live.test_wire import head, put
from tests.storage.faulty_disk import small_disk
from tests.support.faults import CutBody, FaultProxy, Hang
from tests.support.servers import PostgresServer, S3Server
from tests.support.service import Answer, Service, running


def eventually(holds: Callable[[], bool], *, seconds: float = 10) -> None:
    """Wait until `holds`, and fail when it does not."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)


def upload(service: Service, content: bytes, name: str = "a") -> Answer:
    return service.request("PUT", f"/api/upload/{name}", content)


def test_fifty_writers_at_once_are_all_served(service: Service) -> None:
    contents = [bytes([number]) * 5000 for number in range(50)]
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda content: upload(service, content), contents))
    assert {answer.status for answer in answers} == {201}
    for content, answer in zip(contents, answers, strict=True):
        assert service.request("GET", answer.json()["url"]).body == content


def test_slow_senders_take_little_memory(service: Service) -> None:
    def resident() -> int:
        return sum(worker.memory_info().rss for worker in service.workers())

    before = resident()
    with ExitStack() as stack:
        for _ in range(200):
            connection = socket.create_connection(("127.0.0.1", service.port))
            stack.callback(connection.close)
            connection.sendall(put(100_000_000) + b"x")
        eventually(lambda: sum(worker.num_threads() for worker in service.workers()) > 200)
        assert resident() - before < 100 * 1024**2


def test_many_aborted_uploads_leave_no_trace(service: Service) -> None:
    rows, stored = service.listing()["total"], len(service.stored())

    def open_files() -> int:
        return sum(worker.num_fds() for worker in service.workers())

    def abort(times: int) -> None:
        for _ in range(times):
            with socket.create_connection(("127.0.0.1", service.port)) as connection:
                connection.sendall(put(1_000_000) + b"x" * 50_000)
        eventually(lambda: len(service.stored()) == stored)

    before = open_files()
    abort(200)
    # Each worker may meanwhile have filled its pool of 8 connections, of two files each.
    eventually(lambda: open_files() <= before + 2 * 8 * 2)
    assert service.listing()["total"] == rows
    assert service.temporary() == []


def test_a_file_deleted_while_it_is_read_comes_whole_or_not_at_all(service: Service) -> None:
    content = hashlib.shake_128(b"read").digest(16 * 1024 * 1024)
    file = upload(service, content, "read").json()
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
    connection.request("GET", file["url"])
    response = connection.getresponse()
    first = response.read(100)
    assert service.request("DELETE", f"/api/files/{file['id']}").status == 204
    assert first + response.read() == content
    connection.close()
    assert service.request("GET", file["url"]).status == 404


def test_a_locked_database_delays_no_request_that_needs_none(service: Service) -> None:
    import sqlite3

    holder = sqlite3.connect(service.data / "app.db", isolation_level=None)
    try:
        holder.execute("BEGIN EXCLUSIVE")
        slow = threading.Thread(target=upload, args=(service, b"waits"))
        slow.start()
        for _ in range(5):
            assert service.request("GET", "/api/health").status == 200
        assert slow.is_alive()
    finally:
        holder.execute("ROLLBACK")
        holder.close()
    slow.join(30)


def test_figures_are_summed_over_all_workers(service: Service) -> None:
    def health_requests() -> float:
        lines = service.request("GET", "/metrics").body.decode().splitlines()
        wanted = 'holdall_requests_total{method="GET",route="/api/health",status="200"}'
        return sum(float(line.split()[-1]) for line in lines if line.startswith(wanted))

    before = health_requests()
    for _ in range(20):
        service.raw(head("GET /api/health", b"Connection: close\r\n"))
    assert health_requests() - before == 20


def test_a_killed_worker_leaves_no_row_and_the_service_goes_on(tmp_path: Path) -> None:
    with running(tmp_path, WEB_CONCURRENCY="1") as service:
        kept = upload(service, b"kept" * 1000).json()
        with socket.create_connection(("127.0.0.1", service.port)) as connection:
            connection.sendall(put(1_000_000) + b"x" * 500_000)
            eventually(lambda: len(service.stored()) == 2)
            (worker,) = service.workers()
            worker.kill()
        eventually(lambda: any(each.pid != worker.pid for each in service.workers()))
        listing = service.listing()
        assert [item["id"] for item in listing["items"]] == [kept["id"]]
        assert service.request("GET", kept["url"]).body == b"kept" * 1000
        assert upload(service, b"after").status == 201


def test_a_full_disk_is_a_507_and_files_can_still_be_read_and_deleted(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with small_disk(tmp_path / "data", 16 * 1024**2), running(tmp_path) as service:
        file = upload(service, b"fits" * 1000).json()
        answer = upload(service, b"x" * 20 * 1024**2, "large")
        assert (answer.status, answer.json()["code"]) == (507, "storage_full")
        assert answer.headers["retry-after"]
        assert str(tmp_path) not in answer.body.decode()
        assert service.listing()["total"] == 1
        assert len(service.stored()) == 1
        assert service.request("GET", file["url"]).body == b"fits" * 1000
        assert service.request("DELETE", f"/api/files/{file['id']}").status == 204
        assert service.stored() == []


@pytest.fixture
def far(tmp_path: Path, s3_server: S3Server) -> Iterator[tuple[Service, FaultProxy]]:
    """A service whose files go to an S3 server behind a proxy that can break things."""
    with FaultProxy(s3_server.port) as proxy:
        parameters = "create_bucket=true&connect_timeout=1&read_timeout=2&max_attempts=2"
        variables = {
            "STORAGE_BACKEND": "s3",
            "STORAGE_S3_URL": f"s3://live-faults?endpoint={proxy.endpoint}&{parameters}",
            "STORAGE_S3_ACCESS_KEY_ID": s3_server.access_key_id,
            "STORAGE_S3_SECRET_ACCESS_KEY": s3_server.secret_access_key,
        }
        with running(tmp_path, **variables) as service:
            yield service, proxy


def test_a_store_that_is_down_is_a_503_until_it_is_back(far: tuple[Service, FaultProxy]) -> None:
    service, proxy = far
    file = upload(service, b"far away" * 1000).json()
    proxy.stop()
    began = time.monotonic()
    for answer in (upload(service, b"x"), service.request("GET", file["url"])):
        assert (answer.status, answer.json()["code"]) == (503, "storage_unavailable")
        assert answer.headers["retry-after"]
    assert time.monotonic() - began < 30
    assert service.request("GET", "/api/health").status == 200
    assert service.request("GET", "/api/ready").status == 503
    assert service.listing()["total"] == 1
    proxy.start()
    assert service.request("GET", file["url"]).body == b"far away" * 1000
    assert upload(service, b"again").status == 201
    assert service.request("GET", "/api/ready").status == 200


def test_a_store_that_hangs_is_a_503_in_bounded_time(far: tuple[Service, FaultProxy]) -> None:
    service, proxy = far
    proxy.inject(Hang(), method="PUT", times=10)
    answer = upload(service, b"x")
    assert (answer.status, answer.json()["code"]) == (503, "storage_unavailable")
    proxy.release()
    assert service.listing()["total"] == 0
    assert upload(service, b"x").status == 201


def test_an_answer_cut_by_the_store_is_never_short_in_silence(
    far: tuple[Service, FaultProxy],
) -> None:
    service, proxy = far
    content = hashlib.shake_128(b"cut").digest(3 * 1024 * 1024)
    url = upload(service, content).json()["url"]
    proxy.inject(CutBody(after=1_000_000), method="GET", times=10)
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    connection.request("GET", url)
    response = connection.getresponse()
    assert (response.status, response.headers["Content-Length"]) == (200, str(len(content)))
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        response.read()
    connection.close()
    proxy.release()
    assert service.request("GET", url).body == content


def test_instances_that_start_at_once_on_nothing_all_come_up(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    url = postgres_server.fresh_database()
    with ExitStack() as stack:
        folders = [tmp_path / str(number) for number in range(2)]
        for folder in folders:
            folder.mkdir()
        with ThreadPoolExecutor(2) as pool:
            contexts = [running(folder, DATABASE_URL=url) for folder in folders]
            services = list(pool.map(lambda context: stack.enter_context(context), contexts))
        assert upload(services[0], b"x").status == 201
        assert services[1].listing()["total"] == 1


def test_workers_that_start_at_once_on_an_empty_volume_all_come_up(tmp_path: Path) -> None:
    with running(tmp_path, WEB_CONCURRENCY="6") as service:
        eventually(lambda: len(service.workers()) == 6)
        pids = {worker.pid for worker in service.workers()}
        for _ in range(30):
            assert upload(service, b"x").status == 201
        assert {worker.pid for worker in service.workers()} == pids
