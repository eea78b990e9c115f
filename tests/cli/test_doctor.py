"""`flask doctor` as an operator calls it: lines or JSON, an exit status, and never a stack."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import free_ports
from tests.support.service import ROOT, running

SECRET = "5b0d" * 4 + "e7c19a42" * 4


def flask(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `flask` in the project's folder with nothing but the variables given."""
    return subprocess.run(
        [sys.executable, "-m", "flask", *arguments],
        cwd=ROOT,
        env={"PATH": os.defpath, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("options", [(), ("--app", "app"), ("--app=app:app",)])
def test_all_that_is_well_is_a_line_each_and_the_status_is_0(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    done = flask(*options, "doctor", DATA_DIR=str(tmp_path), AUTH_MODE="open")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) >= 8 and all(line.startswith("ok    ") for line in lines)
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == [], "no database and no folder is made"


def test_wrong_settings_are_lines_with_the_variable_and_no_stack(tmp_path: Path) -> None:
    done = flask("doctor", DATA_DIR=str(tmp_path), SECRET_KEY="short", FLASK_RUN_PORT="x")
    assert done.returncode == 1
    failed = [line for line in done.stdout.splitlines() if line.startswith("fail")]
    assert [line.split()[2] for line in failed] == ["FLASK_RUN_PORT:", "SECRET_KEY:"]
    assert "Traceback" not in done.stdout + done.stderr


def test_programs_get_one_json_document(tmp_path: Path) -> None:
    done = flask(
        "doctor",
        "--json",
        DATA_DIR=str(tmp_path),
        AUTH_MODE="keys",
        SECRET_KEY=SECRET,
        DATABASE_URL="postgresql://user:hunter2@127.0.0.1:1/name",
    )
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert told["healthy"] is False
    (failed,) = [each for each in told["checks"] if each["status"] == "fail"]
    assert (failed["check"], failed["variable"]) == ("database", "DATABASE_URL")
    assert set(failed) == {"check", "status", "message", "variable"}
    assert "hunter2" not in done.stdout and SECRET not in done.stdout


def test_a_running_service_is_found_well_and_its_public_url_leads_to_it(tmp_path: Path) -> None:
    with running(tmp_path, WEB_CONCURRENCY="1") as service:
        variables = {"AUTH_MODE": "open", "DATA_DIR": str(service.data)}
        done = flask("doctor", PUBLIC_URL=service.url, **variables)
        assert done.returncode == 0, done.stdout
        assert f"{service.url} leads here" in done.stdout
        assert "the one of this version" in done.stdout
        (elsewhere,) = free_ports(1)
        wrong = {
            "PUBLIC_URL": f"http://127.0.0.1:{elsewhere}",
            "FLASK_RUN_PORT": str(service.port),
        }
        done = flask("doctor", **wrong, **variables)
        assert done.returncode == 1
        assert "PUBLIC_URL" in done.stdout and "nothing listens there" in done.stdout
        assert service.request("PUT", "/api/upload/a.txt", b"still well").status == 201


def test_other_commands_say_in_lines_why_the_service_does_not_start(tmp_path: Path) -> None:
    done = flask("db", "current", DATA_DIR=str(tmp_path))
    assert done.returncode == 1
    assert "SECRET_KEY: missing" in done.stderr
    assert "Traceback" not in done.stderr
