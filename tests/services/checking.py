"""What the tests of fsck share: a check of an application's backend, and damage to do to it.

It knows the services and the stores behind them.
"""

from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, update

from app import Holdall
from models import File, now
from services.fsck import Fsck, Options
from services.fsck_findings import Finding, Kind, Tally
from storage.errors import StorageUnavailable
from storage.keys import new_key, random_name
from tests.conftest import parts
from tests.services.uploading import database_of, storage_of
from tests.storage.material import put as put_object

AT_ONCE: dict[str, Any] = {"grace": timedelta(0), "patience": timedelta(0)}
"""Every object counts as old, and the second look comes at once."""


@dataclass
class Checked:
    """What a check found and counted."""

    findings: list[Finding] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)

    def kinds(self) -> list[tuple[Kind, str]]:
        return sorted((finding.kind, finding.key) for finding in self.findings)


def backend_of(app: Holdall) -> str:
    return parts(app).settings.storage_backend


def check(app: Holdall, backend: str | None = None, **options: Any) -> Checked:
    """Check one backend, that of new files unless named."""
    checked = Checked()
    fsck = Fsck(database_of(app), parts(app).storages, Options(**AT_ONCE | options))
    with closing(fsck.check(backend or backend_of(app), checked.tally)) as findings:
        checked.findings.extend(findings)
    return checked


def file(app: Holdall, content: bytes = b"text", **changes: Any) -> tuple[str, str]:
    """Upload a file, change its row behind its back, and return its id and key."""
    # The client of the tests leaves the length of an empty body out.
    length = {"CONTENT_LENGTH": str(len(content))}
    answer = app.test_client().put("/api/upload/a.txt", data=content, environ_overrides=length)
    file_id = answer.get_json()["id"]
    with database_of(app).write() as session:
        if changes:
            session.execute(update(File).where(File.id == file_id).values(changes))
        key = session.scalars(select(File.key).where(File.id == file_id)).one()
    return file_id, key


def row(app: Holdall, key: str, **changes: Any) -> str:
    """Add a row for an object that may not be there, and return its id."""
    values = {
        "id": random_name(),
        "collection": "default",
        "visibility": "public",
        "state": "ready",
        "backend": backend_of(app),
        "key": key,
        "filename": "a.txt",
        "folded": "a.txt",
        "content_type": "text/plain",
        "family": "text",
        "size": 4,
        "etag": "a",
        "annotations": {},
        "created_at": now(),
        "updated_at": now(),
    }
    with database_of(app).write() as session:
        session.execute(insert(File).values(values | changes))
        return str(session.scalars(select(File.id).where(File.key == key)).first())


def keep(app: Holdall, content: bytes = b"text", key: str | None = None) -> str:
    """Store an object that no row names, and return its key."""
    key = key or new_key()
    put_object(storage_of(app), key, content)
    return key


def is_stored(app: Holdall, key: str) -> bool:
    return key in {info.key for info in storage_of(app).scan(key)}


def rows_of(app: Holdall) -> list[Any]:
    with database_of(app).read() as session:
        return list(session.execute(select(File.id, File.key, File.sha256).order_by(File.number)))


def row_of(app: Holdall, file_id: str) -> File:
    with database_of(app).read() as session:
        return session.scalars(select(File).where(File.id == file_id)).one()


def fails(monkeypatch: pytest.MonkeyPatch, app: Holdall, name: str) -> None:
    """Let a method of the store fail from now on."""

    def fail(*_: object, **__: object) -> None:
        raise StorageUnavailable("it is down")

    monkeypatch.setattr(storage_of(app), name, fail)
