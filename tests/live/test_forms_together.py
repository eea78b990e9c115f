"""Small forms over real connections: taken by one thread for all, or by a thread of their own."""

import json
import re
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.live.test_shutdown import connected
from tests.live.test_wire import head
from tests.support.service import Service, running

TYPE = b"Content-Type: multipart/form-data; boundary=b\r\n"
CLOSE = b"Connection: close\r\n"
ALONE = b"Sec-Fetch-Site: none\r\n"
"""What has a form taken by a thread of its own."""
CHANGES = rb"(Date|X-Request-ID): [^\r]*|/uploads/[a-z2-7]*|\"(id|created_at|updated_at)\":\"[^\"]*"
PART = b'--b\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n%s\r\n'


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("together"), WEB_CONCURRENCY="1") as started:
        yield started


def form(*lines: bytes, name: bytes = b"a.txt", content: bytes = b"text") -> bytes:
    return request(PART % (name, content) + b"--b--\r\n", *lines)


def request(body: bytes, *lines: bytes) -> bytes:
    length = b"Content-Length: %d\r\n" % len(body)
    return head("POST /api/upload", TYPE, length, *lines) + body


def all_of(service: Service, sent: bytes) -> bytes:
    """Return all that comes back, but for what is another's each time."""
    with connected(service) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        received = b"".join(iter(lambda: connection.recv(65_536), b""))
    return re.sub(CHANGES, b"", received)


@pytest.mark.parametrize("close", (b"", CLOSE))
@pytest.mark.parametrize(
    ("body", "status"),
    (
        (PART % (b"a.txt", b"text") + b"--b--\r\n", b"201"),
        (PART % (b"a.txt", b"") + PART % (b"b.txt", b"b") + b"--b--", b"201"),
        (PART % (b"a.txt", b"text") + b"--b", b"400"),
        (b"nothing", b"400"),
    ),
)
def test_each_byte_is_what_a_thread_sends(
    service: Service, close: bytes, body: bytes, status: bytes
) -> None:
    together = all_of(service, request(body, close))
    assert together == all_of(service, request(body, close, ALONE))
    assert together.startswith(b"HTTP/1.1 " + status)
    assert (b"Connection: close" in together) is bool(close)


def test_what_is_sent_at_once_is_answered_in_turn(service: Service) -> None:
    wrong, many = request(b"--b--\r\n"), 20
    some = [form(content=b"%d" % number, name=b"%d" % number) for number in range(many)]
    mixed = wrong + form(ALONE) + head("GET /api/health") + form(content=bytes(100_000))
    answers = service.raw(b"".join(some) + mixed + form(CLOSE), half_close=False)
    assert [each.status for each in answers] == [201] * many + [400, 201, 200, 201, 201]
    assert [each.json()["filename"] for each in answers[:many]] == [str(n) for n in range(many)]


def test_many_at_once_are_all_kept(service: Service) -> None:
    before, many = service.listing()["total"], 64
    with ThreadPoolExecutor(16) as pool:
        sent = [form(CLOSE, content=b"%d" % number * 100) for number in range(many)]
        answers = [each for (each,) in pool.map(service.raw, sent)]
    assert [answer.status for answer in answers] == [201] * many
    for number, answer in enumerate(answers):
        assert service.request("GET", json.loads(answer.body)["url"]).body == b"%d" % number * 100
    assert service.listing()["total"] == before + many
    assert service.temporary() == []


def test_one_who_leaves_takes_nothing_of_the_others(service: Service) -> None:
    for _ in range(10):
        with connected(service) as gone:
            gone.sendall(form())
        (answer,) = service.raw(form(CLOSE), half_close=False)
        assert answer.status == 201
    assert service.temporary() == []
