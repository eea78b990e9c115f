"""A database that the first version made, with rows of every kind, works once this one has started.

The rows are written as that version wrote them: the states of unfinished uploads in them too.
"""

import base64
import hashlib
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_migrate import Migrate, upgrade
from sqlalchemy import Engine, MetaData, insert, inspect, text

from app import Holdall
from models import Base, db
from services.database import engine_options, prepare_engine
from services.filenames import folded
from services.fsck_findings import Kind as Wrong
from services.gc_items import Kind
from services.ietf import Version
from services.sha256 import ResumableSha256
from storage.capabilities import State
from storage.keys import new_key, random_name
from storage.local import LocalStorage
from tests.conftest import SECRET, MakeApp
from tests.http.test_drafts import append
from tests.http.test_tus import VERSION, head, patch
from tests.services.checking import check
from tests.services.collecting import collect, kinds
from tests.services.uploading import database_of
from tests.storage.material import content_of, put
from tests.support.keyed import holder
from tests.support.servers import PostgresServer
from wiring.ground import MIGRATIONS

KEY = "holdall_" + "k" * 43
OWNER, PHOTOS = "o" * 26, "photos"
SMALL, LARGE = 3000, 300_000
WHOLE = content_of(400_000)
TEXT = {"content_type": "text/plain", "family": "text", "declared_type": "text/plain"}


