"""What stands in the way of a start is one line that names the variable, and holds no secret."""

import sqlite3
from pathlib import Path

import pytest

from app import create_app, prepare
from config import ConfigurationError, load_settings
from storage.errors import StorageFull
from storage.local import LocalStorage
from tests.conftest import MakeApp


def problem(data_dir: Path, **variables: str) -> str:
    """Return the one line that the start ends with."""
    defaults = {"AUTH_MODE": "open", "DATA_DIR": str(data_dir)}
    with pytest.raises(ConfigurationError) as raised:
        create_app(load_settings(defaults | variables))
    (line,) = raised.value.problems
    return line


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user@host:hunter2/name",
        "postgresql://user:hunter2@127.0.0.1:1/name",
        "nowhere://user:hunter2@host/name",
        "hunter2",
    ],
)
def test_a_database_url_that_is_wrong_is_named_and_not_shown(tmp_path: Path, url: str) -> None:
    line = problem(tmp_path, DATABASE_URL=url)
    assert line.startswith("DATABASE_URL: ")
    assert "hunter2" not in line


def test_a_database_of_a_later_version_is_refused(tmp_path: Path, app_with: MakeApp) -> None:
    app_with(DATA_DIR=str(tmp_path))
    with sqlite3.connect(tmp_path / "app.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    assert problem(tmp_path).startswith("DATABASE_URL: ")


@pytest.mark.parametrize("name", ["secret_key", "upgrade.lock"])
def test_a_data_folder_that_holds_something_else_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert problem(tmp_path).startswith(("DATA_DIR: ", "DATABASE_URL: "))


@pytest.mark.parametrize("name", ["a-file", "a-file/below"])
def test_a_data_folder_that_cannot_be_one_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "a-file").touch()
    assert problem(tmp_path / name).startswith("DATA_DIR: ")


def test_a_full_disk_is_no_reason_not_to_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: LocalStorage) -> None:
        raise StorageFull("the storage's disk has no room left")

    monkeypatch.setattr(LocalStorage, "check", full)
    prepare(load_settings({"AUTH_MODE": "open", "DATA_DIR": str(tmp_path)}))
