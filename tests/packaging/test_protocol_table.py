"""docs/resumable.md: every rule names tests that exist, its curls work, and nothing is left out."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from services.ietf import Version
from services.tus import EXTENSIONS
from tests.packaging.working import ROOT, running

GUIDE = (ROOT / "docs" / "resumable.md").read_text()
TABLES = GUIDE.partition("\n## Rules and the tests that hold them\n")[2]
ROW = re.compile(r"^\| (?P<rule>[^|]+) \| (?P<section>[^|]+) \| (?P<tests>[^|]+) \|$", re.MULTILINE)
ROWS = [row for row in ROW.finditer(TABLES) if row["rule"] != "rule" and "---" not in row["rule"]]


def named(tests: str) -> list[tuple[str, str]]:
    """Return the file and the function of each test in a cell."""
    return re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", tests)


def functions_of(file: str) -> set[str]:
    return set(re.findall(r"^ *(?:async )?def (test_\w+)\(", (ROOT / file).read_text(), re.M))


def test_every_line_of_the_tables_is_read() -> None:
    lines = [line for line in TABLES.splitlines() if line.startswith("| ")]
    headings = sum(line.startswith("| rule |") for line in lines)
    assert len(ROWS) == len(lines) - headings > 60


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["rule"][:60])
def test_every_rule_is_held_by_tests_that_exist(row: re.Match[str]) -> None:
    found = named(row["tests"])
    assert found and len(found) == row["tests"].count("`") // 2
    for file, test in found:
        assert test in functions_of(file), f"{file}::{test}"


def test_every_extension_has_a_rule() -> None:
    rules = "\n".join(row["rule"] for row in ROWS)
    for extension in EXTENSIONS.split(","):
        assert f"{extension}: " in rules


def test_the_versions_of_the_drafts_are_those_that_are_spoken() -> None:
    assert f"version {min(Version):d} to {max(Version):d}" in " ".join(GUIDE.split())


def test_every_setting_of_the_guide_is_one() -> None:
    readme = (ROOT / "README.md").read_text()
    for name in re.findall(r"`([A-Z]+(?:_[A-Z]+)+)", GUIDE):
        assert f"| `{name}` |" in readme, name


def test_the_links_of_the_guide_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#][^)]*)\)", GUIDE):
        assert target.startswith("https://") or (ROOT / "docs" / target).exists(), target


def test_the_curls_of_the_guide_work(tmp_path: Path) -> None:
    section = GUIDE.partition("\n## With curl\n")[2].partition("\n## ")[0]
    script = "\n".join(re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL))
    with running(tmp_path) as (_, address):
        assert "HOLDALL=http://127.0.0.1:5000" in script
        done = subprocess.run(
            ["bash", "-euxo", "pipefail"],
            input='curl() { command curl -sS --fail-with-body "$@"; }\n'
            + script.replace("http://127.0.0.1:5000", address),
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "OFFSET=1000000" in done.stderr
    for said in ("Upload-File-Id: ", "Upload-File-Url: ", '"size": 3000000', "Upload-Complete: ?1"):
        assert said in done.stdout
