"""A DATA_DIR of 16 MiB that fills up, under real gunicorn: 507, nothing left, and a way out."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from services.database import KEPT
from tests.live.test_faults import eventually, upload
from tests.support.full_disk import MIB, Seen, SmallDisk, why_not
from tests.support.processes import free_ports
from tests.support.service import Answer, Service

TUS: dict[str, Any] = {"Tus_Resumable": "1.0.0"}
PIECE: dict[str, Any] = TUS | {"Content_Type": "application/offset+octet-stream"}
LARGE = b"x" * 18 * MIB


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, Seen]]:
    """A service on a disk of its own, and that disk."""
    if reason := why_not():
        pytest.skip(f"{reason}; tests/storage/test_local_faults.py fills disks in one process")
    folder = tmp_path_factory.mktemp("small")
    small = SmallDisk(folder / "data", 16 * MIB)
    (port,) = free_ports(1)
    log = folder / "service.log"
    variables = {"DURABILITY": "fsync", "WEB_CONCURRENCY": "1"}
    service = Service(port, small.folder, variables, log, around=small.inside)
    try:
        service.start()
        assert service.child is not None
        yield service, small.seen_by(service.child.pid)
    finally:
        service.stop()


def bare(service: Service, content: bytes) -> Answer:
    return upload(service, content, "a")


def form(service: Service, content: bytes) -> Answer:
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    body = b"".join((head, b"fits\r\n", head, content, b"\r\n--b--\r\n"))
    kind = "multipart/form-data; boundary=b"
    return service.request("POST", "/api/upload", body, Content_Type=kind)


def tus(service: Service, content: bytes) -> Answer:
    """Send an upload at once; what is kept of it is given up again."""
    begun = begin(service, len(content))
    url = begun.headers.get("location", "")
    if begun.status != 201:
        return begun
    answer = service.request("PATCH", url, content, **PIECE, Upload_Offset="0")
    if answer.status != 204:
        assert service.request("DELETE", url, **TUS).status == 204
    return answer


def begin(service: Service, length: int, **headers: str) -> Answer:
    return service.request("POST", "/api/tus", b"", **TUS, **headers, Upload_Length=str(length))


def joined(service: Service, content: bytes) -> Answer:
    """Join as many parts as fit; the whole does not fit beside them."""
    piece = content[: 5 * MIB // 2]
    url = begin(service, len(piece), Upload_Concat="partial").headers["location"]
    sent = service.request("PATCH", url, piece, **PIECE, Upload_Offset="0")
    whole = f"final;{' '.join([url] * (len(content) // len(piece)))}"
    if sent.status == 204:
        sent = service.request("POST", "/api/tus", b"", **TUS, Upload_Concat=whole)
    assert service.request("DELETE", url, **TUS).status == 204
    return sent


def direct(service: Service, content: bytes) -> Answer:
    asked = json.dumps({"filename": "a", "size": len(content)}).encode()
    begun = service.request("POST", "/api/direct", asked, Content_Type="application/json")
    if begun.status != 201:
        return begun
    said = begun.json()
    path = said["url"].removeprefix(service.url)
    answer = service.request("PUT", path, content, Content_Type="application/octet-stream")
    if answer.status == 200:
        return service.request("POST", said["confirm_url"].removeprefix(service.url), b"")
    assert service.request("DELETE", f"/api/direct/{said['id']}").status == 204
    return answer


Door = Callable[[Service, bytes], Answer]
DOORS: tuple[Door, ...] = (bare, form, tus, joined, direct)
EVERY_DOOR = pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)


def is_full(answer: Answer, seen: Seen) -> None:
    assert (answer.status, answer.json()["code"]) == (507, "storage_full"), answer.body
    assert answer.headers["retry-after"]
    assert str(seen.root) not in answer.body.decode() and "/data" not in answer.body.decode()


@EVERY_DOOR
def test_what_does_not_fit_is_a_507_and_leaves_nothing(
    disk: tuple[Service, Seen], door: Door
) -> None:
    service, seen = disk
    free = seen.free()
    is_full(door(service, LARGE), seen)
    assert service.listing()["total"] == 0
    eventually(lambda: seen.files("uploads") == [])
    # What SQLite's log has grown by stays for its next use.
    assert seen.free() > free - MIB
    made = door(service, b"fits")
    assert made.status in (200, 201, 204), made.body
    for item in service.listing()["items"]:
        assert service.request("DELETE", f"/api/files/{item['id']}").status == 204
    eventually(lambda: seen.files("uploads") == [])


@pytest.mark.parametrize("free", (KEPT // 2, 0), ids=("room for the database", "no free byte"))
def test_on_a_full_disk_files_are_read_and_deleted(disk: tuple[Service, Seen], free: int) -> None:
    service, seen = disk
    files = [upload(service, bytes([number]) * 50_000).json() for number in range(4)]
    seen.fill(but=free)
    try:
        for door in (bare, form):
            is_full(door(service, b"fits"), seen)
        assert service.request("GET", files[0]["url"]).body == b"\0" * 50_000
        assert service.listing()["total"] == 4
        assert service.request("GET", "/api/health").status == 200
        told = [service.request("DELETE", f"/api/files/{file['id']}") for file in files]
        # Without a free byte SQLite may have no place to write down what is deleted.
        assert free == 0 or {answer.status for answer in told} == {204}
        refused = [answer for answer in told if answer.status != 204]
        for answer in refused:
            is_full(answer, seen)
    finally:
        seen.empty()
    left = service.listing()["items"]
    assert len(left) == len(refused)
    for item in left:
        assert service.request("DELETE", f"/api/files/{item['id']}").status == 204
    made = upload(service, b"again")
    assert made.status == 201
    eventually(lambda: len(seen.files("uploads")) == 1)
    assert service.request("DELETE", f"/api/files/{made.json()['id']}").status == 204


FULL = (507, "storage_full")


def test_an_upload_keeps_what_was_acknowledged_and_goes_on_once_there_is_room(
    disk: tuple[Service, Seen],
) -> None:
    service, seen = disk
    content = bytes(range(256)) * 4 * 1024
    half = len(content) // 2
    url = begin(service, len(content)).headers["location"]
    sent = service.request("PATCH", url, content[:half], **PIECE, Upload_Offset="0")
    assert sent.headers["upload-offset"] == str(half)
    seen.fill()
    try:
        is_full(
            service.request("PATCH", url, content[half:], **PIECE, Upload_Offset=str(half)), seen
        )
    finally:
        seen.empty()
    told = service.request("HEAD", url, **TUS)
    assert told.headers["upload-offset"] == str(half)
    done = service.request("PATCH", url, content[half:], **PIECE, Upload_Offset=str(half))
    assert done.status == 204
    file = service.request("GET", f"/api/files/{done.headers['upload-file-id']}").json()
    assert service.request("GET", file["url"]).body == content
    assert service.request("DELETE", f"/api/files/{file['id']}").status == 204


def test_a_worker_that_starts_on_a_full_disk_serves(disk: tuple[Service, Seen]) -> None:
    service, seen = disk
    file = upload(service, b"kept" * 1000).json()
    seen.fill()
    try:
        (killed,) = service.workers()
        killed.kill()
        eventually(
            lambda: [each.pid for each in service.workers()] not in ([], [killed.pid]), seconds=30
        )
        assert service.request("GET", file["url"]).body == b"kept" * 1000
        is_full(upload(service, b"x"), seen)
        answer = service.request("DELETE", f"/api/files/{file['id']}")
        assert answer.status == 204 or (answer.status, answer.json()["code"]) == FULL
    finally:
        seen.empty()
    assert upload(service, b"again").status == 201
