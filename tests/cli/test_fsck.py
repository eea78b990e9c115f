"""`flask fsck` as operators run it: what it prints, and its exit status."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from subprocess import Popen
from typing import Any

import psutil
import pytest
from click.testing import Result
from sqlalchemy.exc import OperationalError

from app import Holdall
from cli.fsck_report import JsonLines
from services import fsck
from services.fsck import GRACE
from services.fsck_findings import Kind
from storage.keys import new_key
from tests.conftest import MakeApp, parts
from tests.services.checking import file, is_stored, keep, row
from tests.services.uploading import begun, change, database_of, storage_of

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look again at once."""
    monkeypatch.setattr(fsck, "PATIENCE", timedelta(0))
    monkeypatch.setattr(fsck, "REPAIR_PATIENCE", timedelta(0))


def run(app: Holdall, *words: str) -> Result:
    return app.test_cli_runner().invoke(args=["fsck", *words])


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_clean_store_is_said_to_be_clean(app: Holdall) -> None:
    file(app)
    result = run(app)
    assert result.exit_code == 0, result.output
    assert "1 files and 1 objects" in result.stdout
    assert "clean" in result.stdout
    assert result.stderr == ""


def test_findings_are_lines_and_the_status_says_so(app: Holdall) -> None:
    file_id, key = file(app)
    storage_of(app).delete(key)
    file(app)
    orphan = keep(app)
    result = run(app, "--grace", "0")
    assert result.exit_code == 1, result.output
    missing, without = sorted(result.stdout.splitlines()[:2])
    assert missing.split()[:3] == ["missing", backend_name(app), key]
    assert f"file {file_id}: 4 bytes that are not there" in missing
    assert without.split()[:3] == ["orphan", backend_name(app), orphan]
    assert "1 missing, 1 orphan" in result.stdout


def test_json_is_an_object_a_line_and_a_summary(app: Holdall) -> None:
    file(app)
    orphan = keep(app, b"12345")
    result = run(app, "--grace", "0", "--json", "--repair", "--verify", "--force")
    assert result.exit_code == 1, result.output
    finding, summary = lines(result)
    assert finding.pop("modified") < "2100"
    expected = {"finding": "orphan", "backend": backend_name(app), "key": orphan, "found": 5}
    assert finding == expected | {"deleted": True}
    assert summary["summary"] == "findings"
    figures = summary["backends"][backend_name(app)]
    assert figures["findings"] == {"orphan": 1}
    assert (figures["deleted"], figures["deleted_size"], figures["read"]) == (1, 5, 1)
    clean = run(app, "--grace", "0", "--json")
    assert (clean.exit_code, lines(clean)[0]["summary"]) == (0, "clean")


def test_nothing_is_deleted_unless_that_is_asked_for(local_app: Holdall) -> None:
    file(local_app)
    orphan = keep(local_app)
    assert run(local_app, "--grace", "0", "--verify", "--force").exit_code == 1
    assert is_stored(local_app, orphan)


def test_the_grace_period_is_a_day(local_app: Holdall) -> None:
    file(local_app)
    young, old = keep(local_app), keep(local_app)
    for key, hours in ((young, 23.9), (old, 24.1)):
        moment = time.time() - hours * 3600
        os.utime(data_of(local_app) / "uploads" / key, (moment, moment))
    assert run(local_app, "--repair").exit_code == 1
    assert is_stored(local_app, young)
    assert not is_stored(local_app, old)


def test_what_is_being_sent_is_deleted_by_force_only(local_app: Holdall) -> None:
    file(local_app)
    sent = keep(local_app)
    result = run(local_app, "--grace", "3599", "--repair")
    assert result.exit_code == 2
    assert "stop the service, and add --force" in result.output
    assert run(local_app, "--grace", "3600", "--repair").exit_code == 0
    assert is_stored(local_app, sent)
    assert run(local_app, "--grace", "0", "--repair", "--force").exit_code == 1
    assert not is_stored(local_app, sent)


def test_a_backend_that_cannot_be_checked_is_status_2(local_app: Holdall) -> None:
    file(local_app, backend="forgotten")
    file(local_app)
    result = run(local_app)
    assert result.exit_code == 2
    assert "forgotten: could not be checked: 1 files are on it" in result.stderr
    assert "local: 1 files and 2 objects" in result.stdout
    assert run(local_app, "--backend", "local").exit_code == 0
    summary = lines(run(local_app, "--json"))[-1]
    assert summary["summary"] == "unchecked"
    assert "no storage has this name" in summary["backends"]["forgotten"]["problem"]


