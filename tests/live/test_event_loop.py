"""The loop before the threads, over real connections: what it answers, holds, and gives away."""

import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from signal import SIGTERM

import psutil
import pytest

from tests.live.test_faults import eventually, upload
from tests.live.test_shutdown import answer_on, connected, ended, tell
from tests.live.test_wire import head, put
from tests.support.processes import free_ports
from tests.support.service import Service, running
from worker.threads import HEAD_WITHIN

MIB = 1024 * 1024
LARGE = hashlib.shake_128(b"large").digest(24 * MIB)
CLOSE = b"Connection: close\r\n"
THREAD = b"Content-Length: 0\r\n"
"""What has a request answered by a thread: the loop reads no request that says how long it is."""


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with one worker, so that what a process holds can be counted."""
    with running(tmp_path_factory.mktemp("loop"), WEB_CONCURRENCY="1") as service:
        yield service


def bytes_of(service: Service, request: bytes) -> bytes:
    """Return all that comes back for a request, but for what is another's each time."""
    with connected(service) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: connection.recv(MIB), b""))
    return re.sub(rb"(?<=\r\n)(Date|X-Request-ID): [^\r]*", rb"\1:", received)


@pytest.mark.parametrize("method", ("GET", "HEAD"))
@pytest.mark.parametrize("close", (b"", CLOSE))
@pytest.mark.parametrize(
    "lines",
    (
        b"",
        b"Range: bytes=2-5\r\n",
        b"Range: bytes=0-0, 5-6\r\n",
        b"Range: bytes=900-\r\n",
        b"If-None-Match: *\r\n",
        b'If-Match: "other"\r\n',
        b"Origin: https://app.example\r\nWant-Repr-Digest: sha-256=0\r\n",
        b"Accept: application/problem+json\r\nRange: bytes=900-\r\n",
    ),
)
def test_each_byte_is_what_a_thread_sends(
    loop: Service, method: str, close: bytes, lines: bytes
) -> None:
    url = upload(loop, b"some text of a file", "a%20b.txt").json()["url"]
    asked = f"{method} {url}"
    assert bytes_of(loop, head(asked, lines, close)) == bytes_of(
        loop, head(asked, lines, close, THREAD)
    )


@pytest.mark.parametrize("size", (0, 1, 65_536, 65_537, len(LARGE)))
def test_files_of_every_size_come_whole(loop: Service, size: int) -> None:
    content = LARGE[:size]
    url = upload(loop, content).json()["url"]
    assert loop.request("GET", url).body == content
    if size > 1:
        (answer,) = loop.raw(head(f"GET {url}", b"Range: bytes=1-\r\n", CLOSE))
        assert answer.body == content[1:]


def test_what_is_sent_at_once_is_answered_in_turn_by_loop_and_threads(loop: Service) -> None:
    url = upload(loop, b"text").json()["url"]
    get, body = head(f"GET {url}"), b"x" * 100_000
    last = head(f"GET {url}", CLOSE)
    health, many = head("GET /api/health"), 40
    stream = get * many + put(len(body)) + body + get + health + get + put(3) + b"abc" + last
    answers = loop.raw(stream, half_close=False)
    assert [answer.status for answer in answers] == [200] * many + [201, 200, 200, 200, 201, 200]
    assert [answer.body for answer in answers].count(b"text") == many + 3
    assert answers[-1].headers["connection"] == "close"


def test_who_asks_faster_than_it_is_answered_waits(loop: Service) -> None:
    url = upload(loop, b"text").json()["url"]
    (worker,) = loop.workers()
    before, many = worker.memory_info().rss, 20_000
    last = head(f"HEAD {url}", CLOSE)
    with connected(loop) as connection:
        connection.settimeout(60)
        sender = threading.Thread(
            target=connection.sendall, args=(head(f"HEAD {url}") * many + last,)
        )
        sender.start()
        answers = b"".join(iter(lambda: connection.recv(MIB), b""))
        sender.join()
    assert answers.count(b"HTTP/1.1 200 OK") == many + 1
    assert worker.memory_info().rss - before < 16 * MIB


def test_a_head_may_come_byte_by_byte_and_a_body_too(loop: Service) -> None:
    url = upload(loop, b"text").json()["url"]
    for request in (head(f"GET {url}", CLOSE), put(4)[:-2] + CLOSE + b"\r\nbody"):
        pieces = [request[at : at + 1] for at in range(len(request))]
        (answer,) = loop.raw(*pieces, half_close=False)
        assert answer.status in (200, 201)


