"""How the service ends and is restarted: what is under way ends well, and nothing is lost.

Where all of the time that requests get is used, it is GRACE seconds here and not the USUAL ones.
"""

import hashlib
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGTERM

import pytest

from tests.conftest import MakeApp, s3_variables
from tests.live.test_faults import eventually, upload
from tests.live.test_wire import head, put
from tests.services.collecting import collect
from tests.services.uploading import stored
from tests.storage.material import content_of
from tests.support.service import Answer, Service, running

USUAL, GRACE = 30, 8
PIECE = 256 * 1024
LARGE = 100_000_000
QUICK = {"GUNICORN_CMD_ARGS": f"--graceful-timeout {GRACE}"}
TUS = b"Tus-Resumable: 1.0.0\r\n"


@contextmanager
def connected(service: Service) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", service.port), timeout=2 * GRACE) as connection:
        yield connection


def answer_on(connection: socket.socket) -> Answer:
    """Read the one answer that is still to come on a connection."""
    response = http.client.HTTPResponse(connection)
    response.begin()
    headers = {name.lower(): value for name, value in response.headers.items()}
    answer = Answer(response.status, headers, response.read())
    response.close()
    return answer


def ended(service: Service, *, within: float) -> None:
    """Wait for the service to end by itself, with status 0."""
    assert service.child is not None
    assert service.child.wait(seconds=within) == 0, service.log.read_text()
    service.child = None


def tell(service: Service, number: int) -> None:
    assert service.child is not None
    service.child.signal(number)


def is_refused(service: Service) -> bool:
    try:
        with connected(service) as connection:
            connection.sendall(head("GET /api/health"))
            return not connection.recv(1)
    except OSError:
        return True


def begin_tus(service: Service, size: int) -> str:
    made = service.request("POST", "/api/tus", b"", Tus_Resumable="1.0.0", Upload_Length=str(size))
    return made.headers["location"]


def patch(path: str, offset: int, length: int) -> bytes:
    return head(
        f"PATCH {path}",
        TUS,
        b"Upload-Offset: %d\r\nContent-Length: %d\r\n" % (offset, length),
        b"Content-Type: application/offset+octet-stream\r\n",
    )


def offset_of(service: Service, path: str) -> int:
    told = service.request("HEAD", path, Tus_Resumable="1.0.0")
    assert told.status == 200
    return int(told.headers["upload-offset"])


def test_requests_in_flight_are_answered_and_new_clients_refused(tmp_path: Path) -> None:
    content, large = content_of(500_000), content_of(16 * 1024 * 1024)
    with running(tmp_path) as service:
        url = upload(service, large, "large").json()["url"]
        with ExitStack() as stack:
            sending, reading, waiting, silent = (
                stack.enter_context(connected(service)) for _ in range(4)
            )
            sending.sendall(put(len(content)) + content[:1000])
            reading.sendall(head(f"GET {url}"))
            waiting.sendall(head("GET /api/health"))
            assert answer_on(waiting).status == 200
            # Longer than gunicorn's own wait for a client that has said nothing yet.
            time.sleep(5.5)
            tell(service, SIGTERM)
            eventually(lambda: is_refused(service), seconds=10)
            tell(service, SIGTERM)
            time.sleep(0.5)
            sending.sendall(content[1000:])
            made = answer_on(sending)
            assert made.status == 201
            assert answer_on(reading).body == large
            ended(service, within=USUAL - 10)
            assert silent.recv(1) == b""
        service.start()
        assert service.request("GET", made.json()["url"]).body == content
        assert len(service.stored()) == service.listing()["total"] == 2


@pytest.mark.parametrize("storage", ("local", pytest.param("s3", marks=pytest.mark.spare)))
def test_what_takes_too_long_ends_in_time_and_resumable_uploads_go_on(
    storage: str, request: pytest.FixtureRequest, tmp_path: Path, app_with: MakeApp
) -> None:
    whole = content_of(12 * 1024 * 1024 + 7)
    variables = QUICK | (s3_variables(request) if storage == "s3" else {})
    with running(tmp_path, **variables) as service:
        kept = upload(service, b"kept").json()
        path = begin_tus(service, len(whole))
        with ExitStack() as stack:
            resuming, flowing, stalled = (stack.enter_context(connected(service)) for _ in range(3))
            resuming.sendall(patch(path, 0, len(whole)) + whole[: 6 * 1024 * 1024])
            flowing.sendall(put(LARGE, "flowing"))
            stalled.sendall(put(LARGE, "stalled") + b"x" * 1_000_000)
            over = threading.Event()
            sender = threading.Thread(target=drip, args=(flowing, over))
            sender.start()
            try:
                time.sleep(0.5)
                tell(service, SIGTERM)
                for connection in (resuming, flowing):
                    refused = answer_on(connection)
                    assert (refused.status, refused.json()["code"]) == (503, "stopping")
                    assert refused.headers["retry-after"]
                ended(service, within=GRACE + 15)
            finally:
                over.set()
                sender.join()
        service.start()
        offset = offset_of(service, path)
        assert offset == 6 * 1024 * 1024
        with connected(service) as connection:
            connection.sendall(patch(path, offset, len(whole) - offset) + whole[offset:])
            done = answer_on(connection)
        assert done.status == 204, done.body
        file = service.request("GET", f"/api/files/{done.headers['upload-file-id']}").json()
        assert file["sha256"] == hashlib.sha256(whole).hexdigest()
        assert service.request("GET", file["url"]).body == whole
        assert service.request("GET", kept["url"]).body == b"kept"
        assert service.listing()["total"] == 2
    app = app_with(DATA_DIR=str(service.data), **variables)
    # Of the client that said nothing more the worker did not learn the end: it was killed.
    assert len(collect(app, grace=timedelta(seconds=-5))) <= 1
    assert len(stored(app)) == 2
    assert service.temporary() == []


def drip(connection: socket.socket, over: threading.Event) -> None:
    """Send on and on, until the other side has enough."""
    try:
        while not over.wait(0.05):
            connection.sendall(b"x" * 10_000)
    except OSError:
        return


def test_new_workers_take_over_without_a_failed_request_and_a_quick_end_loses_none(
    tmp_path: Path,
) -> None:
    wrong: list[str] = []
    over = threading.Event()
    with running(tmp_path) as service:
        before = {worker.pid for worker in service.workers()}
        url = upload(service, b"read" * 1000).json()["url"]

        def read() -> None:
            while not over.is_set():
                try:
                    if service.request("GET", url).body != b"read" * 1000:
                        wrong.append("other bytes")
                except OSError as error:
                    wrong.append(repr(error))

        clients = [threading.Thread(target=read) for _ in range(2)]
        for client in clients:
            client.start()
        try:
            with connected(service) as connection:
                connection.sendall(put(2000) + b"x" * 1000)
                time.sleep(0.3)
                tell(service, SIGHUP)
                eventually(
                    lambda: len({w.pid for w in service.workers()} - before) == 2, seconds=20
                )
                connection.sendall(b"x" * 1000)
                assert answer_on(connection).status == 201
            eventually(lambda: not before & {w.pid for w in service.workers()}, seconds=USUAL)
        finally:
            over.set()
            for client in clients:
                client.join()
        assert wrong == []
        with connected(service) as connection:
            connection.sendall(put(LARGE) + b"x" * 1_000_000)
            eventually(lambda: len(service.stored()) == 3)
            tell(service, SIGINT)
            ended(service, within=USUAL - 10)
        service.start()
        assert service.request("GET", url).body == b"read" * 1000
        assert service.listing()["total"] == 2