def test_a_store_that_does_not_answer_keeps_no_other_from_being_checked(
    app_with: MakeApp,
) -> None:
    app = app_with(
        STORAGE_DEAD_URL="s3://bucket?endpoint=http://127.0.0.1:9&max_attempts=1",
        STORAGE_DEAD_ACCESS_KEY_ID="a" * 20,
        STORAGE_DEAD_SECRET_ACCESS_KEY="b" * 40,
    )
    file(app)
    row(app, new_key(), backend="dead")
    result = run(app)
    assert result.exit_code == 2
    assert "dead: could not be checked" in result.stderr
    assert "missing" not in result.stdout
    assert "local: 1 files and 1 objects" in result.stdout
    assert "b" * 40 not in result.output


def test_the_memory_of_another_process_is_not_checked(app_with: MakeApp) -> None:
    app = app_with(STORAGE_SPARE_URL="memory:")
    result = run(app)
    assert result.exit_code == 2
    assert "spare: could not be checked: it is the memory of another process" in result.stderr


def test_a_backend_that_nobody_knows_is_a_mistake(local_app: Holdall) -> None:
    result = run(local_app, "--backend", "loca")
    assert result.exit_code == 2
    assert "no backend is called loca" in result.output


def test_a_backend_that_only_uploads_name_is_known(local_app: Holdall) -> None:
    change(local_app, begun(local_app), backend="lost")
    result = run(local_app, "--backend", "lost")
    assert result.exit_code == 2
    assert "0 files are on it" in result.stderr


def test_a_database_that_fails_is_one_line(local_app: Holdall) -> None:
    with database_of(local_app).write() as session:
        session.connection().exec_driver_sql("DROP TABLE uploads")
    result = run(local_app)
    assert result.exit_code == 2
    said = "database: could not be checked: the database failed: no such table: uploads\n"
    assert result.stderr == said


def test_a_database_that_fails_on_the_way_leaves_the_backend_unchecked(
    local_app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage_of(local_app).delete(file(local_app)[1])

    def gone(*_: object) -> None:
        raise OperationalError("SELECT", {}, Exception("it went away"))

    monkeypatch.setattr("services.fsck_second_look.names_of", gone)
    result = run(local_app)
    assert result.exit_code == 2
    assert result.stderr == "local: could not be checked: the database failed: it went away\n"


def test_a_key_cannot_speak_to_the_terminal(local_app: Holdall) -> None:
    file(local_app)
    row(local_app, "ab/\x1b[2J\nclean")
    result = run(local_app)
    assert result.exit_code == 1
    assert "\x1b" not in result.stdout
    assert r"'ab/\x1b[2J\nclean'" in result.stdout


def test_a_bar_is_drawn_on_a_terminal_and_nowhere_else(local_app: Holdall) -> None:
    file(local_app)
    main, terminal = pty.openpty()
    try:
        with started(local_app, "--verify", "--json", stderr=terminal) as process:
            summary = process.communicate(timeout=60)[0]
        drawn = os.read(main, 65536)
    finally:
        os.close(terminal)
        os.close(main)
    assert process.returncode == 0
    assert b"local" in drawn
    assert json.loads(summary)["summary"] == "clean"
    with started(local_app, "--verify") as process:
        assert process.communicate(timeout=60)[1] == b""


def test_an_interrupt_ends_it_cleanly(local_app: Holdall) -> None:
    """Interrupt it while it reads an object that takes minutes: a hole of 500 GiB."""
    size = 500 * 1024**3
    key = keep(local_app)
    path = data_of(local_app) / "uploads" / key
    os.truncate(path, size)
    row(local_app, key, size=size)
    with started(local_app, "--verify") as process:
        watched = psutil.Process(process.pid)
        deadline = time.monotonic() + 60
        while str(path) not in [opened.path for opened in watched.open_files()]:
            assert time.monotonic() < deadline
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        printed, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert printed == b""
    assert said == b"interrupted: what is printed is not all\n"


def test_the_document_names_every_option_finding_and_status(local_app: Holdall) -> None:
    document = (ROOT / "docs" / "fsck.md").read_text()
    options = [option.opts[0] for option in local_app.cli.commands["fsck"].params]
    for name in (*options, *Kind, "130", str(int(GRACE.total_seconds()))):
        assert name in document.replace(",", "")
    for figure in JsonLines.WORDS.values():
        assert f"`{figure}`" in document


@contextmanager
def started(app: Holdall, *words: str, stderr: int = subprocess.PIPE) -> Iterator[Popen[bytes]]:
    """Run the command in a process of its own, on the data of `app`."""
    environment = {
        "PATH": os.environ["PATH"],
        "AUTH_MODE": "open",
        "DATA_DIR": str(data_of(app)),
        "TERM": "xterm",
    }
    # Whoever runs the tests in the background has them, and their children, ignore interrupts.
    command = ["env", "--default-signal=INT", sys.executable, "-m", "flask", "--app", "app"]
    command += ["fsck", *words]
    with Popen(
        command, stdout=subprocess.PIPE, stderr=stderr, env=environment, cwd=ROOT
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def backend_name(app: Holdall) -> str:
    return parts(app).settings.storage_backend


def data_of(app: Holdall) -> Path:
    return parts(app).settings.data_dir
