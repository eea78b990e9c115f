"""Health, readiness, metrics, request ids, CORS of the API, and the API's own description."""

import json
import logging
import sqlite3
from typing import Any

import pytest
from flask.testing import FlaskClient
from psycopg.errors import DiskFull, TooManyConnections
from sqlalchemy.exc import OperationalError

from app import Holdall
from tests.conftest import MakeApp, parts
from tests.http.test_files import put
from tests.http.test_uploads import code
from tests.support.servers import S3Server, seaweedfs
from views.errors import known


def test_health_says_that_the_process_is_alive(local_client: FlaskClient) -> None:
    response = local_client.get("/api/health")
    assert response.get_json() == {"status": "healthy", "service": "backend"}


def test_health_touches_neither_database_nor_storage(
    app_with: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = app_with()
    monkeypatch.delitem(app.extensions, "holdall")
    monkeypatch.delitem(app.extensions, "sqlalchemy")
    assert app.test_client().get("/api/health").status_code == 200


def test_ready_asks_every_dependency(client: FlaskClient) -> None:
    answer = client.get("/api/ready").get_json()
    assert answer["status"] == "ready"
    assert set(answer["checks"]) >= {"database", "storage:local"}
    assert set(answer["checks"].values()) == {"up"}


def test_ready_names_what_is_down_and_recovers(
    app_with: MakeApp, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with seaweedfs(tmp_path_factory.mktemp("own-s3")) as server:
        app = app_with(
            STORAGE_FAR_URL=server.url("far", connect_timeout=1, read_timeout=1, max_attempts=1),
            STORAGE_FAR_ACCESS_KEY_ID=server.access_key_id,
            STORAGE_FAR_SECRET_ACCESS_KEY=server.secret_access_key,
        )
        client = app.test_client()
        _make_bucket(server, "far")
        assert client.get("/api/ready").status_code == 200
        server.stop()
        response = client.get("/api/ready")
        assert response.status_code == 503
        assert response.headers["Retry-After"]
        checks = {"database": "up", "storage:far": "down", "storage:local": "up"}
        assert response.get_json() == {"status": "unavailable", "checks": checks}
        assert client.get("/api/health").status_code == 200
        assert put(client, "a.txt")["size"] == 4
        server.start()
        assert client.get("/api/ready").status_code == 200


def _make_bucket(server: S3Server, name: str) -> None:
    import boto3

    boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=server.access_key_id,
        aws_secret_access_key=server.secret_access_key,
        region_name="us-east-1",
    ).create_bucket(Bucket=name)


def test_metrics_count_requests(local_client: FlaskClient) -> None:
    put(local_client, "a.txt")
    text = local_client.get("/metrics").text
    assert 'holdall_requests_total{method="PUT",route="/api/upload/<path:filename>"' in text
    assert "holdall_request_seconds_bucket" in text


def test_made_up_methods_are_one_in_the_metrics(local_client: FlaskClient) -> None:
    for number in range(3):
        local_client.open("/api/health", method=f"MADEUP{number}")
    text = local_client.get("/metrics").text
    assert 'holdall_requests_total{method="other",' in text
    assert "MADEUP" not in text


def test_metrics_are_for_this_machine_only(local_client: FlaskClient) -> None:
    elsewhere = {"REMOTE_ADDR": "192.0.2.1"}
    assert local_client.get("/metrics", environ_overrides=elsewhere).status_code == 401
    for name in ("X-Forwarded-For", "X-Real-IP", "Forwarded", "Via"):
        proxied = local_client.get("/metrics", headers={name: "192.0.2.1"})
        assert proxied.status_code == 401


def test_metrics_need_their_token_when_there_is_one(app_with: MakeApp) -> None:
    client = app_with(METRICS_TOKEN="let-me-see").test_client()
    assert code(client.get("/metrics")) == (401, "unauthorized")
    wrong = {"Authorization": "Bearer something"}
    assert client.get("/metrics", headers=wrong).status_code == 401
    right = {"Authorization": "Bearer let-me-see"}
    elsewhere = {"REMOTE_ADDR": "192.0.2.1"}
    assert client.get("/metrics", headers=right, environ_overrides=elsewhere).status_code == 200


def test_a_request_id_travels_along(local_client: FlaskClient) -> None:
    given = local_client.get("/api/health", headers={"X-Request-ID": "abc-123"})
    assert given.headers["X-Request-ID"] == "abc-123"
    strange = local_client.get("/api/health", headers={"X-Request-ID": "a b\tc"})
    assert len(strange.headers["X-Request-ID"]) == 32
    missing = local_client.get("/nowhere")
    assert len(missing.headers["X-Request-ID"]) == 32


def test_each_request_is_one_log_line(
    local_client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "holdall.request"):
        local_client.get("/api/files", headers={"X-Request-ID": "one"})
    (record,) = [each for each in caplog.records if each.name == "holdall.request"]
    line: dict[str, Any] = vars(record)
    assert (line["method"], line["path"], line["status"]) == ("GET", "/api/files", 200)
    assert line["request_id"] == "one"
    assert line["ms"] >= 0


def test_important_acts_are_logged(
    local_client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "holdall"):
        file = put(local_client, "a.txt")
        local_client.patch(f"/api/files/{file['id']}", json={"filename": "b.txt"})
        local_client.delete(f"/api/files/{file['id']}")
    said = [record.message for record in caplog.records if record.name != "holdall.request"]
    assert said == ["file published", "file changed", "file deleted"]


def test_only_listed_origins_may_call_the_api(app_with: MakeApp) -> None:
    client = app_with(CORS_ORIGINS="https://app.example").test_client()
    listed = client.get("/api/files", headers={"Origin": "https://app.example"})
    assert listed.headers["Access-Control-Allow-Origin"] == "https://app.example"
    assert "Origin" in listed.headers["Vary"]
    assert "Access-Control-Allow-Credentials" not in listed.headers
    for origin in ("https://evil.example", "null", "https://app.example.evil.example"):
        other = client.get("/api/files", headers={"Origin": origin})
        assert "Access-Control-Allow-Origin" not in other.headers


def test_a_preflight_allows_what_the_api_needs(app_with: MakeApp) -> None:
    client = app_with(CORS_ORIGINS="*").test_client()
    asking = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "content-type, content-digest, upload-offset",
    }
    response = client.options("/api/upload/a", headers=asking)
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "PUT" in response.headers["Access-Control-Allow-Methods"]
    allowed = response.headers["Access-Control-Allow-Headers"].lower()
    assert all(name in allowed for name in ("content-type", "content-digest", "upload-offset"))


