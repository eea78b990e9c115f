"""`flask keys` as an operator calls it."""

import json
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
from click.testing import Result

from app import Holdall
from services.caller import EVERYONE
from tests.cli.test_doctor import flask
from tests.conftest import SECRET, MakeApp, parts
from tests.support.keyed import PRIVATE, holder, keyed_app, new_key
from tests.support.service import ROOT, running

CREATE = ("keys", "create", "--name", "n", "--scopes", "read,write")


@pytest.fixture
def keyed(app_with: MakeApp) -> Holdall:
    return keyed_app(app_with)


def run(app: Holdall, *arguments: str) -> Result:
    return app.test_cli_runner().invoke(args=arguments)


def test_the_key_alone_goes_to_standard_output_and_works(tmp_path: Path) -> None:
    with running(tmp_path, AUTH_MODE="keys", SECRET_KEY=SECRET) as service:
        made = flask(
            *("--app", "app", "keys", "create", "--name", "first", "--scopes", "admin"),
            DATA_DIR=str(service.data),
            SECRET_KEY=SECRET,
        )
        assert made.returncode == 0, made.stderr
        secret = made.stdout.removesuffix("\n")
        assert re.fullmatch(r"holdall_[A-Za-z0-9_-]{43}", secret)
        assert secret not in made.stderr
        answer = service.request("GET", "/api/keys", Authorization=f"Bearer {secret}")
        assert [key["name"] for key in answer.json()["items"]] == ["first"]
        assert service.request("GET", "/api/keys").status == 401
    assert secret not in service.log.read_text()


def test_make_offers_the_commands_on_the_data_of_make_run(tmp_path: Path) -> None:
    shown = subprocess.run(
        ["make", "--dry-run", "--always-make", "flask", "ARGS=keys list"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "-m flask --app app keys list" in shown
    assert 'DATA_DIR="${DATA_DIR:-./data}"' in shown


@pytest.mark.parametrize("secret", ("", "short", "changeme" * 5))
def test_without_a_strong_secret_no_command_touches_anything(tmp_path: Path, secret: str) -> None:
    refused = flask(*CREATE, DATA_DIR=str(tmp_path), SECRET_KEY=secret, THREADS="many")
    assert refused.returncode == 1
    assert re.search(r"^SECRET_KEY: ", refused.stderr, re.MULTILINE)
    assert re.search(r"^THREADS: ", refused.stderr, re.MULTILINE)
    assert "Traceback" not in refused.stderr
    assert (refused.stdout, list(tmp_path.iterdir())) == ("", [])


def test_the_help_names_mistakes_without_a_stack(tmp_path: Path) -> None:
    shown = flask("--help", DATA_DIR=str(tmp_path))
    assert "SECRET_KEY: missing" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_a_database_that_a_command_makes_is_for_its_owner_and_group(tmp_path: Path) -> None:
    listed = flask("keys", "list", DATA_DIR=str(tmp_path), SECRET_KEY=SECRET)
    assert listed.returncode == 0, listed.stderr
    assert stat.S_IMODE((tmp_path / "app.db").stat().st_mode) == 0o640


def test_a_key_is_made_with_all_that_was_asked_for(keyed: Holdall) -> None:
    options = ("--collection", PRIVATE, "--expires-in", "30d", "--json")
    made = run(keyed, *CREATE, *options)
    assert made.exit_code == 0, made.output
    document = json.loads(made.stdout)
    (key,) = parts(keyed).keys.all(EVERYONE)
    assert (key.scopes, key.collection) == (("read", "write"), PRIVATE)
    assert key.expires_at is not None
    assert round((key.expires_at - key.created_at).total_seconds()) == 30 * 86_400
    assert holder(keyed, document["key"]).get("/api/files").status_code == 200
    assert document["id"] == key.id


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        ((*CREATE, "--scopes", "read,root"), 1, "'root' is none of admin, delete, read, write"),
        ((*CREATE, "--scopes", ","), 1, "name at least one"),
        ((*CREATE, "--collection", "nowhere"), 1, "No collection is called 'nowhere'"),
        ((*CREATE, "--name", " "), 1, "name: "),
        ((*CREATE, "--expires-in", "1y"), 2, "'1y' is no duration"),
        ((*CREATE, "--expires-in", "0d"), 2, "'0d' is no duration"),
        ((*CREATE, "--expires-in", "999999w"), 1, "expires_in: must be"),
        (("keys", "create", "--name", "n"), 2, "Missing option '--scopes'"),
        (("keys", "revoke", "a" * 26), 1, "Resource not found"),
        (("keys", "revoke"), 2, "Missing argument 'ID'"),
        (("keys", "nothing"), 2, "No such command"),
    ],
)
def test_what_cannot_be_done_is_a_line_and_a_status(
    keyed: Holdall, arguments: tuple[str, ...], status: int, complaint: str
) -> None:
    refused = run(keyed, *arguments)
    assert refused.exit_code == status
    assert complaint in refused.stderr
    assert refused.stdout == ""
    assert parts(keyed).keys.all(EVERYONE) == []


def test_keys_are_listed_and_revoked_even_the_last_admin(keyed: Holdall) -> None:
    made = new_key(keyed, "admin")
    assert holder(keyed, made.secret).get("/api/keys").status_code == 200
    for state in ("active", "revoked"):
        listed = run(keyed, "keys", "list")
        assert listed.exit_code == 0
        (row,) = [line for line in listed.stdout.splitlines() if line.startswith(made.info.id)]
        assert row.split()[1:4] == [state, "admin", "any"]
        assert made.secret not in listed.stdout
        assert run(keyed, "keys", "revoke", made.info.id).exit_code == 0
    (item,) = json.loads(run(keyed, "keys", "list", "--json").stdout)["items"]
    assert (item["id"], item["state"]) == (made.info.id, "revoked")
    assert holder(keyed, made.secret).get("/api/keys").status_code == 401
