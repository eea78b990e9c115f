"""The documents say what there is: every setting, URL and command, and curls that work."""

import os
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from flask import Flask

from app import create_app
from config import load_settings
from config.settings import Settings, Variable, documented_variables
from storage.s3_options import S3Options
from tests.packaging.test_makefile import MAKEFILE
from tests.packaging.working import ROOT, running

README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    folder = tmp_path_factory.mktemp("data")
    app = create_app(load_settings({"DATA_DIR": str(folder), "AUTH_MODE": "open"}))
    yield app


def _rows(heading: str) -> dict[str, tuple[str, str]]:
    """Return a table's rows under `heading`: what is named first, then the other two cells."""
    section = README.partition(f"\n{heading}\n")[2].partition("\n#")[0]
    found = re.findall(r"^\| `([^`]+)` \| (.*?) ?\| ?(.*?) ?\|?$", section, re.MULTILINE)
    return {name: (default, meaning) for name, default, meaning in found}


@pytest.mark.parametrize("variable", documented_variables(), ids=lambda variable: variable.name)
def test_every_setting_is_in_the_table_with_its_meaning_and_default(variable: Variable) -> None:
    name = variable.name
    shown, said = _rows("## Settings")[name]
    assert said == variable.description
    quoted = re.match(r"`([^`]*)`", shown)
    default = Settings.model_fields[name.lower()].get_default()
    if quoted:
        secret = {"SECRET_KEY": "0c9f1be27d" * 4, "WEB_CONCURRENCY": "1"}
        settings = load_settings(secret | {name: quoted[1]})
        assert getattr(settings, name.lower()) == default
    else:
        assert shown in ("", "the number of cores")


def test_no_setting_is_made_up() -> None:
    assert set(_rows("## Settings")) == {variable.name for variable in documented_variables()}


def test_the_parameters_of_an_s3_url_are_in_their_table_with_their_defaults() -> None:
    rows = _rows("### Backends")
    known = {each.name: each.default for each in fields(S3Options)}
    del known["bucket"], known["prefix"]
    assert {name for name in rows if not name.startswith("STORAGE_")} == set(known)
    for name, default in known.items():
        if default is not None:
            assert rows[name][0] == f"`{str(default).lower()}`"


def test_every_url_is_in_the_table_with_its_methods(application: Flask) -> None:
    urls: dict[str, set[str]] = {}
    for rule in application.url_map.iter_rules():
        url = re.sub(r"<\w+:", "<", rule.rule)
        urls.setdefault(url, set()).update(rule.methods or ())
    rows = _rows("## URLs")
    parts_of_the_page = {url for url in urls if url.startswith("/api/docs/")}
    assert set(rows) == set(urls) - parts_of_the_page
    assert all(f"`{url}`" in README for url in parts_of_the_page)
    for url, (methods, _) in rows.items():
        implied = {"OPTIONS", "HEAD"} - set(methods.split(", "))
        assert set(methods.split(", ")) == urls[url] - implied


def test_every_command_is_in_the_table(application: Flask) -> None:
    table = README.partition("\n## Commands\n")[2].partition("\n#")[0]
    for target, meaning in re.findall(r"^([a-z-]+):.*## (.*)$", MAKEFILE, re.MULTILINE):
        assert f"| `make {target}` | {meaning} |" in table
    for name in application.cli.commands:
        assert f"| `flask {name}` |" in table


def test_every_top_level_name_is_explained() -> None:
    screen = README.partition("\n## Where everything is\n")[2]
    for name in ("app.py", "routes.py", "models.py", "gunicorn.conf.py"):
        assert name in screen
    for folder in ROOT.iterdir():
        if (folder / "__init__.py").exists() or any(folder.glob("[a-z]*.py")):
            assert folder.name.startswith(".") or f"{folder.name}/" in screen


@pytest.mark.parametrize(
    "name",
    ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/operating.md", "docs/security.md"),
)
def test_a_document_is_there_and_its_links_lead_somewhere(name: str) -> None:
    document = ROOT / name
    for target in re.findall(r"\]\(([^)#][^)]*)\)", document.read_text()):
        assert target.startswith("https://") or (document.parent / target).exists(), target


def test_every_decision_says_why_and_what_it_costs() -> None:
    records = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert records
    for number, record in enumerate(records, start=1):
        assert record.name.startswith(f"{number:04d}-")
        headings = re.findall(r"^## (.*)$", record.read_text(), re.MULTILINE)
        assert headings == ["Context", "Decision", "Alternatives", "Cost"]


def test_the_curls_of_the_readme_work(tmp_path: Path) -> None:
    section = README.partition("\n## One curl for each act\n")[2].partition("\n## ")[0]
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
        with urllib.request.urlopen(f"{address}/api/files") as answer:
            assert b'"total":3' in answer.read(), "four uploaded, one deleted"
    assert (tmp_path / "copy.txt").read_text() == "Hello, world\n"
    for said in ("206 Partial Content", "304 Not Modified", '"greeting.txt"', '"not_found"'):
        assert said in done.stdout
