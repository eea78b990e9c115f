"""`flask backup` as operators run it: what is in a backup, and what stands in the way of one."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from app import Holdall
from cli import backup as command
from storage.base import Storage
from tests.conftest import MakeApp, parts, s3_variables
from tests.services.checking import check, file, is_stored, row
from tests.services.uploading import Sent, storage_of
from tests.storage.material import put

TEXT = b"some text"


def run(app: Holdall, folder: Path, *words: str) -> Result:
    return app.test_cli_runner().invoke(args=["backup", str(folder), *words])


def saved(app: Holdall, folder: Path, *words: str) -> dict[str, Any]:
    result = run(app, folder, "--json", *words)
    assert result.exit_code == 0, result.output
    figures: dict[str, Any] = json.loads(result.stdout)
    return figures


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backup"


def test_a_backup_is_a_data_dir(local_app: Holdall, folder: Path, app_with: MakeApp) -> None:
    kept, _ = file(local_app, TEXT)
    Sent.begin(local_app, 20_000).send(0, 9000)
    row(local_app, "ab/waiting", state="pending")
    result = run(local_app, folder)
    assert result.exit_code == 0, result.output
    assert "backed up 1 files" in result.stdout
    assert not list(folder.glob("app.db*-*")) + list(folder.glob("*.part*"))
    secret = folder / "secret_key"
    assert secret.read_text() == (parts(local_app).settings.data_dir / "secret_key").read_text()
    assert secret.stat().st_mode & 0o777 == 0o600
    other = app_with(DATA_DIR=str(folder))
    client = other.test_client()
    assert client.get(f"/uploads/{kept}").data == TEXT
    assert client.get("/api/files").get_json()["total"] == 1
    assert check(other, verify=True).findings == []


def test_files_of_a_store_are_kept_in_a_folder_of_its_name(
    request: pytest.FixtureRequest, folder: Path, app_with: MakeApp
) -> None:
    app = app_with(**s3_variables(request))
    kept, _ = file(app, TEXT)
    assert saved(app, folder)["copied"] == 1
    other = app_with(
        DATA_DIR=str(folder),
        STORAGE_BACKEND="s3",
        STORAGE_S3_URL=(folder / "backends" / "s3").as_uri(),
    )
    assert other.test_client().get(f"/uploads/{kept}").data == TEXT
    assert check(other, verify=True).findings == []


def test_a_second_backup_copies_what_is_new_and_drops_what_is_gone(
    local_app: Holdall, folder: Path
) -> None:
    file(local_app, TEXT)
    gone, key = file(local_app, TEXT)
    saved(local_app, folder)
    file(local_app, b"new")
    local_app.test_client().delete(f"/api/files/{gone}")
    figures = saved(local_app, folder)
    assert [figures[name] for name in ("files", "copied", "reused", "removed")] == [2, 1, 1, 1]
    assert not (folder / "uploads" / key).exists()


def test_what_is_deleted_or_moved_meanwhile_is_told_as_it_is(
    app_with: MakeApp, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = app_with(STORAGE_NEW_URL=(tmp_path / "new").as_uri())
    (kept, key), (gone, _) = file(app, TEXT), file(app, b"gone")
    opens = command._target

    def meanwhile(place: Path, backend: str) -> Storage:
        """The database is copied by now, and no object is."""
        if backend == "local":
            app.test_client().delete(f"/api/files/{gone}")
            put(parts(app).storages["new"], key, TEXT)
            with sqlite3.connect(parts(app).settings.data_dir / "app.db") as database:
                database.execute("UPDATE files SET backend = 'new' WHERE id = ?", (kept,))
            database.close()
            storage_of(app).delete(key)
        return opens(place, backend)

    monkeypatch.setattr(command, "_target", meanwhile)
    figures = saved(app, folder)
    assert (figures["files"], figures["left_out"], figures["problems"]) == (1, 1, {})
    other = app_with(DATA_DIR=str(folder), STORAGE_NEW_URL=(folder / "backends/new").as_uri())
    assert other.test_client().get(f"/uploads/{kept}").data == TEXT
    assert other.test_client().get("/api/files").get_json()["total"] == 1
    for backend in ("local", "new"):
        assert check(other, backend, verify=True).findings == []


def test_bytes_that_are_lost_or_damaged_are_named_and_stop_nothing(
    local_app: Holdall, folder: Path
) -> None:
    (lost, at), (damaged, wrong), (sound, _) = (file(local_app, TEXT) for _ in range(3))
    storage_of(local_app).delete(at)
    put(storage_of(local_app), wrong, b"SOME TEXT")
    result = run(local_app, folder, "--json")
    figures = json.loads(result.stdout)
    assert (result.exit_code, {*figures["problems"]}) == (1, {lost, damaged})
    assert figures["copied"] == 1
    assert not is_stored(local_app, at)
    result = run(local_app, folder)
    assert f"{lost}: not in the backup: its object is missing" in result.stderr
    assert sound not in result.stderr


def test_a_backup_that_was_broken_off_is_no_obstacle(local_app: Holdall, folder: Path) -> None:
    file(local_app, TEXT)
    folder.mkdir()
    for name in ("app.db.part", "app.db.part-wal"):
        (folder / name).write_bytes(b"left by a kill")
    assert saved(local_app, folder)["files"] == 1


def test_a_store_that_fails_leaves_the_backup_before_as_it_was(
    local_app: Holdall, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file(local_app, TEXT)
    saved(local_app, folder)
    before = (folder / "app.db").read_bytes()
    file(local_app, TEXT)

    def full(place: Path, backend: str) -> Storage:
        raise OSError("no room is left")

    monkeypatch.setattr(command, "_target", full)
    result = run(local_app, folder)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no room is left" in result.stderr
    assert (folder / "app.db").read_bytes() == before


def test_a_folder_that_cannot_be_one_is_refused(local_app: Holdall, folder: Path) -> None:
    inside = parts(local_app).settings.data_dir / "uploads"
    assert "in DATA_DIR" in run(local_app, inside).stderr
    folder.mkdir()
    (folder / "app.db-wal").touch()
    result = run(local_app, folder)
    assert (result.exit_code, "a service uses" in result.stderr) == (2, True)


def test_a_backend_that_is_left_out_keeps_its_rows(local_app: Holdall, folder: Path) -> None:
    file(local_app, TEXT)
    figures = saved(local_app, folder, "--without", "local")
    assert (figures["copied"], (folder / "uploads").exists()) == (0, False)
    with sqlite3.connect(folder / "app.db") as database:
        assert database.execute("SELECT count(*) FROM files").fetchone() == (1,)
    database.close()


def test_a_service_on_postgresql_is_told_what_to_do(
    app_with: MakeApp, request: pytest.FixtureRequest, folder: Path
) -> None:
    server = request.getfixturevalue("postgres_server")
    app = app_with(DATABASE_URL=server.fresh_database())
    result = run(app, folder)
    assert (result.exit_code, "PostgreSQL has tools of its own" in result.stderr) == (2, True)
