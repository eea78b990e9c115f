"""`flask migrate-storage` as operators run it: what it prints, and its exit status."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import Any

import psutil
import pytest
from click.testing import Result
from sqlalchemy import insert, update
from sqlalchemy.exc import OperationalError

from app import Holdall
from cli.migrate import WORDS
from models import Collection, File
from services.migration_rows import Rows
from tests.conftest import MakeApp, parts
from tests.services.checking import file, keep, row
from tests.services.moving import NEW, OLD, keys_of, new_of, old_of, row_of
from tests.services.uploading import begun, database_of

ROOT = Path(__file__).parents[2]


@pytest.fixture
def disks(app_with: MakeApp, tmp_path: Path) -> Holdall:
    """An application with two folders; new files go to another one."""
    folders = {f"STORAGE_{n.upper()}_URL": (tmp_path / n).as_uri() for n in (OLD, NEW)}
    return app_with(**folders)


def run(app: Holdall, *words: str) -> Result:
    given = ["migrate-storage", "--from", OLD, "--to", NEW, *words]
    return app.test_cli_runner().invoke(args=given)


def on_old(app: Holdall, content: bytes = b"text", **changes: Any) -> tuple[str, str]:
    """Make a file whose object is on the old backend alone."""
    file_id, key = file(app, content, backend=OLD, **changes)
    parts(app).storages["local"].delete(key)
    with old_of(app).create(key) as writer:
        writer.write(content)
        writer.commit()
    return file_id, key


def summary(result: Result) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return told


def test_all_moved_is_status_0(disks: Holdall) -> None:
    file_id, _ = on_old(disks)
    result = run(disks)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("old to new: 1 files moved, 4 bytes in ")
    assert result.stderr == ""
    assert row_of(disks, file_id).backend == NEW
    again = run(disks)
    assert (again.exit_code, "0 files moved" in again.stdout) == (0, True)


def test_what_failed_is_a_line_with_the_reason_and_status_1(disks: Holdall) -> None:
    file_id, key = on_old(disks)
    old_of(disks).delete(key)
    on_old(disks)
    result = run(disks)
    assert result.exit_code == 1
    first = result.stdout.splitlines()[0]
    assert first == f"not moved  {key}  file {file_id}: its object is not on the source"
    for line in ("1 files moved", "1 failed", "1 are left on old"):
        assert line in result.stdout


def test_json_is_an_object_a_line_and_a_summary(disks: Holdall) -> None:
    file_id, key = on_old(disks)
    old_of(disks).delete(key)
    on_old(disks, b"12345")
    result = run(disks, "--json", "--delete-source", "--linger", "0")
    failure, told = map(json.loads, result.stdout.splitlines())
    expected = {"failed": "move", "file": file_id, "key": key, "size": 4}
    assert failure == expected | {"reason": "its object is not on the source"}
    assert told["summary"] == "failed"
    assert (told["moved"], told["moved_size"], told["failed"], told["deleted"]) == (1, 5, 1, 1)
    assert summary(run(disks, "--json"))["summary"] == "failed"


def test_a_dry_run_says_what_would_move_and_changes_nothing(disks: Holdall) -> None:
    file_id, key = on_old(disks)
    result = run(disks, "--dry-run", "--delete-source")
    assert result.exit_code == 0, result.output
    assert result.stdout == "old to new: 1 files would move, 4 bytes\n"
    told = summary(run(disks, "--dry-run", "--json"))
    assert (told["summary"], told["files"], told["files_size"]) == ("dry run", 1, 4)
    assert row_of(disks, file_id).backend == OLD
    assert (keys_of(old_of(disks)), keys_of(new_of(disks))) == ([key], [])


def test_originals_are_deleted_when_asked_for_only(disks: Holdall) -> None:
    _, key = on_old(disks)
    run(disks)
    assert keys_of(old_of(disks)) == [key]
    result = run(disks, "--delete-source", "--linger", "0")
    assert (result.exit_code, "1 originals deleted" in result.stdout) == (0, True)
    assert (keys_of(old_of(disks)), keys_of(new_of(disks))) == ([], [key])


def test_the_wait_before_originals_are_deleted_is_told(disks: Holdall) -> None:
    on_old(disks)
    result = run(disks, "--delete-source", "--linger", "0.6")
    assert result.exit_code == 0
    assert "waiting 1 s, before objects are deleted that were just moved" in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    (
        (("--to", "nowhere"), "no backend is called nowhere: there are local, new, old"),
        (("--to", OLD), "a backend cannot be moved to itself"),
        (("--collection", "none"), "no collection is called none"),
        (("--workers", "0"), "Invalid value for '--workers'"),
    ),
)
def test_what_cannot_begin_is_status_2(disks: Holdall, words: tuple[str, ...], said: str) -> None:
    on_old(disks)
    result = run(disks, *words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""


def test_what_cannot_begin_is_told_as_json(disks: Holdall) -> None:
    result = run(disks, "--json", "--to", "nowhere")
    told = summary(result)
    assert (result.exit_code, told["summary"]) == (2, "not begun")
    assert told["problem"].startswith("no backend is called nowhere")


def test_a_store_that_does_not_answer_cannot_be_moved_to(app_with: MakeApp, tmp_path: Path) -> None:
    app = app_with(
        STORAGE_OLD_URL=(tmp_path / OLD).as_uri(),
        STORAGE_NEW_URL="s3://bucket?endpoint=http://127.0.0.1:9&max_attempts=1",
        STORAGE_NEW_ACCESS_KEY_ID="a" * 20,
        STORAGE_NEW_SECRET_ACCESS_KEY="b" * 40,
    )
    on_old(app)
    for words in ((), ("--dry-run",)):
        result = run(app, *words)
        assert result.exit_code == 2
        assert result.stderr
        assert "b" * 40 not in result.output


def test_the_memory_of_another_process_is_not_moved(app_with: MakeApp, tmp_path: Path) -> None:
    app = app_with(STORAGE_OLD_URL=(tmp_path / OLD).as_uri(), STORAGE_NEW_URL="memory:")
    result = run(app)
    assert result.exit_code == 2
    assert "new is the memory of another process" in result.stderr


def test_new_files_that_still_go_to_the_source_are_warned_of(
    app_with: MakeApp, tmp_path: Path
) -> None:
    folders = {f"STORAGE_{n.upper()}_URL": (tmp_path / n).as_uri() for n in (OLD, NEW)}
    app = app_with(STORAGE_BACKEND=OLD, **folders)
    with database_of(app).write() as session:
        session.execute(insert(Collection).values(name="photos", backend=OLD))
    result = run(app)
    assert result.exit_code == 0
    assert "set STORAGE_BACKEND first" in result.stderr
    assert "collections still go to the source: photos" in result.stderr


def test_uploads_that_go_on_are_told(app_with: MakeApp, tmp_path: Path) -> None:
    folders = {f"STORAGE_{n.upper()}_URL": (tmp_path / n).as_uri() for n in (OLD, NEW)}
    app = app_with(STORAGE_BACKEND=OLD, **folders)
    begun(app)
    assert "1 uploads go on there: a later run moves their files" in run(app).stdout


def test_a_database_that_fails_is_one_line(disks: Holdall, monkeypatch: pytest.MonkeyPatch) -> None:
    on_old(disks)

    def gone(*_: object, **__: object) -> None:
        raise OperationalError("UPDATE", {}, Exception("it went away"))

    monkeypatch.setattr("services.migration_run._PAUSES", (0.0, 0.0))
    monkeypatch.setattr(Rows, "switch", gone)
    result = run(disks)
    assert result.exit_code == 1
    assert result.stderr == "the database failed: it went away\n"


def test_a_key_cannot_speak_to_the_terminal(disks: Holdall) -> None:
    row(disks, "ab/\x1b[2J\nmoved", backend=OLD)
    result = run(disks)
    assert result.exit_code == 1
    assert "\x1b" not in result.stdout
    assert r"'ab/\x1b[2J\nmoved'" in result.stdout


def test_a_bar_with_speed_and_time_is_drawn_on_a_terminal_and_nowhere_else(
    disks: Holdall,
) -> None:
    on_old(disks)
    main, terminal = pty.openpty()
    try:
        with started(disks, "--json", stderr=terminal) as process:
            told = process.communicate(timeout=60)[0]
        drawn = os.read(main, 65536)
    finally:
        os.close(terminal)
        os.close(main)
    assert process.returncode == 0
    assert b"1 of 1 files" in drawn
    assert json.loads(told)["summary"] == "moved"
    with started(disks) as process:
        assert process.communicate(timeout=60)[1] == b""


def test_an_interrupt_ends_it_and_the_next_run_goes_on(disks: Holdall) -> None:
    """Interrupt it while it copies a file that takes minutes: a hole of 200 GiB."""
    small, _ = on_old(disks)
    key = "zz/" + keep(disks)[3:]
    path = old_folder(disks) / key
    path.parent.mkdir(exist_ok=True)
    with path.open("xb") as hole:
        hole.truncate(200 * 1024**3)
    large = row(disks, key, backend=OLD, size=200 * 1024**3, sha256=None)
    with started(disks, "--workers", "1") as process:
        wait_until_open(process, path)
        process.send_signal(signal.SIGINT)
        printed, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert b"interrupted: run it again to go on" in said
    assert b"1 files moved" in printed
    assert (row_of(disks, small).backend, row_of(disks, large).backend) == (NEW, OLD)
    assert [p for p in new_folder(disks).rglob("*") if p.is_file()] == [
        new_folder(disks) / row_of(disks, small).key
    ]
    path.unlink()
    with database_of(disks).write() as session:
        session.execute(update(File).where(File.id == large).values(size=0, sha256=None))
    path.touch()
    assert run(disks).exit_code == 0, "and nobody had to wait for a lease"


def test_the_document_names_every_option_figure_and_status(disks: Holdall) -> None:
    document = (ROOT / "docs" / "migrating.md").read_text()
    options = [option.opts[0] for option in disks.cli.commands["migrate-storage"].params]
    for name in (*options, *map(str, WORDS), *WORDS.values()):
        assert name in document
    told = summary(run(disks, "--json"))
    for name in told:
        assert f"`{name}`" in document, name


@contextmanager
def started(app: Holdall, *words: str, stderr: int = subprocess.PIPE) -> Iterator[Popen[bytes]]:
    """Run the command in a process of its own, on the data of `app`."""
    settings = parts(app).settings
    urls = {b.variable: b.url for b in settings.backends.values()}
    environment = {
        "PATH": os.environ["PATH"],
        "AUTH_MODE": "open",
        "DATA_DIR": str(settings.data_dir),
        "TERM": "xterm",
        **urls,
    }
    command = [sys.executable, "-m", "flask", "--app", "app", "migrate-storage"]
    with Popen(
        [*command, "--from", OLD, "--to", NEW, *words],
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=environment,
        cwd=ROOT,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until_open(process: Popen[bytes], path: Path) -> None:
    watched = psutil.Process(process.pid)
    deadline = time.monotonic() + 60
    while str(path) not in [opened.path for opened in watched.open_files()]:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)


def old_folder(app: Holdall) -> Path:
    return Path(parts(app).settings.backends[OLD].url.removeprefix("file://"))


def new_folder(app: Holdall) -> Path:
    return Path(parts(app).settings.backends[NEW].url.removeprefix("file://"))