class First:
    """A service of the first version: its database with every table filled, and its files."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.contents: dict[str, bytes] = {}
        self.uploads: dict[str, str] = {}
        folder.mkdir()
        self.store = LocalStorage(folder / "uploads", durable=False)
        app = Flask("first")
        app.config["SQLALCHEMY_DATABASE_URI"] = url
        app.config["SQLALCHEMY_ENGINE_OPTIONS"] = engine_options(url)
        db.init_app(app)
        Migrate(app, db, directory=str(MIGRATIONS))
        with app.app_context(), closing(self.store):
            prepare_engine(db.engine, durable=False)
            upgrade(revision="0001")
            try:
                self._fill(db.engine)
            finally:
                db.engine.dispose()

    def _fill(self, engine: Engine) -> None:
        self._engine = engine
        self._tables = MetaData()
        self._tables.reflect(engine, only=lambda name, _: not name.startswith("file_search"))
        self._add_policies()
        for number, owner in ((1, None), (2, OWNER), (3, OWNER)):
            self._add_file(f"Notes {number}.txt", b"note %d" % number * 100, owner=owner)
        self._add_file("waiting.txt", b"waits", state="pending")
        self._add_file("gone.txt", b"gone", deleted_at=self._moment(0))
        self._add_file("over.txt", b"over", expires_at=self._moment(-1))
        self._add_upload("tus", LARGE)
        self._add_upload("ietf", LARGE)
        self._add_upload("sniffing", SMALL, protocol="tus")
        self._add_upload("ended", len(WHOLE), protocol="tus", state="finishing")
        self._add_upload("late", SMALL, protocol="tus", expires_at=self._moment(-1))
        totals = {None: (1, 600), OWNER: (2, 1200)}
        for owner, (files, size) in totals.items():
            counted = {"collection": "default", "owner": owner or "", "files": files, "bytes": size}
            self._insert("counters", **counted, reserved_files=1, reserved_bytes=5)

    def _add_policies(self) -> None:
        dates = {"created_at": self._moment(-9), "updated_at": self._moment(-9)}
        limits = {"max_files": 10, "max_bytes": 10**9, "allowed_types": ["image/*"]}
        policy = {"visibility": "private", "on_mismatch": "record", "delivery": "proxy"}
        self._insert("collections", name=PHOTOS, cache_max_age=60, **policy, **limits, **dates)
        self._insert(
            "api_keys",
            id=OWNER,
            name="first",
            hash=hashlib.sha256(KEY.encode()).digest(),
            hint="holdall_kkkk…kkkk",
            scopes=["admin", "delete", "read", "write"],
            created_at=self._moment(-9),
        )
        soon = self._moment(1)
        self._insert("leases", name="sweep", holder="h" * 26, expires_at=soon)
        answered = {"owner": "", "key": "again", "request": "r", "file_ids": ["f" * 26]}
        self._insert("idempotency_keys", **answered, expires_at=soon)

    def _add_file(self, name: str, content: bytes, **changes: Any) -> None:
        key, file_id = new_key(), random_name()
        put(self.store, key, content)
        sha256 = hashlib.sha256(content).hexdigest()
        dates = {"created_at": self._moment(0), "updated_at": self._moment(0)}
        row: dict[str, Any] = {
            "id": file_id,
            "collection": "default",
            "visibility": "public",
            "state": "ready",
        }
        row |= {"backend": "local", "key": key, "filename": name, "folded": folded(name)}
        row |= {"size": len(content), "etag": sha256, "sha256": sha256, "metadata": {"a": "ü"}}
        self._insert("files", **row | TEXT | dates | changes)
        if not changes or "owner" in changes:
            self.contents[file_id] = content

    def _add_upload(self, name: str, offset: int, **changes: Any) -> None:
        """Add an upload of WHOLE that has come as far as `offset`; its first bytes are kept in the
        row until the type is decided.
        """
        key, upload_id = new_key(), random_name()
        sent, decided = WHOLE[:offset], offset > SMALL
        stored, sha256 = sent if decided else b"", ResumableSha256()
        sha256.update(stored)
        intake = {
            "version": 1,
            "file_id": random_name(),
            "key": key,
            "filename": f"{name}.bin",
            "declared_type": None,
            "declared_size": len(WHOLE),
            "collection": "default",
            "owner": OWNER,
            "received": offset,
            "head": "" if decided else base64.b64encode(sent).decode(),
            "content_type": "application/octet-stream" if decided else None,
        }
        row: dict[str, Any] = {
            "id": upload_id,
            "protocol": name,
            "state": "open",
            "collection": "default",
        }
        row |= {"owner": OWNER, "filename": f"{name}.bin", "metadata": {}, "backend": "local"}
        row |= {"key": key, "length": len(WHOLE), "offset": offset, "reserved_bytes": 0}
        row |= {"ingest_state": {"intake": intake, "sha256": sha256.state()}}
        row |= {"storage_state": self._sent(key, stored)}
        row |= {"protocol_state": {"role": "whole"}, "expires_at": self._moment(1)}
        row |= {"created_at": self._moment(0), "updated_at": self._moment(0)}
        self._insert("uploads", **row | changes)
        self.uploads[name] = f"/api/tus/{upload_id}"

    def _sent(self, key: str, sent: bytes) -> State:
        """Store the first bytes of an unfinished object, and return the state as it was kept."""
        state = {"size": 0, "complete": False}
        if sent:
            with self.store.append(key, state, 0) as appender:
                appender.write(sent)
                appender.keep()
        return {"size": len(sent), "complete": len(sent) == len(WHOLE)}

    def _insert(self, table: str, **values: Any) -> None:
        with self._engine.begin() as connection:
            connection.execute(insert(self._tables.tables[table]).values(values))

    def _moment(self, days: int) -> datetime:
        moment = datetime.now(UTC) + timedelta(days=days)
        return moment.replace(tzinfo=None) if self._engine.dialect.name == "sqlite" else moment


@pytest.fixture(params=("sqlite", "postgresql"))
def first(request: pytest.FixtureRequest, tmp_path: Path) -> First:
    if request.param == "sqlite":
        return First(tmp_path / "data", f"sqlite:///{tmp_path}/data/app.db")
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return First(tmp_path / "data", server.fresh_database())


@pytest.fixture
def app(first: First, app_with: MakeApp) -> Iterator[Holdall]:
    """This version, started on what the first one left."""
    where = {"DATA_DIR": str(first.folder), "DATABASE_URL": first.url}
    yield app_with(AUTH_MODE="keys", SECRET_KEY=SECRET, **where)


def test_a_database_of_the_first_version_goes_on_with_every_row(first: First, app: Holdall) -> None:
    client = holder(app, KEY)
    listing = client.get("/api/files").get_json()
    assert {item["id"] for item in listing["items"]} == {*first.contents}
    assert listing["total"] == 3
    found = client.get("/api/files?q=notes 2").get_json()["items"]
    assert [item["filename"] for item in found] == ["Notes 2.txt"]
    for item in listing["items"]:
        assert client.get(item["url"]).data == first.contents[item["id"]]
        assert item["metadata"] == {"a": "ü"}
    policy = client.get(f"/api/collections/{PHOTOS}").get_json()
    assert (policy["on_mismatch"], policy["visibility"]) == ("correct", "private")
    assert client.delete(f"/api/files/{found[0]['id']}").status_code == 204
    assert client.get("/api/files").get_json()["total"] == 2

    for name, offset in (("tus", LARGE), ("sniffing", SMALL)):
        path = first.uploads[name]
        assert head(client, path).headers["Upload-Offset"] == str(offset)
        assert patch(client, path, offset, WHOLE[offset:]).status_code == 204
    rest, path = WHOLE[LARGE:], first.uploads["ietf"]
    assert append(client, Version.V8, path, LARGE, rest, complete=True).status_code < 300
    for name in ("tus", "sniffing", "ietf", "ended"):
        told = head(client, first.uploads[name])
        file = client.get(f"/api/files/{told.headers['Upload-File-Id']}").get_json()
        assert file["sha256"] == hashlib.sha256(WHOLE).hexdigest()
        assert client.get(file["url"]).data == WHOLE
    assert client.head(first.uploads["late"], headers=VERSION).status_code == 410
    assert client.get("/api/files").get_json()["total"] == 6
    assert client.get("/api/usage").get_json() is not None

    left = kinds(collect(app))
    assert (left[Kind.PENDING], left[Kind.FILE], left[Kind.UPLOAD]) == (1, 1, 1)
    assert {finding.kind for finding in check(app).findings} <= {Wrong.ORPHAN}


def test_an_upgraded_schema_is_the_one_of_a_fresh_start(
    first: First, app: Holdall, app_with: MakeApp, request: pytest.FixtureRequest
) -> None:
    where = {}
    if not first.url.startswith("sqlite"):
        server: PostgresServer = request.getfixturevalue("postgres_server")
        where["DATABASE_URL"] = server.fresh_database()
    assert shape_of(app) == shape_of(app_with(**where))


def shape_of(app: Holdall) -> dict[str, Any]:
    """Return the version, and each table's columns and indexes."""
    engine = database_of(app).engine
    looked = inspect(engine)
    with engine.connect() as connection:
        shape: dict[str, Any] = {
            "version": connection.scalar(text("SELECT version_num FROM alembic_version"))
        }
    for table in Base.metadata.tables:
        columns = {(each["name"], str(each["type"])) for each in looked.get_columns(table)}
        indexes = {(each["name"], *each["column_names"]) for each in looked.get_indexes(table)}
        shape[table] = (columns, indexes)
    return shape
