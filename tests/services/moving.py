"""What the tests of migrations share: two stores of an application, and a migration between them.

It knows the services and the stores behind them.
"""

from contextlib import closing
from typing import Any
from uuid import uuid4

from sqlalchemy import select

from app import Holdall
from models import File
from services.migration import Migration
from services.migration_figures import Failure, Options, Tally
from storage.base import Storage
from tests.conftest import parts
from tests.services.uploading import database_of
from tests.support.servers import S3Server

OLD, NEW = "old", "new"


def s3_variables(server: S3Server, name: str) -> dict[str, str]:
    """Return the variables of a backend in a bucket of its own."""
    bucket = f"move-{uuid4().hex[:12]}"
    server.make_bucket(bucket)
    url = server.url(bucket, part_size=5 * 1024**2)
    return {
        f"STORAGE_{name.upper()}_URL": url,
        f"STORAGE_{name.upper()}_ACCESS_KEY_ID": server.access_key_id,
        f"STORAGE_{name.upper()}_SECRET_ACCESS_KEY": server.secret_access_key,
    }


def old_of(app: Holdall) -> Storage:
    return parts(app).storages[OLD]


def new_of(app: Holdall) -> Storage:
    return parts(app).storages[NEW]


def keys_of(storage: Storage) -> list[str]:
    return [info.key for info in storage.scan()]


def row_of(app: Holdall, file_id: str) -> File:
    with database_of(app).read() as session:
        return session.scalars(select(File).where(File.id == file_id)).one()


def migration(app: Holdall, source: str = OLD, target: str = NEW, **options: Any) -> Migration:
    given: dict[str, Any] = {
        "source": source,
        "target": target,
        "workers": 3,
        "linger": 0.0,
    } | options
    return Migration(database_of(app), parts(app).storages, Options(**given))


def move(app: Holdall, *way: str, **options: Any) -> tuple[Tally, list[Failure]]:
    """Move all files, and return what was counted and what failed."""
    moving = migration(app, *way, **options)
    with closing(moving.run()) as failures:
        return moving.tally, list(failures)
