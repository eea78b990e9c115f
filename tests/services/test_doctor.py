"""The doctor names what is wrong, and the variable that mends it, and leaves nothing behind."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import botocore.auth
import psycopg
import pytest
from sqlalchemy import update

from config.partial import load_what_is_right
from models import Collection
from services.database import Database
from services.doctor import Finding, Status, diagnose
from services.doctor import disks as disk
from services.doctor.findings import Check, examine, fail, ok
from services.doctor.machine import types
from tests.conftest import MakeApp, parts
from tests.support.servers import PostgresServer, S3Server
from tests.support.service import ROOT

SECRET = "5b0d" * 4 + "e7c19a42" * 4
LISTED = "https://app.example.org"


class StrictS3Server(S3Server):
    """A store whose CORS rules let in one origin."""

    def _command(self) -> list[str]:
        return [*super()._command(), f"-s3.allowedOrigins={LISTED}"]


@pytest.fixture(scope="module")
def strict_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = StrictS3Server(tmp_path_factory.mktemp("strict"))
    server.start_anywhere()
    yield server
    server.stop()


def diagnosis(data: Path, **variables: str) -> list[Finding]:
    """Return everything that the doctor finds with the variables given."""
    environment = {"AUTH_MODE": "open", "DATA_DIR": str(data), "WEB_CONCURRENCY": "2"}
    settings, problems = load_what_is_right(environment | variables)
    return list(diagnose(settings, problems, migrations=ROOT / "migrations"))


def bad(findings: list[Finding]) -> list[tuple[str, str | None]]:
    """Return status and variable of all that is not well."""
    return [(each.status.value, each.variable) for each in findings if each.status != Status.OK]


def said(findings: list[Finding], check: str) -> str:
    return " / ".join(each.message for each in findings if each.check == check)


def on(server: S3Server, url: str, **variables: str) -> dict[str, str]:
    return {
        "STORAGE_BACKEND": "s3",
        "STORAGE_S3_URL": url,
        "STORAGE_S3_ACCESS_KEY_ID": server.access_key_id,
        "STORAGE_S3_SECRET_ACCESS_KEY": server.secret_access_key,
    } | variables


class TestHere:
    def test_what_is_well_is_said_and_nothing_is_made(self, tmp_path: Path) -> None:
        findings = diagnosis(tmp_path / "data")
        assert bad(findings) == []
        assert {each.check for each in findings} >= {
            "settings",
            "access",
            "proxies",
            "public URL",
            "data folder",
            "metrics folder",
            "libmagic",
            "database",
            "storage local",
        }
        assert list(tmp_path.iterdir()) == []

    def test_a_service_that_has_begun_is_examined_and_left_as_it_is(
        self, tmp_path: Path, app_with: MakeApp
    ) -> None:
        app_with(DATA_DIR=str(tmp_path))
        before = sorted(path for path in tmp_path.rglob("*") if "-shm" not in path.name)
        findings = diagnosis(tmp_path)
        assert bad(findings) == []
        assert "the one of this version" in said(findings, "database")
        assert "write-ahead log" in said(findings, "database")
        assert "gives them back" in said(findings, "storage local")
        after = sorted(path for path in tmp_path.rglob("*") if "-shm" not in path.name)
        assert [path for path in after if path.is_file()] == [
            path for path in before if path.is_file()
        ]

    def test_every_mistake_in_the_settings_is_one_line_and_the_rest_is_examined(
        self, tmp_path: Path
    ) -> None:
        findings = diagnosis(
            tmp_path,
            AUTH_MODE="keys",
            FLASK_RUN_PORT="many",
            PUBLIC_URL="files.example.org",
            STORAGE_BACKEND="s3",
            STORAGE_S3_URL="http://minio:9000",
            CORS_ORIGINS="https://*.example.org",
        )
        assert [each.variable for each in findings if each.check == "settings"] == [
            "CORS_ORIGINS",
            "FLASK_RUN_PORT",
            "PUBLIC_URL",
            "SECRET_KEY",
            "STORAGE_BACKEND",
            "STORAGE_S3_URL",
        ]
        assert {each.status for each in findings if each.check == "settings"} == {Status.FAIL}
        assert len(bad(findings)) == 6
        assert said(findings, "database") and said(findings, "storage local")

    @pytest.mark.parametrize("place", ["/sys", "/sys/holdall", "a-file", "a-file/below"])
    def test_a_data_folder_that_takes_no_files_is_named(self, tmp_path: Path, place: str) -> None:
        (tmp_path / "a-file").touch()
        findings = diagnosis(tmp_path / place)
        assert ("fail", "DATA_DIR") in bad(findings)

    def test_a_folder_on_the_network_is_no_place_for_sqlite(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mounts = tmp_path / "mountinfo"
        mounts.write_text(f"30 1 0:9 / {tmp_path} rw,relatime shared:1 - nfs4 server:/x rw\n")
        monkeypatch.setattr(disk, "_MOUNTS", mounts)
        assert ("fail", "DATABASE_URL") in bad(diagnosis(tmp_path))

    def test_open_to_the_network_and_a_weak_secret_are_pointed_out(self, tmp_path: Path) -> None:
        findings = diagnosis(tmp_path, HOST="0.0.0.0", SECRET_KEY="changeme")
        assert bad(findings) == [("warn", "AUTH_MODE"), ("warn", "SECRET_KEY")]

    def test_a_strong_secret_is_enough_in_keys_mode(self, tmp_path: Path) -> None:
        findings = diagnosis(tmp_path, AUTH_MODE="keys", SECRET_KEY=SECRET, HOST="0.0.0.0")
        assert bad(findings) == []
        assert SECRET not in str(findings)

    @pytest.mark.parametrize(
        "variables",
        [
            {"TRUSTED_PROXIES": "10.0.0.0/8,0.0.0.0/0"},
            {"TRUSTED_PROXIES": "::/0"},
        ],
    )
    def test_believing_everyone_is_pointed_out(
        self, tmp_path: Path, variables: dict[str, str]
    ) -> None:
        assert bad(diagnosis(tmp_path, **variables)) == [("warn", "TRUSTED_PROXIES")]

    def test_a_libmagic_that_does_not_load_or_does_not_know_is_named(self) -> None:
        class Missing:
            def __init__(self) -> None:
                raise ImportError("libmagic.so.1")

            def from_buffer(self, head: bytes) -> str:
                raise AssertionError("what did not load is asked nothing")

        class Ignorant:
            def from_buffer(self, head: bytes) -> str:
                return "application/octet-stream"

        for load in (Missing, Ignorant):
            (finding,) = types(load)
            assert finding.status == Status.FAIL


class TestPublicUrl:
    def test_an_url_that_something_else_answers_is_named(
        self, tmp_path: Path, s3_server: S3Server
    ) -> None:
        findings = diagnosis(tmp_path, PUBLIC_URL=s3_server.endpoint)
        assert bad(findings) == [("fail", "PUBLIC_URL")]
        assert "something else" in said(findings, "public URL")

    def test_an_url_that_nobody_answers_is_a_doubt_while_the_service_does_not_run(
        self, tmp_path: Path
    ) -> None:
        findings = diagnosis(tmp_path, PUBLIC_URL="http://127.0.0.1:1", FLASK_RUN_PORT="2")
        assert bad(findings) == [("warn", "PUBLIC_URL")]


class TestDatabases:
    def test_a_postgresql_is_reached_and_its_version_told(
        self, tmp_path: Path, postgres_server: PostgresServer, upgraded_database: str
    ) -> None:
        url = postgres_server.fresh_database(like=upgraded_database)
        findings = diagnosis(tmp_path, DATABASE_URL=url)
        assert bad(findings) == []
        assert "PostgreSQL 1" in said(findings, "database")
        assert "the one of this version" in said(findings, "database")

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://user:hunter2@127.0.0.1:1/name",
            "postgresql://user:hunter2@host.invalid/name",
            "postgresql://user@host:hunter2/name",
            "mysql://user:hunter2@host/name",
            "nowhere://user:hunter2@host/name",
            "hunter2",
        ],
    )
    def test_a_database_that_cannot_be_used_is_named_and_its_password_is_not(
        self, tmp_path: Path, url: str
    ) -> None:
        findings = diagnosis(tmp_path, DATABASE_URL=url)
        assert bad(findings) == [("fail", "DATABASE_URL")]
        assert "hunter2" not in str(findings)

    def test_a_database_that_is_not_there_or_takes_no_writes_is_named(
        self, tmp_path: Path, postgres_server: PostgresServer
    ) -> None:
        url = postgres_server.fresh_database()
        assert bad(diagnosis(tmp_path, DATABASE_URL=url)) == []
        name = url.partition("?")[0].rpartition("/")[2]
        with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
            command = f"ALTER DATABASE {name} SET default_transaction_read_only = on"
            connection.execute(command.encode())
        assert bad(diagnosis(tmp_path, DATABASE_URL=url)) == [("fail", "DATABASE_URL")]
        missing = url.replace(f"/{name}?", "/no_such_database?")
        assert bad(diagnosis(tmp_path, DATABASE_URL=missing)) == [("fail", "DATABASE_URL")]

    @pytest.mark.parametrize(("version", "status"), [("0001", "warn"), ("9999", "fail")])
    def test_a_schema_of_another_version_is_told(
        self, tmp_path: Path, app_with: MakeApp, version: str, status: str
    ) -> None:
        app_with(DATA_DIR=str(tmp_path))
        with sqlite3.connect(tmp_path / "app.db") as database:
            database.execute("UPDATE alembic_version SET version_num = ?", (version,))
        database.close()
        assert [found for found, _ in bad(diagnosis(tmp_path))] == [status]

    def test_a_file_that_is_no_database_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "app.db").write_text("minutes of the meeting")
        assert bad(diagnosis(tmp_path)) == [("fail", "DATABASE_URL")]

    def test_a_collection_that_asks_for_what_its_backend_cannot_do_is_told(
        self, tmp_path: Path, app_with: MakeApp
    ) -> None:
        database: Database = parts(app_with(DATA_DIR=str(tmp_path))).files._database
        for values, found in (
            ({"delivery": "redirect"}, ("warn", None)),
            ({"backend": "archive"}, ("fail", "STORAGE_ARCHIVE_URL")),
        ):
            with database.write() as session:
                session.execute(update(Collection).values(delivery="proxy", backend=None))
                session.execute(update(Collection).values(**values))
            assert bad(diagnosis(tmp_path)) == [found]


class TestStores:
    def test_a_store_takes_files_also_from_browsers(
        self, tmp_path: Path, s3_server: S3Server
    ) -> None:
        url = s3_server.url("doctor", create_bucket="true")
        findings = diagnosis(tmp_path, **on(s3_server, url, CORS_ORIGINS=LISTED))
        assert bad(findings) == []
        told = said(findings, "storage s3")
        assert f"let in pages of {LISTED}" in told
        assert "clock and ours agree" in told
        assert s3_server.secret_access_key not in str(findings)

    @pytest.mark.parametrize(
        ("wrong", "variable"),
        [
            ({"bucket": "no-such-bucket"}, "STORAGE_S3_URL"),
            ({"endpoint": "http://127.0.0.1:1"}, "STORAGE_S3_URL"),
            ({"endpoint": "http://store.invalid"}, "STORAGE_S3_URL"),
            ({"part_size": "1"}, "STORAGE_S3_URL"),
            ({"buckett": "x"}, "STORAGE_S3_URL"),
            ({"STORAGE_S3_SECRET_ACCESS_KEY": "hunter2hunter2"}, "STORAGE_S3_ACCESS_KEY_ID"),
            ({"STORAGE_S3_ACCESS_KEY_ID": "hunter2hunter2"}, "STORAGE_S3_ACCESS_KEY_ID"),
            ({"public": "http://127.0.0.1:1"}, "STORAGE_S3_PUBLIC_ENDPOINT"),
            ({"public": "http://localhost:9/x?y"}, "STORAGE_S3_URL"),
        ],
        ids=str,
    )
    def test_what_is_wrong_is_one_line_that_names_the_variable(
        self, tmp_path: Path, s3_server: S3Server, wrong: dict[str, str], variable: str
    ) -> None:
        parameters = {name: value for name, value in wrong.items() if name.islower()}
        bucket = parameters.pop("bucket", "doctor")
        public = parameters.pop("public", "")
        made = {} if bucket.startswith("no-") else {"create_bucket": "true"}
        url = s3_server.url(bucket, **(made | parameters))
        findings = diagnosis(
            tmp_path,
            **on(s3_server, url, STORAGE_S3_PUBLIC_ENDPOINT=public)
            | {name: value for name, value in wrong.items() if name.isupper()},
        )
        assert bad(findings) == [("fail", variable)]
        assert "hunter2" not in str(findings)

    def test_a_clock_that_is_wrong_is_told(
        self, tmp_path: Path, s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        later = datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=1)
        monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_, **__: later)
        url = s3_server.url("doctor", create_bucket="true")
        findings = diagnosis(tmp_path, **on(s3_server, url))
        assert bad(findings) == [("fail", "STORAGE_S3_URL")]
        assert "clock" in said(findings, "storage s3")

    def test_origins_that_the_store_does_not_let_in_are_told(
        self, tmp_path: Path, strict_server: S3Server
    ) -> None:
        url = strict_server.url("doctor", create_bucket="true")
        listed = diagnosis(tmp_path, **on(strict_server, url, CORS_ORIGINS=LISTED))
        assert bad(listed) == []
        both = f"{LISTED},https://other.example.org"
        findings = diagnosis(tmp_path, **on(strict_server, url, CORS_ORIGINS=both))
        assert bad(findings) == [("warn", "CORS_ORIGINS")]
        (finding,) = [each for each in findings if each.status == Status.WARN]
        assert "https://other.example.org" in finding.message

    def test_an_endpoint_that_only_the_inside_knows_is_told(
        self, tmp_path: Path, s3_server: S3Server
    ) -> None:
        url = s3_server.url("doctor", create_bucket="true")
        findings = diagnosis(
            tmp_path, **on(s3_server, url, PUBLIC_URL="http://files.example.invalid")
        )
        assert ("warn", "STORAGE_S3_PUBLIC_ENDPOINT") in bad(findings)

    def test_what_was_tried_is_removed_again(
        self, tmp_path: Path, s3_server: S3Server, app_with: MakeApp
    ) -> None:
        url = s3_server.url("doctor-empty", create_bucket="true")
        variables = on(s3_server, url, CORS_ORIGINS=LISTED)
        assert bad(diagnosis(tmp_path, **variables)) == []
        storage = parts(app_with(**variables)).storages["s3"]
        assert list(storage.scan()) == []


class TestChecks:
    def test_a_check_that_never_ends_is_a_line_and_delays_no_other(self) -> None:
        ended = threading.Event()

        def hang() -> Iterator[Finding]:
            yield ok("one", "begins")
            ended.wait()

        began = time.monotonic()
        checks = [
            Check("one", hang, "ONE", seconds=0.2),
            Check("two", lambda: [ok("two", "is well")]),
        ]
        findings = list(examine(checks))
        ended.set()
        assert [(each.check, each.status.value, each.variable) for each in findings] == [
            ("one", "ok", None),
            ("one", "fail", "ONE"),
            ("two", "ok", None),
        ]
        assert time.monotonic() - began < 5

    def test_a_check_that_breaks_is_a_line_without_its_cause(self) -> None:
        def break_down() -> list[Finding]:
            raise RuntimeError("hunter2")

        (finding,) = examine([Check("one", break_down, "ONE")])
        assert (finding.status, finding.variable) == (Status.FAIL, "ONE")
        assert "hunter2" not in finding.message

    def test_no_secret_is_ever_shown(self) -> None:
        check = Check("one", lambda: [fail("one", "hunter2 is wrong, and so is hunter2hunter2")])
        (finding,) = examine([check], ["hunter2", "", "hunter2hunter2"])
        assert finding.message == "… is wrong, and so is …"
