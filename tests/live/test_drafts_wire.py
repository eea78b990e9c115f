"""What the IETF drafts show on a real connection only: the interim 104, and cut uploads."""

import socket

import pytest

from tests.http.test_tus import content
from tests.live.test_wire import head
from tests.support.service import Answer, Service

VERSIONS = (3, 4, 5, 6, 7, 8)


def lines(version: object, length: int, *, complete: bool = True) -> bytes:
    """Return the headers that begin an upload whose body has `length` bytes."""
    flag = f"Upload-Incomplete: ?{not complete:d}" if version == 3 else "Upload-Complete: ?1"
    said = f"Upload-Draft-Interop-Version: {version}\r\n" if version else ""
    return f"{said}{flag}\r\nContent-Length: {length}\r\nConnection: close\r\n".encode()


def asked(service: Service, version: int, url: str) -> Answer:
    return service.request("HEAD", url, Upload_Draft_Interop_Version=str(version))


@pytest.mark.parametrize("version", VERSIONS)
def test_a_version_that_matches_is_told_where_to_resume(service: Service, version: int) -> None:
    start = head("POST /api/tus", lines(version, 4))
    interim, final = service.raw(start, b"text")
    assert (interim.status, final.status) == (104, 201)
    assert interim.headers["upload-draft-interop-version"] == str(version)
    assert interim.headers["location"] == final.headers["location"]
    assert "upload-offset" not in interim.headers
    assert ("upload-limit" in interim.headers) == (version >= 6)
    assert service.request("GET", final.headers["upload-file-url"]).body == b"text"


@pytest.mark.parametrize("version", (None, 2, 9, "8.0", "abc"))
def test_no_other_gets_an_answer_that_it_may_take_for_the_last(
    service: Service, version: object
) -> None:
    (final,) = service.raw(head("POST /api/tus", lines(version, 4)), b"text")
    assert final.status == 201
    assert final.headers["upload-complete"] == "?1"


def test_http_1_0_knows_no_interim_answers(service: Service) -> None:
    start = head("POST /api/tus", lines(8, 4)).replace(b"HTTP/1.1", b"HTTP/1.0")
    (final,) = service.raw(start, b"text")
    assert final.status == 201


def test_nothing_is_announced_where_nothing_is_sent(service: Service) -> None:
    (final,) = service.raw(head("POST /api/tus", lines(8, 0)))
    assert final.status == 201


@pytest.mark.parametrize("version", VERSIONS)
def test_a_creation_that_is_cut_goes_on_where_the_interim_answer_said(
    service: Service, version: int
) -> None:
    whole = content(400_000)
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(head("POST /api/tus", lines(version, len(whole))) + whole[:150_000])
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(4096)
    told = received.decode().lower().split("\r\n")
    (url,) = (line.removeprefix("location: ") for line in told if line.startswith("location: "))
    answer = asked(service, version, url)
    offset = int(answer.headers["upload-offset"])
    assert 0 < offset <= 150_000
    done = service.request(
        "PATCH",
        url,
        whole[offset:],
        Content_Type="application/partial-upload",
        Upload_Offset=str(offset),
        Upload_Draft_Interop_Version=str(version),
        **({"Upload_Incomplete": "?0"} if version == 3 else {"Upload_Complete": "?1"}),
    )
    assert done.status == 201
    assert service.request("GET", done.headers["upload-file-url"]).body == whole


def test_whoever_expects_100_continue_is_told_both(service: Service) -> None:
    start = head("POST /api/tus", lines(8, 4), b"Expect: 100-continue\r\n")
    answers = service.raw(start, b"text")
    assert [answer.status for answer in answers][-1] == 201
    assert {answer.status for answer in answers} == {100, 104, 201}
