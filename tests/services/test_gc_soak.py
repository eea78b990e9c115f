"""gc beside uploads: it runs all the time, and nothing that was acknowledged is lost.

HOLDALL_TEST_SECONDS=60 does it for as long.
"""

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from typing import Any, Final

import pytest
from flask.testing import FlaskClient

from app import Holdall
from services.gc_items import Item, Kind
from storage.capabilities import Sweepable
from tests.conftest import Client, MakeApp, parts, s3_variables
from tests.http.test_tus import begin, content, file_of, head, patch
from tests.live.test_faults import eventually
from tests.services.checking import file, keep
from tests.services.collecting import (
    collect,
    kinds,
    leave_multipart,
    leave_temporary,
    leave_unfinished,
)
from tests.services.uploading import PART, storage_of, stored

FORM: Final = "multipart/form-data"
SECONDS: Final = float(os.environ.get("HOLDALL_TEST_SECONDS", "3"))
GRACE: Final = timedelta(seconds=5)
EVERY: Final = 0.2
FEW: Final = 12
"""Files that are there before, so that a few orphans do not look like another database."""


@pytest.fixture(params=("local", "s3"))
def app(request: pytest.FixtureRequest, app_with: MakeApp) -> Holdall:
    """The application on each storage."""
    return app_with(**(s3_variables(request) if request.param == "s3" else {}))


def by_form(client: FlaskClient, whole: bytes) -> dict[str, Any]:
    # Put together here: the test client leaves a large one in a file that it does not close.
    head = '--b\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
    body = head.encode() + whole + b"\r\n--b--\r\n"
    answer = client.post("/api/upload", data=body, content_type=f"{FORM}; boundary=b")
    assert answer.status_code == 201, answer.data
    made: dict[str, Any] = answer.get_json()
    return made


def by_put(client: FlaskClient, whole: bytes) -> dict[str, Any]:
    answer = client.put("/api/upload/a.bin", data=whole)
    assert answer.status_code == 201, answer.data
    made: dict[str, Any] = answer.get_json()
    return made


def by_tus(client: FlaskClient, whole: bytes) -> dict[str, Any]:
    """Send in pieces, and let the last one wait for longer than the grace period at times."""
    url = begin(client, len(whole))
    pieces = (0, len(whole) // 3, len(whole) // 2, len(whole))
    for start, stop in pairwise(pieces):
        if stop == len(whole) and whole[0] % 2:
            time.sleep(GRACE.total_seconds() + 1)
        assert patch(client, url, start, whole[start:stop]).status_code == 204
    return file_of(client, head(client, url))


DOORS: Final = (by_form, by_put, by_tus)


class Uploading:
    """Clients at one door each, that upload for a while and remember what was acknowledged."""

    def __init__(self, app: Holdall) -> None:
        self._app = app
        self._ends = time.monotonic() + SECONDS
        self.acknowledged: dict[str, str] = {}

    def at(self, door: Callable[[FlaskClient, bytes], dict[str, Any]]) -> int:
        client, number = Client(self._app), 0
        while time.monotonic() < self._ends:
            size = PART + 9000 if number % 7 == 3 else 9000 + number
            whole = content(size, f"{door.__name__} {number}".encode())
            made = door(client, whole)
            self.acknowledged[made["url"]] = hashlib.sha256(whole).hexdigest()
            number += 1
        return number


@contextmanager
def collecting(app: Holdall) -> Iterator[list[Item]]:
    """Collect all the time in a thread; a failure of it is raised at the end."""
    done, items = threading.Event(), list[Item]()

    def go_on() -> None:
        while not done.wait(EVERY):
            items.extend(collect(app, grace=GRACE))

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(go_on)
        try:
            yield items
        finally:
            done.set()
            running.result()


def leave_some(app: Holdall) -> set[Kind]:
    leave_multipart(app)
    keep(app)
    if not isinstance(storage_of(app), Sweepable):
        return {Kind.MULTIPART, Kind.ORPHAN}
    leave_temporary(app)
    leave_unfinished(app)
    return {Kind.MULTIPART, Kind.ORPHAN, Kind.TEMPORARY, Kind.UNFINISHED}


def test_nothing_is_lost_while_it_runs_beside_uploads(app: Holdall) -> None:
    for _ in range(FEW):
        file(app)
    left = leave_some(app)
    uploading = Uploading(app)
    with collecting(app) as items, ThreadPoolExecutor(len(DOORS)) as clients:
        uploads = list(clients.map(uploading.at, DOORS))
        eventually(lambda: len(items) >= len(left), seconds=30)
    assert all(number > 0 for number in uploads)
    assert kinds(items) == dict.fromkeys(left, 1)
    client = app.test_client()
    for url, sha256 in uploading.acknowledged.items():
        assert hashlib.sha256(client.get(url).data).hexdigest() == sha256
    assert len(stored(app)) == FEW + len(uploading.acknowledged)
    assert parts(app).expiry.run() == 0
