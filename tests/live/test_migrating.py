"""A migration is killed three times while clients upload, read and delete: nobody notices.

HOLDALL_TEST_MOVED=1000 does it with as many files, on each database, and there and back again; 100
files on SQLite unless given.
"""

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from storage import open_storage
from storage.base import Storage
from tests.services.moving import s3_variables
from tests.storage.material import content_of
from tests.support.servers import PostgresServer, S3Server
from tests.support.service import ROOT, Service, running

LONG = "HOLDALL_TEST_MOVED" in os.environ
FILES = int(os.environ.get("HOLDALL_TEST_MOVED", "60"))
DATABASES = ("sqlite", "postgresql") if LONG else ("sqlite",)
KILLS = 3
WORKERS = 4
CLIENTS = 3
PAUSE = 0.0 if LONG else 0.2
"""Seconds that a client waits between its rounds, so that the short test is light."""
PATIENCE = 300.0


@dataclass
class Clients:
    """Threads that use the service.

    `kept` are contents by URL, of files that none of them deletes. `spare` are ids of files that
    they may delete, and `spare_keys` the keys of these.
    """

    service: Service
    kept: dict[str, bytes]
    spare: list[str]
    spare_keys: set[str]
    wrong: list[str] = field(default_factory=list)
    reads: int = 0
    over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        self.over.clear()
        threads = [threading.Thread(target=self._work, args=(n,)) for n in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.over.set()
            for thread in threads:
                thread.join(PATIENCE)

    def _work(self, seed: int) -> None:
        dice = random.Random(seed)
        names = sorted(self.kept)
        while not self.over.wait(PAUSE):
            try:
                self._once(dice, names)
            except OSError as error:
                self.wrong.append(f"{type(error).__name__}: {error}")

    def _once(self, dice: random.Random, names: list[str]) -> None:
        for url in dice.sample(names, 5):
            self.expect(url, self.kept[url])
        content = content_of(dice.randrange(1, 200_000))
        made = self.service.request("PUT", "/api/upload/new.bin", content).json()
        self.expect(made["url"], content)
        gone = made["id"]
        if self.spare and dice.random() < 0.5:
            gone = self.spare.pop()
        answer = self.service.request("DELETE", f"/api/files/{gone}")
        if answer.status != 204:
            self.wrong.append(f"DELETE {gone}: {answer.status}")
        if gone != made["id"]:
            self.kept[made["url"]] = content

    def expect(self, url: str, content: bytes) -> None:
        answer = self.service.request("GET", url)
        self.reads += 1
        if (answer.status, answer.body) != (200, content):
            self.wrong.append(f"GET {url}: {answer.status}, {len(answer.body)} bytes")


@pytest.fixture(params=DATABASES)
def variables(request: pytest.FixtureRequest, s3_server: S3Server) -> dict[str, str]:
    """A service with local disk, a bucket, and a database."""
    chosen = s3_variables(s3_server, "s3")
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        return chosen | {"DATABASE_URL": server.fresh_database()}
    return chosen


def test_a_migration_killed_three_times_under_load_loses_nothing(
    variables: dict[str, str], tmp_path: Path
) -> None:
    with running(tmp_path, **variables) as service:
        clients = seeded(service)
    with running(tmp_path, **variables, STORAGE_BACKEND="s3") as service:
        clients.service = service
        with clients.at_work():
            for number in range(1, KILLS + 1):
                kill_when(service, number * FILES // 4)
            told = migrate(service, "--delete-source", "--linger", "1")
        assert clients.wrong == []
        assert told["summary"] == "moved"
        assert (told["failed"], told["left"]) == (0, 0)
        # Those in the workers' hands when they were killed, and those not switched yet.
        assert told["reused"] <= 3 * WORKERS + 200
        for url, content in clients.kept.items():
            clients.expect(url, content)
        assert clients.wrong == []
        print(f"{clients.reads} reads, {told}")
        require_no_difference(service, clients.spare_keys)
        if LONG:
            there_and_back(service, clients)


def there_and_back(service: Service, clients: Clients) -> None:
    with clients.at_work():
        for way in (("s3", "local"), ("local", "s3")):
            told = migrate(service, "--delete-source", "--linger", "1", way=way)
            assert told["summary"] == "moved"
    assert clients.wrong == []


def seeded(service: Service) -> Clients:
    """Upload the files, of which a tenth may be deleted by clients."""
    kept, spare = {}, []
    for number in range(FILES):
        content = content_of(1_000 + 17 * number)
        made = service.request("PUT", f"/api/upload/{number}.bin", content).json()
        if number % 10:
            kept[made["url"]] = content
        else:
            spare.append(made["id"])
    return Clients(service, kept, spare, keys_of(service, spare))


def command(service: Service, *words: str) -> list[str]:
    return [sys.executable, "-m", "flask", "--app", "app", *words]


def environment(service: Service) -> dict[str, str]:
    settings = {"AUTH_MODE": "open", "DATA_DIR": str(service.data), "DURABILITY": "os"}
    return {"PATH": os.environ["PATH"]} | settings | service.variables


def migrate(
    service: Service, *options: str, way: tuple[str, str] = ("local", "s3")
) -> dict[str, Any]:
    """Run a migration to its end, and return its summary."""
    words = command(service, *begin(way), *options)
    done = subprocess.run(
        words, env=environment(service), cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stdout + done.stderr
    summary: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return summary


def kill_when(service: Service, files: int) -> None:
    """Run a migration, and kill it as soon as so many files have moved."""
    deadline = time.monotonic() + PATIENCE
    words = command(service, *begin(("local", "s3")))
    with Popen(words, env=environment(service), cwd=ROOT, stdout=PIPE, stderr=PIPE) as process:
        try:
            while moved(service) < files:
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.01)
        finally:
            process.kill()


def begin(way: tuple[str, str]) -> list[str]:
    source, target = way
    ends = ["--from", source, "--to", target]
    return ["migrate-storage", *ends, "--workers", str(WORKERS), "--json"]


def moved(service: Service) -> int:
    return count(service, "backend = 's3' AND filename <> 'new.bin'")


def count(service: Service, condition: str) -> int:
    """Count the rows of files, as another process sees them."""
    ((number,),) = ask(service, f"SELECT count(*) FROM files WHERE {condition}")
    return int(number)


def keys_of(service: Service, ids: list[str]) -> set[str]:
    keys = dict(tuple(row) for row in ask(service, "SELECT id, key FROM files"))
    return {keys[file_id] for file_id in ids}


def ask(service: Service, query: str) -> list[Any]:
    url = service.variables.get("DATABASE_URL", f"sqlite:///{service.data}/app.db")
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return list(connection.execute(text(query)))
    finally:
        engine.dispose()


def require_no_difference(service: Service, deletable: set[str]) -> None:
    """Have fsck find nothing, and each object be a file's.

    Of a file that a client deleted after a run was killed and before the next one came to it, an
    original or a copy is left, for fsck to delete.
    """
    found = fsck(service, "--repair", "--force")
    assert {each["finding"] for each in found} <= {"orphan"}
    assert {each["key"] for each in found} <= deletable
    assert fsck(service, "--verify") == []
    storage = bucket(service)
    try:
        objects = [info.key for info in storage.scan()]
    finally:
        storage.close()
    assert len(objects) == count(service, "backend = 's3'") == count(service, "1 = 1")
    kept = {path for path in service.stored() if ".tmp" not in path.parts}
    assert kept == set()


def fsck(service: Service, *options: str) -> list[dict[str, Any]]:
    """Return what fsck finds."""
    words = command(service, "fsck", "--grace", "0", "--json", *options)
    done = subprocess.run(
        words, env=environment(service), cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE
    )
    *findings, summary = map(json.loads, done.stdout.splitlines())
    assert summary["summary"] in ("clean", "findings"), done.stdout + done.stderr
    return findings


def bucket(service: Service) -> Storage:
    return open_storage(
        service.variables["STORAGE_S3_URL"],
        scratch=service.data / "tmp",
        access_key_id=service.variables["STORAGE_S3_ACCESS_KEY_ID"],
        secret_access_key=service.variables["STORAGE_S3_SECRET_ACCESS_KEY"],
    )
