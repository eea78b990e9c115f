"""A service is killed while its files are copied to a mirror: what is queued goes on after it."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import MakeApp
from tests.services.checking import check
from tests.services.moving import keys_of
from tests.services.test_mirroring import far, folders, near, tasks
from tests.storage.material import content_of
from tests.support.servers import PostgresServer
from tests.support.service import Service, running

FILES = 40
CONTENT = content_of(2 * 1024**2)


def wait_until(true: Callable[[], object], *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def kill(service: Service) -> None:
    """End all of its processes at once, as a power cut would."""
    for process in service.processes():
        process.kill()
    assert service.child is not None
    service.child.kill()
    service.child = None


@pytest.mark.parametrize(
    "database", (pytest.param("sqlite", marks=pytest.mark.spare), "postgresql")
)
def test_the_queue_survives_kill_9_while_files_are_copied(
    database: str, request: pytest.FixtureRequest, app_with: MakeApp, tmp_path: Path
) -> None:
    variables = folders(tmp_path)
    if database == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        like = request.getfixturevalue("upgraded_database")
        variables["DATABASE_URL"] = server.fresh_database(like=like)
    with running(tmp_path, **variables) as service:
        app = app_with(**variables, DATA_DIR=str(service.data))
        ids = [
            service.request("PUT", f"/api/upload/{number}.bin", CONTENT).json()["id"]
            for number in range(FILES)
        ]
        assert service.request("DELETE", f"/api/files/{ids.pop()}").status == 204
        wait_until(lambda: keys_of(far(app)))
        kill(service)
        left = tasks(app)
        assert left, "it was killed before all was copied"
        service.start()
        wait_until(lambda: not tasks(app))
        service.stop()
        assert keys_of(far(app)) == keys_of(near(app))
        assert len(keys_of(near(app))) == len(ids)
        for name in ("near", "far", "safe", "safe/far"):
            assert check(app, name, verify=True).findings == []
