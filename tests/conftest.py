"""Fixtures that every layer of the tests shares: real servers, and applications on them.

`deployment` stands for each pair of a storage and a database that the service runs on; a test
that takes `client` runs on each. `app_with` makes an application with settings of the test's own.
"""

import gc
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import Holdall, create_app
from config import load_settings
from models import db
from tests.support.databases import Databases
from tests.support.fronted import require_alike
from tests.support.preloaded import Nursery, preloaded
from tests.support.servers import PostgresServer, S3Server, postgres, seaweedfs
from views.current import EXTENSION, Services

MakeApp = Callable[..., Holdall]
SECRET = "0f" * 8 + "7c" * 8 + "e41d9ab2"
DEPLOYMENTS = ("local-sqlite", "local-postgresql", "s3-sqlite", "s3-postgresql")
CROSSED = ("test_uploads.py", "test_tus.py", "test_fsck.py")
"""Modules whose tests run on each pair of a storage and a database."""


class Client(FlaskClient):
    """A client that reads every answer to its end, as gunicorn does, so that files are closed.

    What it downloads in the main thread is asked for once more as the worker's event loop answers
    it, unless it `asks_once`; `answered_at_once` counts how often the loop had that answer.
    """

    asks_once = False
    answered_at_once = 0

    def open(self, *arguments: Any, **options: Any) -> TestResponse:
        response = super().open(*arguments, **{"buffered": True} | options)
        asked = response.request
        is_replayed = (
            asked.path.startswith("/uploads/")
            and asked.method in ("GET", "HEAD")
            and response.status_code < 500
            and threading.current_thread() is threading.main_thread()
        )
        if is_replayed and not self.asks_once:
            self.answered_at_once += require_alike(self.application, response)
        return response


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server."""
    with seaweedfs(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A real PostgreSQL."""
    with postgres(tmp_path_factory.mktemp("pg")) as server:
        yield server


