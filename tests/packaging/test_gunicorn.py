"""gunicorn.conf.py: room for many clients, and mistakes that end the start in a line each."""

import os
import resource
import runpy
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.packaging.working import CHECKED_GUNICORN, GUNICORN, ROOT, environment, running
from tests.support.processes import free_ports


def _start(command: list[str], data_dir: Path, **variables: str) -> tuple[int, list[str]]:
    """Start a server that is expected to refuse; return its status and what it said, by line."""
    ended = subprocess.run(
        command,
        cwd=ROOT,
        env=environment(data_dir, **variables),
        capture_output=True,
        text=True,
        timeout=60,
    )
    return ended.returncode, (ended.stdout + ended.stderr).splitlines()


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Return what gunicorn.conf.py says under some environment."""

    def read(**variables: str) -> dict[str, Any]:
        for name, value in environment(tmp_path, **variables).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(resource, "setrlimit", lambda *_: None)
        return runpy.run_path(str(ROOT / "gunicorn.conf.py"))

    return read


@pytest.mark.parametrize("workers", (1, 2, 8))
def test_there_is_a_thread_for_each_of_1536_clients(
    configured: Callable[..., dict[str, Any]], workers: int
) -> None:
    conf = configured(WEB_CONCURRENCY=str(workers))
    assert conf["workers"] == workers
    assert conf["workers"] * conf["threads"] >= 1536
    assert conf["worker_connections"] > conf["threads"]


def test_threads_that_are_set_are_what_is_used(configured: Callable[..., dict[str, Any]]) -> None:
    assert configured(WEB_CONCURRENCY="1", THREADS="16")["threads"] == 16


def test_an_ipv6_address_can_be_listened_on(configured: Callable[..., dict[str, Any]]) -> None:
    assert configured(HOST="::1", FLASK_RUN_PORT="5001")["bind"] == "[::1]:5001"


def test_gunicorn_believes_no_forwarded_header_and_opens_no_control_socket(
    configured: Callable[..., dict[str, Any]],
) -> None:
    conf = configured()
    assert (conf["forwarded_allow_ips"], conf["secure_scheme_headers"]) == ("", {})
    assert conf["control_socket_disable"] is True
    assert conf["header_map"] == "refuse"


@pytest.mark.parametrize("command", (GUNICORN, CHECKED_GUNICORN))
def test_every_mistake_is_one_line_that_names_its_variable(
    command: list[str], tmp_path: Path
) -> None:
    status, lines = _start(
        command,
        tmp_path,
        AUTH_MODE="keys",
        SECRET_KEY="short",
        BODY_TIMEOUT="soon",
        STORAGE_BACKEND="s3",
        STORAGE_S3_ULR="s3://bucket",
    )
    assert status == 1
    named = [line.partition(":")[0] for line in lines]
    assert named == ["BODY_TIMEOUT", "SECRET_KEY", "STORAGE_BACKEND", "STORAGE_S3_ULR"]


def test_a_mistake_in_what_gunicorn_reads_itself_is_a_line_too(tmp_path: Path) -> None:
    status, lines = _start(CHECKED_GUNICORN, tmp_path, WEB_CONCURRENCY="two")
    assert status == 1
    assert [line.partition(":")[0] for line in lines] == ["WEB_CONCURRENCY"]


def _complaints(lines: list[str]) -> list[str]:
    """Leave out the log lines, which come before what stopped it."""
    return [line for line in lines if not line.startswith("{")]


def test_a_data_folder_that_is_a_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a folder")
    status, lines = _start(CHECKED_GUNICORN, tmp_path / "data")
    assert status == 1
    assert [line.partition(":")[0] for line in _complaints(lines)] == ["DATA_DIR"]


def test_a_data_folder_that_cannot_be_made_is_one_clear_line() -> None:
    status, lines = _start(CHECKED_GUNICORN, Path("/proc/holdall"))
    assert status == 1
    assert [line.partition(":")[0] for line in _complaints(lines)] == ["DATA_DIR"]


def test_a_store_that_is_not_there_is_one_line_at_start(tmp_path: Path) -> None:
    closed = free_ports(1)[0]
    url = f"s3://bucket?endpoint=http://127.0.0.1:{closed}&max_attempts=1"
    status, lines = _start(
        CHECKED_GUNICORN,
        tmp_path,
        STORAGE_BACKEND="s3",
        STORAGE_S3_URL=url,
        AWS_ACCESS_KEY_ID="holdall",
        AWS_SECRET_ACCESS_KEY="for-this-test-only",
    )
    assert status == 1
    assert [line.partition(":")[0] for line in _complaints(lines)] == ["STORAGE_S3_URL"]


def test_the_master_hands_neither_threads_nor_connections_to_its_workers(tmp_path: Path) -> None:
    with running(tmp_path) as (server, _):
        process = Path("/proc") / str(server.pid)
        assert len(list((process / "task").iterdir())) == 1
        held = {os.readlink(link) for link in (process / "fd").iterdir()}
        assert [name for name in held if "app.db" in name or "uploads" in name] == []
        assert sum(name.startswith("socket:") for name in held) == 1, "the listening one alone"


def test_the_workers_may_open_as_many_files_as_the_system_allows(tmp_path: Path) -> None:
    with running(tmp_path) as (server, _):
        soft, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
        assert soft == hard == resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def test_the_database_is_not_for_everyone_to_read(tmp_path: Path) -> None:
    with running(tmp_path):
        kept = [each for each in (tmp_path / "data").rglob("*") if each.stat().st_mode & 0o007]
        assert kept == []


def test_metrics_are_summed_over_the_workers_of_this_start(tmp_path: Path) -> None:
    for _ in range(2):
        with running(tmp_path) as (_, address):
            for _ in range(20):
                urllib.request.urlopen(f"{address}/api/health").close()
            with urllib.request.urlopen(f"{address}/metrics") as answer:
                text = answer.read().decode()
            counted = [
                float(line.rpartition(" ")[2])
                for line in text.splitlines()
                if line.startswith("holdall_requests_total") and "/api/health" in line
            ]
            assert 20 <= sum(counted) < 40
            # Mapped files on a disk that fills up would end the workers.
            assert [one.name for one in (tmp_path / "data").rglob("*.db")] == ["app.db"]
