"""The Makefile explains itself, and `make run` is open on loopback only."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE)


def _make(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]} | variables,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_help_is_what_make_alone_says_and_names_every_target() -> None:
    shown = _make().stdout
    assert shown == _make("help").stdout
    assert re.findall(r"^  make (\S+)", shown, re.MULTILINE) == TARGETS


@pytest.mark.parametrize("target", ("run", "test", "fmt", "lint", "type", "bench", "clean"))
def test_a_target_that_is_promised_is_there(target: str) -> None:
    assert target in TARGETS


@pytest.mark.parametrize("host", ("0.0.0.0", "::", "192.0.2.1", "holdall.example.org"))
def test_an_open_service_is_not_offered_to_a_network(host: str) -> None:
    refused = _make("loopback-only", HOST=host)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"HOST: {host} can be reached from outside")


@pytest.mark.parametrize("host", ("", "127.0.0.1", "127.0.0.2", "::1", "localhost"))
def test_an_open_service_is_offered_to_this_machine(host: str) -> None:
    assert _make("loopback-only", HOST=host).returncode == 0


def test_a_service_with_keys_is_offered_to_a_network() -> None:
    assert _make("loopback-only", HOST="0.0.0.0", AUTH_MODE="keys").returncode == 0


def test_a_machine_without_a_new_enough_python_is_told_what_to_install(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    for tool in ("sh", "make"):
        (tmp_path / tool).symlink_to(f"/usr/bin/{tool}")
    answer = _make("--always-make", "--dry-run", "run", PATH=str(tmp_path))
    assert answer.returncode == 2
    assert "Holdall needs Python 3.11 or later" in answer.stderr


def test_everything_that_is_installed_is_pinned() -> None:
    wanted_by = ("requirements.txt", "requirements-dev.txt", "requirements-bench.txt")
    for name in (*wanted_by, "requirements.lock"):
        lines = (ROOT / name).read_text().splitlines()
        wanted = [line for line in lines if line and not line.startswith(("#", "-r "))]
        assert wanted
        assert [
            line for line in wanted if not re.fullmatch(r"[\w.\[\]-]+==[\w.]+(; .+)?", line)
        ] == []


def test_the_lock_agrees_with_what_is_asked_for() -> None:
    def pins(name: str) -> dict[str, str]:
        text = (ROOT / name).read_text()
        found = re.findall(r"^([\w.-]+)(?:\[\w+\])?==([^\s;]+)", text, re.MULTILINE)
        return {re.sub(r"[-_.]+", "-", package).lower(): version for package, version in found}

    locked = pins("requirements.lock")
    asked = pins("requirements.txt") | pins("requirements-dev.txt")
    assert asked.items() <= locked.items()
