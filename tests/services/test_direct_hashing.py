"""The job that fills in the SHA-256 of files whose bytes never passed through the service."""

import hashlib

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text, update

from app import Holdall
from models import File
from services.hashing import Hashing
from services.leases import Leases
from storage.base import CHUNK_SIZE
from tests.conftest import MakeApp, parts
from tests.http.test_direct import Multipart, begin, content_of, send
from tests.http.test_uploads import PNG
from tests.services.uploading import database_of, storage_of


def published(client: FlaskClient, content: bytes = PNG) -> str:
    """Upload a file directly, and return its id."""
    begun = begin(client, content)
    send(client, begun, content)
    file_id: str = client.post(begun["confirm_url"]).get_json()["id"]
    return file_id


def sha256(client: FlaskClient, file_id: str) -> str | None:
    digest: str | None = client.get(f"/api/files/{file_id}").get_json()["sha256"]
    return digest


def hashing(app: Holdall) -> Hashing:
    return parts(app).hashing


def another(app: Holdall) -> Hashing:
    """Return the job of another instance."""
    return Hashing(database_of(app), parts(app).storages, interval=1)


def test_it_fills_in_what_is_missing_and_nothing_else(app: Holdall, client: FlaskClient) -> None:
    whole = content_of(3 * CHUNK_SIZE + 1)
    ids = {published(client): PNG, published(client, whole): whole, published(client, b""): b""}
    client.put("/api/upload/other.png", data=PNG)
    assert hashing(app).run() == 3
    for file_id, content in ids.items():
        assert sha256(client, file_id) == hashlib.sha256(content).hexdigest()
        served = client.get(f"/uploads/{file_id}")
        assert served.headers["ETag"] == f'"{file_id}"'
        assert served.headers["Repr-Digest"].startswith("sha-256=:")
    assert hashing(app).run() == 0


def test_one_instance_at_a_time_hashes(local_app: Holdall) -> None:
    client = local_app.test_client()
    file_id = published(client)
    assert Leases(database_of(local_app)).take("hash-files", seconds=60)
    assert hashing(local_app).run() == 0
    assert sha256(client, file_id) is None


def test_an_instance_that_lost_its_lease_stops(
    local_app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = local_app.test_client()
    file_ids = [published(client), published(client)]
    slow = another(local_app)
    monkeypatch.setattr("services.hashing._RENEW_EVERY", 0.0)
    takes = iter((True, True, False))
    monkeypatch.setattr(slow._leases, "take", lambda name, seconds: next(takes))
    assert slow.run() == 0 or sha256(client, file_ids[1]) is None
    assert hashing(local_app).run() >= 1
    assert None not in [sha256(client, file_id) for file_id in file_ids]


def test_a_file_that_cannot_be_read_does_not_keep_the_others(app: Holdall) -> None:
    client = app.test_client()
    lost, short, good = published(client), published(client), published(client)
    database = database_of(app)
    with database.write() as session:
        key = session.execute(
            update(File).where(File.id == lost).values(size=File.size).returning(File.key)
        ).scalar_one()
        session.execute(update(File).where(File.id == short).values(size=1))
    storage_of(app).delete(key)
    assert hashing(app).run() == 1
    assert [sha256(client, each) for each in (lost, short)] == [None, None]
    assert sha256(client, good) == hashlib.sha256(PNG).hexdigest()


def test_a_file_that_is_deleted_meanwhile_is_no_error(
    local_app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = local_app.test_client()
    file_id = published(client)
    job = hashing(local_app)
    read = job._read

    def delete_first(file: object) -> str:
        digest = read(file)  # type: ignore[arg-type]
        assert client.delete(f"/api/files/{file_id}").status_code == 204
        return digest

    monkeypatch.setattr(job, "_read", delete_first)
    assert job.run() == 0


def test_more_than_a_batch_is_hashed_in_one_run(
    local_app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.hashing._BATCH", 2)
    client = local_app.test_client()
    for _ in range(5):
        published(client)
    assert hashing(local_app).run() == 5


def test_the_look_for_them_is_a_look_into_an_index(local_app: Holdall) -> None:
    query = (
        "EXPLAIN QUERY PLAN SELECT number FROM files "
        "WHERE sha256 IS NULL AND state = 'ready' AND number > 7 ORDER BY number LIMIT 100"
    )
    with database_of(local_app).read() as session:
        plan = " ".join(str(row[3]) for row in session.execute(text(query)))
    assert "ix_files_unhashed" in plan and "TEMP B-TREE" not in plan


def test_it_runs_by_itself(app_with: MakeApp) -> None:
    app = app_with(SWEEP_INTERVAL="1")
    client = app.test_client()
    upload = Multipart(client)
    upload.put(1, PNG)
    file_id = upload.complete().get_json()["id"]
    job = hashing(app)
    job.start()
    try:
        for _ in range(100):
            if sha256(client, file_id) is not None:
                break
            job._stopped.wait(0.1)
    finally:
        job.stop()
    assert sha256(client, file_id) == hashlib.sha256(PNG).hexdigest()
