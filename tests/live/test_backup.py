"""A backup that is made while clients upload and delete is a service of its own, whole and clean.

The commands are those of docs/operating.md.
"""

import hashlib
import json
import os
import random
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient

from services.fsck_findings import Kind
from tests.conftest import MakeApp
from tests.live.test_migrating import command, environment
from tests.services.checking import check
from tests.storage.material import content_of
from tests.support.servers import PostgresServer
from tests.support.service import ROOT, Service, running

FILES = int(os.environ.get("HOLDALL_TEST_SAVED", "60"))


@dataclass
class Clients:
    """Threads that upload files and delete others.

    `kept` are the SHA-256 by URL of files that stay, `gone` the ids of deleted ones.
    """

    service: Service
    kept: dict[str, str] = field(default_factory=dict)
    spare: list[str] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def seed(self) -> None:
        for number in range(FILES):
            made = self.upload(2000 + number)
            if number % 3:
                self.kept[made["url"]] = made["sha256"]
            else:
                self.spare.append(made["id"])

    def upload(self, size: int) -> Any:
        return self.service.request("PUT", "/api/upload/a.bin", content_of(size)).json()

    def delete(self, file_id: str) -> None:
        self.gone.add(file_id)
        answer = self.service.request("DELETE", f"/api/files/{file_id}")
        if answer.status != 204:
            self.wrong.append(f"DELETE: {answer.status}")

    @contextmanager
    def at_work(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._work, args=(n,)) for n in range(2)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.over.set()
            for thread in threads:
                thread.join(60)
            self.over.clear()

    def _work(self, seed: int) -> None:
        dice = random.Random(seed)
        while not self.over.is_set():
            try:
                made = [self.upload(dice.randrange(1, 50_000)) for _ in range(2)]
                self.delete(made[0]["id"])
                if self.spare:
                    self.delete(self.spare.pop())
            except OSError as error:
                self.wrong.append(repr(error))


def backup(service: Service, folder: Path) -> dict[str, Any]:
    """Make a backup, and return what the command says of it."""
    done = subprocess.run(
        command(service, "backup", str(folder), "--json"),
        env=environment(service),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def require_whole(client: FlaskClient, kept: dict[str, str]) -> None:
    for url, sha256 in kept.items():
        assert hashlib.sha256(client.get(url).data).hexdigest() == sha256


def test_a_backup_made_under_load_is_a_service_of_its_own_without_a_flaw(
    tmp_path: Path, app_with: MakeApp
) -> None:
    folder = tmp_path / "backup"
    with running(tmp_path) as service:
        clients = Clients(service)
        clients.seed()
        with clients.at_work():
            first = backup(service, folder)
            kept, gone = dict(clients.kept), set(clients.gone)
            made = clients.upload(777)
            kept[made["url"]] = made["sha256"]
            url, _ = kept.popitem()
            clients.delete(url.split("/")[2])
            second = backup(service, folder)
        assert clients.wrong == []
    assert first["problems"] == second["problems"] == {}
    assert second["reused"] > FILES // 2
    (tmp_path / "elsewhere").mkdir()
    shutil.copytree(folder, tmp_path / "elsewhere" / "data")
    with running(tmp_path / "elsewhere", WEB_CONCURRENCY="1") as other:
        listing = other.request("GET", "/api/files?limit=500").json()
        assert listing["total"] == second["files"] >= len(kept)
        assert gone.isdisjoint(item["id"] for item in listing["items"])
        assert other.request("PUT", "/api/upload/new", b"goes on").status == 201
    app = app_with(DATA_DIR=str(other.data))
    require_whole(app.test_client(), kept)
    assert check(app, verify=True).findings == []


def test_files_then_pg_dump_then_files_leaves_at_most_rows_of_files_that_came_and_went(
    postgres_server: PostgresServer, tmp_path: Path, app_with: MakeApp
) -> None:
    url, folder = postgres_server.fresh_database(), tmp_path / "backup"
    dump = str(folder / "holdall.dump")
    folder.mkdir()
    with running(tmp_path, DATABASE_URL=url) as service:
        clients = Clients(service)
        clients.seed()
        kept = dict(clients.kept)
        with clients.at_work():
            copy_files(service, folder)
            tool("pg_dump", "--format=custom", f"--file={dump}", libpq(url))
            copy_files(service, folder)
        assert clients.wrong == []
    target = postgres_server.fresh_database()
    tool("pg_restore", "--no-owner", f"--dbname={libpq(target)}", dump)
    app = app_with(DATA_DIR=str(folder), DATABASE_URL=target)
    require_whole(app.test_client(), kept)
    found = check(app, repair=True, force=True).findings
    missing = [each.file for each in found if each.kind is Kind.MISSING]
    assert {each.kind for each in found} <= {Kind.ORPHAN, Kind.MISSING}
    assert {*missing} <= clients.gone
    for file_id in missing:
        assert app.test_client().delete(f"/api/files/{file_id}").status_code == 204
    assert check(app, verify=True).findings == []
    require_whole(app.test_client(), kept)


def libpq(url: str) -> str:
    return url.replace("postgresql+psycopg://", "postgresql://")


def copy_files(service: Service, folder: Path) -> None:
    """Copy what is new; of what is deleted meanwhile, cp says that it was not there."""
    words = ["cp", "-au", str(service.data / "uploads"), str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert all("No such file" in line for line in done.stderr.splitlines()), done.stderr


def tool(name: str, *words: str) -> None:
    """Run a program of the PostgreSQL that the tests have."""
    found = find_spec("pgserver")
    assert found is not None and found.origin is not None
    program = Path(found.origin).parent / "pginstall" / "bin" / name
    done = subprocess.run([str(program), *words], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
