"""Two instances of the service that share their data: local disk and SQLite, or S3 and PostgreSQL.

The first has two workers. Tests that need no second one use the first.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.clients.gate import Gate
from tests.conftest import s3_variables
from tests.support.processes import free_ports
from tests.support.servers import PostgresServer
from tests.support.service import Service

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


def variables_of(request: pytest.FixtureRequest, deployment: str) -> dict[str, str]:
    """Return the variables of a deployment with data of its own."""
    if deployment == "local":
        return {}
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return s3_variables(request) | {"DATABASE_URL": server.fresh_database()}


@pytest.fixture(scope="session", params=DEPLOYMENTS)
def instances(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    """Two instances on one DATA_DIR and SQLite, or on one bucket and PostgreSQL."""
    folder = tmp_path_factory.mktemp("pair")
    variables = variables_of(request, request.param)
    shared = request.param == "local"
    with ExitStack() as stack:
        started = [
            _start(
                stack,
                folder / ("data" if shared else f"data-{workers}"),
                variables | {"WEB_CONCURRENCY": workers},
            )
            for workers in ("2", "1")
        ]
        yield Pair(*started)


@pytest.fixture
def pair(instances: Pair) -> Iterator[Pair]:
    """Two instances on the same data, of which a test may kill any."""
    instances.revive()
    yield instances


@pytest.fixture
def service(pair: Pair) -> Service:
    """The first of them."""
    return pair.first


@pytest.fixture
def gate(service: Service) -> Iterator[Gate]:
    """The way to the service that a test can break off."""
    with Gate(service.port) as gate:
        yield gate


def _start(stack: ExitStack, data: Path, variables: dict[str, str]) -> Service:
    (port,) = free_ports(1)
    service = Service(port, data, variables, data.with_suffix(f".{port}.log"))
    stack.callback(service.stop)
    service.start()
    return service