@pytest.fixture(scope="session")
def upgraded_database(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The name of a database with our tables, for others to be made like it, which is quick."""
    url = postgres_server.fresh_database("upgraded")
    folder = str(tmp_path_factory.mktemp("upgraded"))
    settings = {"AUTH_MODE": "open", "DATA_DIR": folder, "DATABASE_URL": url}
    with create_app(load_settings(settings)).app_context():
        db.engine.dispose()
    return "upgraded"


@pytest.fixture(scope="session")
def databases(postgres_server: PostgresServer, upgraded_database: str) -> Databases:
    """Databases with our tables, for one test after the other."""
    return Databases(postgres_server, upgraded_database)


def lent_database(request: pytest.FixtureRequest) -> str:
    """Return the URL of a database with our tables that is the fixture's while it lasts."""
    databases: Databases = request.getfixturevalue("databases")
    url = databases.lend()
    request.addfinalizer(lambda: databases.give_back(url))
    return url


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    """What starts services quickly, for tests that kill them."""
    with preloaded(tmp_path_factory.mktemp("nursery")) as started:
        yield started


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--every-deployment",
        action="store_true",
        help="run every test that hangs on a storage and a database on all pairs of them",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out spare tests, and crossed pairs but for the modules in CROSSED, unless every
    deployment is wanted.

    No code knows a store and a database at once, so that each is met on two pairs as on four.
    """
    if config.getoption("--every-deployment"):
        return
    out = [item for item in items if _is_crossed(item) or item.get_closest_marker("spare")]
    config.hook.pytest_deselected(items=out)
    items[:] = [item for item in items if item not in out]


def _is_crossed(item: pytest.Item) -> bool:
    given = getattr(item, "callspec", None)
    deployment = given.params.get("deployment") if given else None
    return deployment in ("local-postgresql", "s3-sqlite") and item.path.name not in CROSSED


@dataclass(frozen=True, slots=True)
class Deployment:
    """One way to run the service: the variables that choose a storage and a database."""

    name: str
    variables: dict[str, str]


@pytest.fixture(params=DEPLOYMENTS)
def deployment(request: pytest.FixtureRequest) -> Deployment:
    """Each storage with each database."""
    return deployment_of(request)


def deployment_of(request: pytest.FixtureRequest) -> Deployment:
    """Return the deployment that a fixture's parameter names, with a database of its own."""
    storage, database = str(request.param).split("-")
    variables = s3_variables(request) if storage == "s3" else {}
    if database == "postgresql":
        variables["DATABASE_URL"] = lent_database(request)
    return Deployment(request.param, variables)


def s3_variables(request: pytest.FixtureRequest) -> dict[str, str]:
    """Return the variables that put new files into a bucket of their own."""
    server: S3Server = request.getfixturevalue("s3_server")
    bucket = f"test-{uuid4().hex[:12]}"
    server.make_bucket(bucket)
    url = server.url(bucket, part_size=5 * 1024**2)
    return {
        "STORAGE_BACKEND": "s3",
        "STORAGE_S3_URL": url,
        "STORAGE_S3_ACCESS_KEY_ID": server.access_key_id,
        "STORAGE_S3_SECRET_ACCESS_KEY": server.secret_access_key,
    }


@pytest.fixture(scope="session")
def upgraded_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with our tables, to be copied, which takes half as long as to make one."""
    folder = tmp_path_factory.mktemp("sqlite")
    settings = {"AUTH_MODE": "open", "DATA_DIR": str(folder), "DURABILITY": "os"}
    with create_app(load_settings(settings)).app_context():
        db.engine.dispose()
    return folder / "app.db"


@pytest.fixture
def app_with(tmp_path: Path, upgraded_sqlite: Path) -> Iterator[MakeApp]:
    """Make applications in `open` mode with the variables given; they are taken down at the end."""
    made: list[Holdall] = []

    def make(**variables: str) -> Holdall:
        defaults = {
            "AUTH_MODE": "open",
            "DATA_DIR": str(tmp_path / f"data{len(made)}"),
            "DURABILITY": "os",
        }
        settings = load_settings(defaults | variables)
        if "DATABASE_URL" not in variables and not (settings.data_dir / "app.db").exists():
            settings.data_dir.mkdir(parents=True, exist_ok=True)
            shutil.copy(upgraded_sqlite, settings.data_dir / "app.db")
        app = create_app(settings)
        app.config["TESTING"] = True
        app.test_client_class = Client
        made.append(app)
        backend = parts(app).settings.backends[parts(app).settings.storage_backend]
        if not backend.url.startswith("s3:") or "create_bucket" in backend.url:
            parts(app).storages[backend.name].check()
        return app

    yield make
    for app in made:
        parts(app).loop.close()
        parts(app).keys.close()
        parts(app).thumbnails.close()
        for storage in parts(app).storages.values():
            storage.close()
        with app.app_context():
            db.engine.dispose()


@pytest.fixture
def app(app_with: MakeApp, deployment: Deployment) -> Holdall:
    """The application on each deployment, in `open` mode."""
    return app_with(**deployment.variables)


@pytest.fixture
def client(app: Holdall) -> FlaskClient:
    """A client of the application on each deployment."""
    return app.test_client()


@pytest.fixture
def local_app(app_with: MakeApp) -> Holdall:
    """The application on local disk and SQLite, for what does not hang on either."""
    return app_with()


@pytest.fixture
def local_client(local_app: Holdall) -> FlaskClient:
    """A client of the application on local disk and SQLite."""
    return local_app.test_client()


def parts(app: Holdall) -> Services:
    """Return the services of an application."""
    services: Services = app.extensions[EXTENSION]
    return services


def objects(app: Holdall) -> list[str]:
    """Return the keys of everything in the storage that new files go to."""
    storage = parts(app).storages[parts(app).settings.storage_backend]
    return [info.key for info in storage.scan()]


def pytest_collection_finish() -> None:
    """Keep what was loaded from the garbage collector, which would go through it every time."""
    gc.collect()
    gc.freeze()