def test_a_deleted_file_is_gone_at_once(service: Service) -> None:
    for _ in range(20):
        file = upload(service, b"text").json()
        with ExitStack() as stack:
            kept = [stack.enter_context(connected(service)) for _ in range(4)]
            for status in (200, 404):
                for connection in kept:
                    connection.sendall(head(f"GET {file['url']}"))
                    assert answer_on(connection).status == status
                if status == 200:
                    assert service.request("DELETE", f"/api/files/{file['id']}").status == 204


def test_each_request_of_a_row_sees_what_those_before_it_did(loop: Service) -> None:
    for _ in range(5):
        file = upload(loop, b"text").json()
        get, delete = head(f"GET {file['url']}"), head(f"DELETE /api/files/{file['id']}")
        answers = loop.raw(get * 2 + delete + get, half_close=True)
        assert [answer.status for answer in answers] == [200, 200, 204, 404]


def clients_of(worker: psutil.Process) -> int:
    return sum(each.status == "ESTABLISHED" for each in worker.net_connections("tcp"))


def test_workers_share_the_clients(service: Service) -> None:
    url = upload(service, b"text").json()["url"]
    with ExitStack() as stack:
        clients = [stack.enter_context(connected(service)) for _ in range(64)]
        for client in clients:
            client.sendall(head(f"GET {url}"))
        assert [answer_on(client).body for client in clients] == [b"text"] * len(clients)
        assert min(map(clients_of, service.workers())) >= len(clients) / 4


def test_clients_left_to_a_worker_that_does_not_come_are_answered(tmp_path: Path) -> None:
    with running(tmp_path, WEB_CONCURRENCY="2") as service:
        url = upload(service, b"text").json()["url"]
        stopped, _ = service.workers()
        stopped.suspend()
        try:
            with ExitStack() as stack:
                for _ in range(40):
                    client = stack.enter_context(connected(service))
                    client.sendall(head(f"GET {url}"))
                    assert answer_on(client).body == b"text"
        finally:
            stopped.resume()


def test_each_request_has_its_line(tmp_path: Path) -> None:
    with running(tmp_path, WEB_CONCURRENCY="1") as service:
        url = upload(service, b"text").json()["url"]
        asked = [head(f"GET {url}", b"X-Request-ID: line-%d\r\n" % number) for number in range(30)]
        assert [each.status for each in service.raw(b"".join(asked))] == [200] * 30
        lines = [line for line in service.log.read_text().splitlines() if '"line-' in line]
        told = [json.loads(line) for line in lines]
    assert [each["request_id"] for each in told] == [f"line-{number}" for number in range(30)]
    assert {(each["path"], each["status"], each["bytes"]) for each in told} == {(url, 200, 4)}


def test_who_waits_has_no_thread(loop: Service) -> None:
    url = upload(loop, LARGE).json()["url"]
    (worker,) = loop.workers()
    with ExitStack() as stack:
        before = worker.num_threads()
        for number in range(600):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", loop.port))
            if number % 3 == 0:
                connection.sendall(head(f"GET {url}"))
            elif number % 3 == 1:
                connection.sendall(b"PUT /api/upload/slow HTTP/1.1\r\nHost: a\r\n")
        eventually(lambda: worker.num_fds() > 600)
        assert loop.request("GET", url).body == LARGE
        assert worker.num_threads() - before < 16
    eventually(lambda: len(worker.net_connections()) < 50)


def test_a_file_cut_short_on_its_way_breaks_the_connection(tmp_path: Path) -> None:
    with running(tmp_path, WEB_CONCURRENCY="1") as service:
        url = upload(service, LARGE).json()["url"]
        (stored,) = service.stored()
        with connected(service) as connection:
            connection.sendall(head(f"GET {url}"))
            connection.recv(1024)
            with stored.open("r+b") as file:
                file.truncate(20 * MIB)
            received = 0
            with pytest.raises(OSError, match="reset"):
                while piece := connection.recv(MIB):
                    received += len(piece)
                raise OSError("reset: it ended early")
            assert received < len(LARGE)
        assert service.request("GET", "/api/health").status == 200
        (worker,) = service.workers()
        eventually(lambda: not [f for f in worker.open_files() if f.path == str(stored)])


