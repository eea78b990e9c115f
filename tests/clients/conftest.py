"""Running services for the clients: one with two workers, and two instances that share their data.

Each stands on local disk with SQLite, and on S3 with PostgreSQL.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.clients.gate import Gate
from tests.conftest import s3_variables
from tests.support.processes import free_ports
from tests.support.servers import PostgresServer
from tests.support.service import Service, running

DEPLOYMENTS = ("local", "s3")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two instances of the service, each with processes of its own, on the same data."""

    first: Service
    second: Service

    def revive(self) -> None:
        """Start again what a test has killed."""
        for service in (self.first, self.second):
            if service.child is None:
                service.start()


def kill(service: Service) -> None:
    """End every process of an instance at once, as a power cut would."""
    for process in reversed(service.processes()):
        process.kill()
    assert service.child is not None
    service.child.kill()
    service.child = None


def kill_worker(service: Service) -> psutil.Process:
    """End the only worker of an instance at once; its master starts another."""
    (worker,) = service.workers()
    worker.kill()
    return worker


def variables_of(request: pytest.FixtureRequest, deployment: str) -> dict[str, str]:
    """Return the variables of a deployment with data of its own."""
    if deployment == "local":
        return {}
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return s3_variables(request) | {"DATABASE_URL": server.fresh_database()}


@pytest.fixture(scope="module", params=DEPLOYMENTS)
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """Holdall under gunicorn with two workers, on each deployment."""
    variables = variables_of(request, request.param)
    with running(tmp_path_factory.mktemp("clients"), **variables) as started:
        yield started


@pytest.fixture
def gate(service: Service) -> Iterator[Gate]:
    """The way to the service that a test can break off."""
    with Gate(service.port) as gate:
        yield gate


@pytest.fixture(scope="module", params=DEPLOYMENTS)
def instances(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    """Two instances on one DATA_DIR and SQLite, or on one bucket and PostgreSQL."""
    folder = tmp_path_factory.mktemp("pair")
    variables = {"WEB_CONCURRENCY": "1"} | variables_of(request, request.param)
    shared = request.param == "local"
    with ExitStack() as stack:
        started = [
            _start(stack, folder, folder / ("data" if shared else f"data{number}"), variables)
            for number in range(2)
        ]
        yield Pair(*started)


@pytest.fixture
def pair(instances: Pair) -> Iterator[Pair]:
    """Two instances on the same data, of which a test may kill any."""
    instances.revive()
    yield instances


def _start(stack: ExitStack, folder: Path, data: Path, variables: dict[str, str]) -> Service:
    (port,) = free_ports(1)
    service = Service(port, data, variables, folder / f"{port}.log")
    stack.callback(service.stop)
    service.start()
    return service