def test_without_origins_there_are_no_cors_headers(local_client: FlaskClient) -> None:
    response = local_client.get("/api/files", headers={"Origin": "https://app.example"})
    assert not [name for name, _ in response.headers if name.startswith("Access-Control")]


def test_forwarded_headers_count_from_trusted_proxies_only(
    app_with: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    client = app_with(TRUSTED_PROXIES="127.0.0.0/8,10.0.0.0/8").test_client()
    headers = {"X-Forwarded-For": "6.6.6.6, 192.0.2.7, 10.1.1.1"}
    with caplog.at_level(logging.INFO, "holdall.request"):
        client.get("/api/files", headers=headers)
        client.get("/api/files", headers=headers, environ_overrides={"REMOTE_ADDR": "192.0.2.9"})
    clients = [vars(record)["client"] for record in caplog.records]
    assert clients == ["192.0.2.7", "192.0.2.9"]


def test_links_are_absolute_where_the_public_url_is_known(app_with: MakeApp) -> None:
    client = app_with(PUBLIC_URL="https://files.example/").test_client()
    file = put(client, "a.txt")
    assert file["url"] == f"https://files.example/uploads/{file['id']}/a.txt"


def test_the_api_describes_itself(local_client: FlaskClient) -> None:
    document = json.loads(local_client.get("/api/openapi.json").data)
    assert document["openapi"].startswith("3.1")
    upload = document["paths"]["/api/upload"]["post"]
    assert "multipart/form-data" in upload["requestBody"]["content"]
    assert {"201", "400", "401", "503"} <= set(upload["responses"])
    listing = document["paths"]["/api/files"]["get"]
    assert {each["name"] for each in listing["parameters"]} >= {"limit", "cursor", "q", "sort"}


def test_every_url_of_the_api_is_described(local_client: FlaskClient) -> None:
    described = json.loads(local_client.get("/api/openapi.json").data)["paths"]
    rules = local_client.application.url_map.iter_rules()
    known = {rule.rule for rule in rules if rule.rule.startswith("/api/")}
    own = {rule for rule in known if rule.startswith(("/api/docs", "/api/openapi", "/api/tus"))}
    shown = {
        rule.replace("<path:", "{").replace("<", "{").replace(">", "}") for rule in known - own
    }
    assert shown == set(described)


def test_the_page_of_the_api_needs_no_other_host(local_client: FlaskClient) -> None:
    page = local_client.get("/api/docs")
    assert page.status_code == 200
    assert "http" not in page.text.replace("http-equiv", "")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    for asset in ("assets/css/swagger-ui.css", "assets/js/swagger-ui-bundle.js", "start.js"):
        assert local_client.get(f"/api/docs/{asset}").status_code == 200
    assert local_client.get("/api/docs/assets/../__init__.py").status_code == 404


def test_a_locked_database_is_a_503_and_leaves_nothing(
    app_with: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.database._BUSY_TIMEOUT_MS", 300)
    app = app_with()
    client = app.test_client()
    with parts(app).files._database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 0")
        connection.exec_driver_sql("ROLLBACK")
        connection.exec_driver_sql("BEGIN EXCLUSIVE")
        response = client.put("/api/upload/a", data=b"x")
        connection.exec_driver_sql("ROLLBACK")
        connection.exec_driver_sql("BEGIN")
    assert code(response) == (503, "database_unavailable")
    assert response.headers["Retry-After"]
    assert client.get("/api/files").get_json()["total"] == 0
    assert client.put("/api/upload/a", data=b"x").status_code == 201


def test_a_full_disk_under_the_database_is_a_507(local_app: Holdall) -> None:
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorname = "SQLITE_FULL"
    for cause, status in (
        (full, 507),
        (DiskFull("could not extend file: No space left on device"), 507),
        (sqlite3.OperationalError("database is locked"), 503),
        (TooManyConnections("the house is full"), 503),
    ):
        with local_app.test_request_context():
            assert known(OperationalError("INSERT", {}, cause)).status_code == status