def test_a_worker_that_stops_lets_slow_readers_finish(tmp_path: Path) -> None:
    with running(tmp_path, WEB_CONCURRENCY="1") as service:
        url = upload(service, LARGE).json()["url"]
        with connected(service) as reading, connected(service) as idle:
            idle.sendall(head(f"GET {url}", b"Range: bytes=0-1\r\n"))
            assert answer_on(idle).status == 206
            reading.sendall(head(f"GET {url}"))
            begun = reading.recv(1024)
            tell(service, SIGTERM)
            time.sleep(1)
            received = [begun]
            while piece := reading.recv(MIB):
                received.append(piece)
                time.sleep(0.01)
            assert b"".join(received).partition(b"\r\n\r\n")[2] == LARGE
            assert idle.recv(1) == b""
            ended(service, within=10)


def test_idle_clients_make_room_for_new_ones(tmp_path: Path) -> None:
    room = {"GUNICORN_CMD_ARGS": "--worker-connections 80", "THREADS": "8"}
    with running(tmp_path, WEB_CONCURRENCY="1", **room) as service, ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(connected(service))
        assert service.request("GET", "/api/health").status == 200
        (worker,) = service.workers()
        assert len(worker.net_connections()) < 100


def test_half_a_head_behind_a_request_holds_no_thread(tmp_path: Path) -> None:
    with running(tmp_path, WEB_CONCURRENCY="1", THREADS="1") as service, ExitStack() as stack:
        for _ in range(3):
            connection = stack.enter_context(connected(service))
            connection.sendall(head("GET /api/health") + b"G")
            assert answer_on(connection).status == 200
        began = time.monotonic()
        assert service.request("GET", "/api/health").status == 200
        assert time.monotonic() - began < HEAD_WITHIN / 2


def test_a_head_that_a_thread_reads_has_an_end_too(loop: Service) -> None:
    with connected(loop) as connection:
        connection.settimeout(2 * HEAD_WITHIN)
        connection.sendall(
            head("GET /api/health")[:-2] + b"X: " + b"x" * 8000 + b"\r\nY: " + b"y" * 500
        )
        assert connection.recv(1) == b""


def test_a_line_that_ends_as_none_may_is_refused_at_once(loop: Service) -> None:
    (answer,) = loop.raw(head("GET /api/health").replace(b"\r\n", b"\n"), half_close=False)
    assert answer.status == 400


def test_a_worker_without_a_descriptor_left_goes_on(tmp_path: Path) -> None:
    def around(command: list[str]) -> list[str]:
        return ["/bin/sh", "-c", 'ulimit -n 150; exec "$@"', "sh", *command]

    room = {"WEB_CONCURRENCY": "1", "THREADS": "8", "GUNICORN_CMD_ARGS": "--worker-connections 500"}
    (port,) = free_ports(1)
    service = Service(port, tmp_path / "data", room, tmp_path / "service.log", around=around)
    try:
        service.start()
        (worker,) = service.workers()
        url = upload(service, b"text").json()["url"]
        with ExitStack() as stack:
            for _ in range(200):
                stack.enter_context(connected(service))
            eventually(lambda: "is accepted for a moment" in service.log.read_text())
            assert service.request("GET", url).body == b"text"
        assert service.workers() == [worker]
    finally:
        service.stop()


def test_who_is_in_line_when_a_worker_stops_is_answered(tmp_path: Path) -> None:
    with running(tmp_path, WEB_CONCURRENCY="1") as service, ExitStack() as stack:
        url = upload(service, b"text").json()["url"]
        (worker,) = service.workers()
        worker.suspend()
        for _ in range(2):
            connected(service).__enter__().close()
        waiting = [stack.enter_context(connected(service)) for _ in range(5)]
        for connection in waiting:
            connection.sendall(head(f"GET {url}"))
        tell(service, SIGTERM)
        time.sleep(0.5)
        worker.resume()
        assert [answer_on(connection).body for connection in waiting] == [b"text"] * 5
        ended(service, within=15)


@pytest.mark.parametrize("line", (b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"))
def test_no_request_hides_in_the_body_of_a_download(loop: Service, line: bytes) -> None:
    url = upload(loop, b"text").json()["url"]
    hidden = head(f"GET {url}?hidden=1")
    answers = loop.raw(head(f"GET {url}", line) + hidden, half_close=False)
    assert [answer.status for answer in answers] in ([200], [200, 400])
    assert answers[0].headers["connection"] == "close"


def test_a_client_that_leaves_gives_its_file_back(loop: Service) -> None:
    url = upload(loop, LARGE).json()["url"]
    (worker,) = loop.workers()
    # What a first download opens for good, such as the database, is no file of a client's.
    assert loop.request("GET", url).body == LARGE
    files = len(worker.open_files())
    for _ in range(50):
        with connected(loop) as connection:
            connection.sendall(head(f"GET {url}"))
            connection.recv(1024)
    eventually(lambda: len(worker.open_files()) <= files)
