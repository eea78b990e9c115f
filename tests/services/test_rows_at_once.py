"""What the event loop knows of files: all that was committed before its turn began."""

from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from app import Holdall
from models import db
from services import rows_at_once
from services.database import Database
from services.rows_at_once import Row, RowsAtOnce


@pytest.fixture
def rows(local_app: Holdall) -> Iterator[RowsAtOnce]:
    with local_app.app_context():
        engine = db.engine
    rows = RowsAtOnce(Database(engine))
    yield rows
    rows.close()


@pytest.fixture
def ids(local_client: FlaskClient) -> list[str]:
    """The ids of three files."""
    answers = [local_client.put(f"/api/upload/{n}.txt", data=b"text") for n in range(3)]
    return [answer.get_json()["id"] for answer in answers]


def found(rows: RowsAtOnce, file_id: str) -> Row | None:
    """Look for a file in a turn of its own."""
    rows.begin_turn()
    return rows.find(file_id)


def test_a_turn_sees_all_that_was_done_before_it(
    rows: RowsAtOnce, ids: list[str], local_client: FlaskClient
) -> None:
    for file_id in ids:
        row = found(rows, file_id)
        assert row is not None and rows.file(row).filename.endswith(".txt")
        changed = local_client.patch(f"/api/files/{file_id}", json={"filename": "new.md"})
        assert changed.status_code == 200
        row = found(rows, file_id)
        assert row is not None and rows.file(row).filename == "new.md"
        assert local_client.delete(f"/api/files/{file_id}").status_code == 204
        assert found(rows, file_id) is None


def test_nothing_is_read_twice_while_nothing_changes(
    rows: RowsAtOnce, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = [found(rows, file_id) for file_id in ids]
    assert None not in first
    monkeypatch.setattr(rows, "_read", lambda _: None)
    assert [found(rows, file_id) for file_id in ids] == first


def test_only_so_many_rows_are_kept(
    rows: RowsAtOnce, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_at_once, "KEPT", 2)
    for _ in range(2):
        assert None not in [found(rows, file_id) for file_id in ids]
        assert len(rows._rows) <= 2


def test_a_connection_that_was_closed_knows_nothing(rows: RowsAtOnce, ids: list[str]) -> None:
    assert found(rows, ids[0]) is not None
    rows.close()
    assert not rows._rows
    assert rows.find(ids[0]) is not None
