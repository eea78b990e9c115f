"""`flask gc` as operators run it: what it prints, and its exit status."""

import json
from datetime import timedelta
from typing import Any

import pytest
from click.testing import Result

from app import Holdall
from services import fsck
from services.gc_items import Kind
from tests.conftest import MakeApp
from tests.services.checking import file, is_stored, keep
from tests.services.collecting import age, leave_temporary, uploads_folder
from tests.services.test_direct import end
from tests.services.uploading import Sent, database_of, storage_of, stored
from tests.storage.material import put


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again at once."""
    monkeypatch.setattr(fsck, "PATIENCE", timedelta(0))
    monkeypatch.setattr(fsck, "REPAIR_PATIENCE", timedelta(0))


def run(app: Holdall, *words: str) -> Result:
    return app.test_cli_runner().invoke(args=["gc", *words])


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_where_nothing_was_left_it_says_so(local_app: Holdall) -> None:
    file(local_app)
    result = run(local_app)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "nothing removed\n", "")
    assert run(local_app, "--dry-run").stdout == "nothing would be removed\n"


def test_a_dry_run_says_what_a_run_then_removes(local_app: Holdall) -> None:
    file(local_app)
    sent, orphan, temporary = (
        Sent.begin(local_app, 100),
        keep(local_app),
        leave_temporary(local_app),
    )
    end(local_app, sent.id)
    for path in (uploads_folder(local_app) / orphan, temporary):
        age(path, 2 * 86_400)
    before = stored(local_app)
    for words, act, said in (
        (("--dry-run",), "would go", "would be removed"),
        ((), "gone", "removed"),
    ):
        assert stored(local_app) == before
        result = run(local_app, *words)
        assert result.exit_code == 0, result.output
        *items, summary = result.stdout.splitlines()
        assert [line.startswith(act) for line in items] == [True] * 3
        assert sorted(line.removeprefix(act).split()[:3] for line in items) == [
            ["orphan", "local", orphan],
            ["temporary", "local", temporary.name],
            ["upload", "-", sent.id],
        ]
        assert summary == f"{said}: 1 orphan, 1 temporary, 1 upload (0.0 MiB)"
    assert len(stored(local_app)) == 1


def test_json_is_an_object_a_line_and_a_summary(local_app: Holdall) -> None:
    file(local_app)
    orphan = keep(local_app, b"12345")
    item, summary = lines(run(local_app, "--grace", "0", "--force", "--json"))
    assert item.pop("since") < "2100"
    assert item == {"kind": "orphan", "name": orphan, "backend": "local", "size": 5}
    assert summary == {
        "dry_run": False,
        "collected": {"orphan": 1},
        "bytes": 5,
        "left": 0,
        "problems": {},
    }
    (summary,) = lines(run(local_app, "--dry-run", "--json"))
    assert (summary["dry_run"], summary["collected"]) == (True, {})


def test_what_may_be_on_its_way_goes_by_force_only(local_app: Holdall) -> None:
    file(local_app)
    sent = keep(local_app)
    result = run(local_app, "--grace", "3599")
    assert result.exit_code == 2
    assert "stop the service, and add --force" in result.output
    assert "would go  orphan" in run(local_app, "--grace", "0", "--dry-run").stdout
    assert run(local_app, "--grace", "3600").exit_code == 0
    assert is_stored(local_app, sent)
    assert run(local_app, "--grace", "0", "--force").exit_code == 0
    assert not is_stored(local_app, sent)


def test_the_grace_period_is_the_setting(app_with: MakeApp) -> None:
    app = app_with(GC_GRACE="7200")
    young, old = leave_temporary(app), leave_temporary(app)
    age(young, 7100)
    age(old, 7300)
    assert run(app).exit_code == 0
    assert (young.exists(), old.exists()) == (True, False)


def test_a_store_that_is_down_is_status_2(app_with: MakeApp) -> None:
    app = app_with(
        STORAGE_DEAD_URL="s3://bucket?endpoint=http://127.0.0.1:9&max_attempts=1",
        STORAGE_DEAD_ACCESS_KEY_ID="a" * 20,
        STORAGE_DEAD_SECRET_ACCESS_KEY="b" * 40,
        STORAGE_SPARE_URL="memory:",
    )
    age(leave_temporary(app), 2 * 86_400)
    result = run(app)
    assert result.exit_code == 2
    assert "dead: could not be looked through: " in result.stderr
    assert "spare" not in result.output
    assert "b" * 40 not in result.output
    assert result.stdout.endswith("removed: 1 temporary (0.0 MiB)\n")


def test_a_database_that_fails_is_one_line(local_app: Holdall) -> None:
    with database_of(local_app).write() as session:
        session.connection().exec_driver_sql("DROP TABLE uploads")
    result = run(local_app)
    assert result.exit_code == 2
    assert result.stderr == "database: could not be looked through: no such table: uploads\n"


def test_what_is_kept_says_why(local_app: Holdall) -> None:
    file(local_app)
    put(storage_of(local_app), "ab/foreign", b"text")
    result = run(local_app, "--grace", "0", "--force")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"kept      {Kind.ORPHAN}")
    assert "its name is not one that this service gives" in result.stdout
    assert result.stdout.endswith("nothing removed\n")
