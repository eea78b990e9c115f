"""A running service, and the command line client as its users run it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SECRET
from tests.support.service import ROOT, Service, running


@dataclass
class Client:
    """The command `holdall` of a user whose home is `home`."""

    home: Path
    url: str
    key: str = ""

    def environment(self) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in ("PATH",) if name in os.environ}
        given = {"HOLDALL_URL": self.url, "HOLDALL_KEY": self.key} if self.url else {}
        return (
            inherited
            | given
            | {
                "HOME": str(self.home),
                "XDG_CONFIG_HOME": str(self.home / "config"),
                "PYTHONPATH": str(ROOT),
            }
        )

    def run(self, *words: str, given: bytes = b"") -> "Outcome":
        command = [sys.executable, "-m", "holdall_client", *words]
        done = subprocess.run(
            command,
            input=given,
            capture_output=True,
            env=self.environment(),
            cwd=self.home,
            timeout=120,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr.decode())

    def json(self, *words: str) -> Any:
        """Run a command that is to go well and return the document that it prints."""
        outcome = self.run(*words, "--json")
        assert outcome.status == 0, outcome
        return json.loads(outcome.out)


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    status: int
    out: bytes
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.decode().splitlines()


@pytest.fixture(scope="session")
def open_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Holdall under gunicorn, open to all."""
    with running(tmp_path_factory.mktemp("open"), WEB_CONCURRENCY="1") as started:
        yield started


@pytest.fixture(scope="session")
def keyed_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Holdall under gunicorn, for holders of keys."""
    variables = {"AUTH_MODE": "keys", "SECRET_KEY": SECRET, "WEB_CONCURRENCY": "1"}
    with running(tmp_path_factory.mktemp("keyed"), **variables) as started:
        yield started


@pytest.fixture
def client(open_service: Service, tmp_path: Path) -> Client:
    return Client(tmp_path, open_service.url)


def new_key(service: Service, *scopes: str) -> str:
    """Make a key as an operator does."""
    environment = os.environ | {
        "AUTH_MODE": "keys",
        "SECRET_KEY": SECRET,
        "DATA_DIR": str(service.data),
    }
    words = ["keys", "create", "--name", "test", "--scopes", ",".join(scopes)]
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "app", *words],
        capture_output=True,
        env=environment,
        cwd=ROOT,
        check=True,
    )
    return done.stdout.decode().strip()
