"""Workers are killed at any moment while files are uploaded: nothing acknowledged is ever lost.

HOLDALL_TEST_KILLS=200 does it as often.
"""

import os
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

import psutil
import requests

from tests.clients.conftest import Pair
from tests.clients.driving import check_served, content_of, create, offset_of, patch
from tests.support.service import Service

T = TypeVar("T")
KILLS = int(os.environ.get("HOLDALL_TEST_KILLS", "4"))
AT_ONCE = 2
PATCH = 900_000
CONTENT = content_of(6_000_000)
GIVE_UP = 60.0


def insist(ask: Callable[[], T]) -> T:
    """Ask until the service answers; its worker may be starting, or be killed meanwhile."""
    deadline = time.monotonic() + GIVE_UP
    while True:
        try:
            return ask()
        except requests.RequestException:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def upload(service: Service) -> str:
    """Upload the content as a resuming client does, and return the path of the upload."""
    path = insist(lambda: create(service, len(CONTENT)))
    offset = acknowledged = 0
    while offset < len(CONTENT):
        sent = min(offset + PATCH, len(CONTENT))
        try:
            answer = patch(service, path, offset, CONTENT[offset:sent])
        except requests.RequestException:
            offset = insist(lambda: offset_of(service, path))
            assert acknowledged <= offset <= sent
            continue
        assert answer.status_code == 204, answer.text
        acknowledged = offset = int(answer.headers["Upload-Offset"])
        assert offset == sent
    return path


def kill_workers(service: Service) -> None:
    """End what serves at once; the master, which may just be replacing it, starts another."""
    for worker in service.workers():
        with suppress(psutil.NoSuchProcess):
            worker.kill()


def test_what_is_acknowledged_outlives_killed_workers(pair: Pair) -> None:
    alone = pair.second
    before = alone.listing()["total"]
    randomly = random.Random("kills")
    with ThreadPoolExecutor(AT_ONCE * KILLS) as pool:
        uploads = []
        for _ in range(KILLS):
            insist(lambda: requests.get(f"{alone.url}/api/health", timeout=30))
            uploads += [pool.submit(upload, alone) for _ in range(AT_ONCE)]
            time.sleep(randomly.uniform(0, 0.4))
            kill_workers(alone)
        paths = [each.result() for each in uploads]
    for path in paths:
        check_served(alone, path, CONTENT)
    assert alone.listing()["total"] == before + len(paths)
