"""A running service that kills itself where it is told to, and what was acknowledged of it.

It knows gunicorn, HTTP and, for what a crash leaves, the services behind them.
"""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from http.client import HTTPException
from itertools import count
from pathlib import Path
from typing import Any, Final

import psutil
from sqlalchemy import delete, select, update

from app import Holdall, create_app
from config import load_settings
from models import File, Lease, Upload, db, now
from tests.conftest import Deployment, parts
from tests.services.checking import check
from tests.services.collecting import collect
from tests.services.uploading import database_of, stored
from tests.storage.material import content_of
from tests.support.crashing import VARIABLE
from tests.support.preloaded import Nursery, Preloaded
from tests.support.service import Answer

ENTRY: Final = "tests.support.crashing:app"
MOST: Final = 20.0
"""Seconds in which a point has to be reached."""

_NUMBERS: Final = count()


class Stage:
    """One service, with one worker that gunicorn replaces, and an application on the same data."""

    def __init__(self, service: Preloaded, app: Holdall, order: Path) -> None:
        self.service = service
        self.app = app
        self.on_s3 = parts(app).settings.storage_backend == "s3"
        self._order = order
        self._files: dict[str, str] = {}
        self._gone: set[str] = set()

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        return self.service.request(method, path, body, **headers)

    def crash(
        self, point: str, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> Answer | None:
        """Send a request in which the service dies at `point`, and return the answer if it came.

        When it returns, the service is back.
        """
        answer: Answer | None = None
        with self.dying(point), suppress(OSError, HTTPException):
            answer = self.ask(method, path, body, **headers)
        return answer

    @contextmanager
    def dying(self, point: str) -> Iterator[None]:
        """Have the service die at `point` in the block; when that ends, the service is back."""
        (worker,) = self.service.workers()
        self._order.write_text(point)
        yield
        deadline = time.monotonic() + MOST
        while self._order.exists() or _lives(worker):
            assert time.monotonic() < deadline, f"{point} was not reached"
            time.sleep(0.005)
        self.service.wait()

    def name(self) -> str:
        """Return a name that no other file has."""
        return f"{next(_NUMBERS)}.bin"

    def content(self, size: int) -> bytes:
        return content_of(size + next(_NUMBERS))

    def keep(self, told: dict[str, Any], content: bytes) -> None:
        """Remember a file that was acknowledged, and hold it against what was sent."""
        sha256 = hashlib.sha256(content).hexdigest()
        assert told["size"] == len(content)
        assert told["sha256"] in (sha256, None)
        self._files[told["url"]] = sha256

    def lose(self, url: str) -> None:
        """Remember that a delete was acknowledged, or has taken effect."""
        del self._files[url]
        self._gone.add(url)

    def release(self) -> None:
        """Let the leases of the killed process end, as they do by themselves in some seconds."""
        with database_of(self.app).write() as session:
            session.execute(update(Upload).values(lock_until=now()))
            session.execute(delete(Lease))

    def require_sound(self) -> None:
        """See that all is there, collect, and see that nothing else is."""
        for url, sha256 in self._files.items():
            answer = self.ask("GET", url)
            assert (answer.status, hashlib.sha256(answer.body).hexdigest()) == (200, sha256)
        for url in self._gone:
            assert self.ask("GET", url).status == 404
        with database_of(self.app).write() as session:
            session.execute(update(Upload).values(expires_at=now(), lock_until=now()))
        collect(self.app, grace=timedelta(seconds=-5), force=True)
        with database_of(self.app).read() as session:
            backends = list(session.scalars(select(File.backend)))
        for backend in parts(self.app).storages:
            assert check(self.app, backend, verify=True).findings == []
        mine = parts(self.app).settings.storage_backend
        assert len(stored(self.app)) == backends.count(mine)
        assert self.service.listing()["total"] == len(backends)
        assert self.service.temporary() == []


@contextmanager
def staged(folder: Path, nursery: Nursery, deployment: Deployment) -> Iterator[Stage]:
    """Run a service that can crash."""
    order = folder / "crash-at"
    variables = {"DURABILITY": "fsync", **deployment.variables}
    here = {"WEB_CONCURRENCY": "1", VARIABLE: f"@{order}", **variables}
    with nursery.running(folder, ENTRY, **here) as service:
        settings = {"AUTH_MODE": "open", "DATA_DIR": str(service.data)}
        app = create_app(load_settings(settings | variables))
        try:
            yield Stage(service, app, order)
        finally:
            parts(app).loop.close()
            parts(app).keys.close()
            for storage in parts(app).storages.values():
                storage.close()
            with app.app_context():
                db.engine.dispose()


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
