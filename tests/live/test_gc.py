"""A service that is killed in the middle of uploads leaves things, and gc removes them all."""

import socket
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from app import Holdall
from models import File, Upload, now
from services.gc_items import Kind
from tests.conftest import MakeApp, s3_variables
from tests.live.test_faults import eventually
from tests.services.collecting import collect, kinds
from tests.services.uploading import database_of, stored
from tests.support.service import Service, running

PART = 5 * 1024 * 1024
SIZE = 8 * PART
SENT = b"x" * (SIZE - PART)
BOUNDARY = "b" * 20


def put(_: Service) -> bytes:
    return b"PUT /api/upload/a.bin HTTP/1.1\r\n"


def form(_: Service) -> bytes:
    kind = f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
    return b"POST /api/upload HTTP/1.1\r\n" + kind.encode()


def tus(service: Service) -> bytes:
    made = service.request("POST", "/api/tus", b"", Tus_Resumable="1.0.0", Upload_Length=str(SIZE))
    path = made.headers["location"]
    fields = "Tus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
    kind = "Content-Type: application/offset+octet-stream\r\n"
    return f"PATCH {path} HTTP/1.1\r\n{fields}{kind}".encode()


FORM_HEAD = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
).encode()


def begin(service: Service, door: Callable[[Service], bytes]) -> socket.socket:
    """Send most of an upload, and keep the connection open."""
    connection = socket.create_connection(("127.0.0.1", service.port), timeout=30)
    common = f"Host: 127.0.0.1:{service.port}\r\nContent-Length: {SIZE}\r\n\r\n"
    head = door(service) + common.encode()
    connection.sendall(head + (FORM_HEAD if door is form else b"") + SENT)
    return connection


def kill(service: Service) -> None:
    """End the service and its workers at once, as a power cut would."""
    processes = service.processes()
    for process in processes:
        process.kill()
    assert service.child is not None
    service.child.kill()
    for process in processes[1:]:
        process.wait(10)
    service.child = None


@pytest.mark.parametrize("storage", ("local", "s3"))
def test_after_a_kill_in_the_middle_only_what_rows_name_is_left(
    storage: str, request: pytest.FixtureRequest, tmp_path: Path, app_with: MakeApp
) -> None:
    variables = s3_variables(request) if storage == "s3" else {}
    with running(tmp_path, WEB_CONCURRENCY="1", **variables) as service, ExitStack() as open_:
        kept = service.request("PUT", "/api/upload/kept.bin", b"kept" * 1000)
        assert kept.status == 201
        for door in (put, form, tus):
            open_.enter_context(begin(service, door))
        app = app_with(DATA_DIR=str(service.data), **variables)
        eventually(lambda: len(stored(app)) == 4)
        kill(service)
    assert len(stored(app)) == 4
    with database_of(app).write() as session:
        session.execute(update(Upload).values(expires_at=now(), lock_until=now()))
    found = kinds(collect(app, grace=timedelta(seconds=-5), force=True))
    lost = Kind.MULTIPART if storage == "s3" else Kind.TEMPORARY
    assert (found[lost], found[Kind.UPLOAD]) == (2, 1)
    assert [name.rpartition("/")[2] for name in stored(app)] == keys(app)
    assert service.temporary() == []
    assert collect(app, force=True) == []
    assert app.test_client().get(kept.json()["url"]).data == b"kept" * 1000


def keys(app: Holdall) -> list[str]:
    """Return the names in the keys of all files."""
    with database_of(app).read() as session:
        return sorted(key.rpartition("/")[2] for key in session.scalars(select(File.key)))
