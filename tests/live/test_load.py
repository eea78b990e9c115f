"""Many bad clients at once, and a store that is bad itself: the others are served all the same."""

import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.live.test_faults import eventually, upload
from tests.live.test_wire import head, put
from tests.support.faults import CutRequest, FaultProxy, Hang, Slow
from tests.support.servers import S3Server
from tests.support.service import Service, running

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def both(
    tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server
) -> Iterator[tuple[Service, FaultProxy]]:
    """A service with files on disk, and with a collection in an S3 store behind a proxy."""
    with FaultProxy(s3_server.port) as proxy:
        asked = "create_bucket=true&connect_timeout=1&read_timeout=2&max_attempts=2"
        variables = {
            "STORAGE_S3_URL": f"s3://live-load?endpoint={proxy.endpoint}&{asked}",
            "STORAGE_S3_ACCESS_KEY_ID": s3_server.access_key_id,
            "STORAGE_S3_SECRET_ACCESS_KEY": s3_server.secret_access_key,
            "WEB_CONCURRENCY": "1",
        }
        s3_server.make_bucket("live-load")
        with running(tmp_path_factory.mktemp("load"), **variables) as service:
            far, kind = json.dumps({"backend": "s3"}).encode(), "application/json"
            made = service.request("PUT", "/api/collections/far", far, Content_Type=kind)
            assert made.status == 201
            yield service, proxy


def test_a_thousand_slow_clients_do_not_stop_others(both: tuple[Service, FaultProxy]) -> None:
    service, _ = both
    url = upload(service, hashlib.shake_128(b"slow").digest(8 * MIB)).json()["url"]
    with ExitStack() as stack:
        for number in range(1000):
            connection = socket.create_connection(("127.0.0.1", service.port))
            stack.callback(connection.close)
            if number % 2:
                connection.sendall(put(1_000_000) + b"x")
            else:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.sendall(head(f"GET {url}"))
        began = time.monotonic()
        assert service.request("GET", "/api/health").status == 200
        file = upload(service, b"quick").json()
        assert service.request("GET", file["url"]).body == b"quick"
        assert service.request("DELETE", f"/api/files/{file['id']}").status == 204
        # The slow ones stay for BODY_TIMEOUT or longer; who waits for them waits longer than this.
        assert time.monotonic() - began < 30
    eventually(lambda: len(service.stored()) == 1, seconds=30)


def test_a_thousand_aborted_uploads_give_everything_back(
    both: tuple[Service, FaultProxy],
) -> None:
    service, _ = both
    stored = len(service.stored())

    def abort(rounds: int) -> None:
        for _ in range(rounds):
            with ExitStack() as stack:
                for _ in range(50):
                    connection = socket.create_connection(("127.0.0.1", service.port))
                    stack.enter_context(connection)
                    connection.sendall(put(1_000_000) + b"x" * 50_000)
                eventually(lambda: len(service.stored()) == stored + 50, seconds=30)
            eventually(lambda: len(service.stored()) == stored, seconds=30)

    abort(2)
    (worker,) = service.workers()
    before, open_files = worker.memory_info().rss, worker.num_fds()
    abort(20)
    # The pool of connections to the database may have filled up: 8, of two files each.
    eventually(lambda: worker.num_fds() <= open_files + 16, seconds=30)
    assert worker.memory_info().rss - before < 50 * MIB
    assert service.temporary() == []


def far_away(service: Service, content: bytes) -> int:
    return service.request("PUT", "/api/upload/a?collection=far", content).status


def test_a_store_that_hangs_stops_no_download_from_another(
    both: tuple[Service, FaultProxy],
) -> None:
    service, proxy = both
    near = upload(service, b"near" * 1000).json()["url"]
    proxy.inject(Hang(), times=1000)
    told: list[int] = []
    senders = [
        threading.Thread(target=lambda: told.append(far_away(service, b"far"))) for _ in range(20)
    ]
    began = time.monotonic()
    try:
        for sender in senders:
            sender.start()
        for _ in range(20):
            assert service.request("GET", near).body == b"near" * 1000
            assert service.request("GET", "/api/health").status == 200
        assert any(sender.is_alive() for sender in senders)
        for sender in senders:
            sender.join(60)
    finally:
        proxy.release()
    assert told == [503] * 20
    assert time.monotonic() - began < 60
    assert far_away(service, b"far") == 201


def test_a_store_that_is_slow_is_waited_for(both: tuple[Service, FaultProxy]) -> None:
    service, proxy = both
    proxy.inject(Slow(1), method="PUT")
    began = time.monotonic()
    assert far_away(service, b"slow") == 201
    assert time.monotonic() - began >= 1
    proxy.release()


@pytest.mark.parametrize("after", (1, 1_000_000))
def test_a_request_that_is_reset_on_its_way_to_the_store_is_sent_again(
    both: tuple[Service, FaultProxy], after: int
) -> None:
    service, proxy = both
    content = hashlib.shake_128(b"reset").digest(2_000_000)
    proxy.inject(CutRequest(after), method="PUT")
    answer = service.request("PUT", "/api/upload/a?collection=far", content)
    assert answer.status == 201
    assert service.request("GET", answer.json()["url"]).body == content
    proxy.release()
