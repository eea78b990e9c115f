"""Who is let in by which key, what the others are told, and the admin API on keys."""

import json
import logging
import sqlite3
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text
from werkzeug.test import TestResponse

from app import Holdall
from services.failures import MOST
from tests.conftest import MakeApp, parts
from tests.http.test_uploads import code
from tests.services.test_keys import WRONG, failures_of
from tests.services.uploading import database_of, stored
from tests.support.keyed import (
    PRIVATE,
    bearer,
    holder,
    holder_of,
    keyed_app,
    new_key,
    rows,
)

MINE = {"name": "app", "scopes": ["read", "write"]}
REFUSED = {"Authorization": WRONG}


@pytest.fixture
def keyed(app_with: MakeApp) -> Holdall:
    return keyed_app(app_with)


@pytest.fixture
def admin(keyed: Holdall) -> FlaskClient:
    return holder_of(keyed, "admin")


def challenge(response: TestResponse) -> str:
    return response.headers.get("WWW-Authenticate", "")


# What callers are told


def test_a_caller_is_told_what_is_missing(keyed: Holdall) -> None:
    client = keyed.test_client()
    nothing = client.get("/api/files")
    assert code(nothing) == (401, "unauthorized")
    assert challenge(nothing) == 'Bearer realm="holdall"'
    wrong = client.get("/api/files", headers=REFUSED)
    assert code(wrong) == (401, "unauthorized")
    assert challenge(wrong) == 'Bearer realm="holdall", error="invalid_token"'
    other_scheme = client.get("/api/files", headers={"Authorization": "Basic eDp5"})
    assert (other_scheme.status_code, challenge(other_scheme)) == (401, challenge(nothing))
    too_little = holder_of(keyed, "write").get("/api/files")
    assert code(too_little) == (403, "forbidden")
    assert challenge(too_little) == 'Bearer realm="holdall", error="insufficient_scope"'


@pytest.mark.parametrize("url", ("/api/health", "/api/ready", "/api/openapi.json", "/api/docs"))
def test_a_wrong_key_does_no_harm_where_none_is_needed(keyed: Holdall, url: str) -> None:
    assert keyed.test_client().get(url, headers=REFUSED).status_code == 200
    assert failures_of(keyed) == []


def test_a_wrong_key_tells_nothing_of_private_files(keyed: Holdall) -> None:
    owner = holder_of(keyed, "read", "write")
    url = owner.put(f"/api/upload/a.txt?collection={PRIVATE}", data=b"x").get_json()["url"]
    assert owner.get(url).data == b"x"
    missing = "/uploads/" + "a" * 26 + "/a.txt"
    client = keyed.test_client()
    for headers, status in (({}, 404), (REFUSED, 401), ({"Authorization": "Basic eDp5"}, 401)):
        there, not_there = (client.get(each, headers=headers) for each in (url, missing))
        assert (there.status_code, not_there.status_code) == (status, status)
        assert there.data == not_there.data


def test_a_public_file_is_for_all_even_with_a_wrong_key(keyed: Holdall) -> None:
    url = holder_of(keyed, "write").put("/api/upload/a.txt", data=b"x").get_json()["url"]
    for address in (url, url + "?download=1"):
        assert keyed.test_client().get(address, headers=REFUSED).data == b"x"


def test_an_unauthenticated_write_leaves_everything_as_it_was(keyed: Holdall) -> None:
    before = rows(keyed)
    for headers in ({}, REFUSED):
        refused = keyed.test_client().put("/api/upload/a.txt", data=b"x" * 1000, headers=headers)
        assert refused.status_code == 401
    assert rows(keyed) == before
    assert stored(keyed) == []


def test_a_page_of_another_origin_may_show_a_key(app_with: MakeApp) -> None:
    app = keyed_app(app_with, CORS_ORIGINS="https://app.example")
    asked = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": "DELETE",
        "Access-Control-Request-Headers": "authorization",
    }
    preflight = app.test_client().options("/api/files/" + "a" * 26, headers=asked)
    assert preflight.status_code == 200
    assert "authorization" in preflight.headers["Access-Control-Allow-Headers"].lower()
    refused = app.test_client().get("/api/files", headers={"Origin": "https://app.example"})
    assert refused.status_code == 401
    assert refused.headers["Access-Control-Allow-Origin"] == "https://app.example"


def test_a_database_that_fails_lets_nobody_in(keyed: Holdall, admin: FlaskClient) -> None:
    with database_of(keyed).write() as session:
        session.execute(text("ALTER TABLE api_keys RENAME TO gone"))
    refused = admin.put("/api/upload/a.txt", data=b"x")
    assert code(refused) == (503, "database_unavailable")


# Many wrong keys


def show_wrong(client: FlaskClient, forwarded: str) -> TestResponse:
    headers = REFUSED | {"X-Forwarded-For": forwarded}
    return client.get("/api/files", headers=headers)


def test_many_wrong_keys_are_refused_though_forwarded_addresses_rotate(
    app_with: MakeApp, keyed: Holdall
) -> None:
    second = keyed_app(app_with, DATABASE_URL=parts(keyed).settings.database_url)
    clients = [keyed.test_client(), second.test_client()]
    for number in range(MOST):
        answer = show_wrong(clients[number % 2], f"198.51.100.{number}")
        assert code(answer) == (401, "unauthorized")
    for client in clients:
        refused = show_wrong(client, "203.0.113.9")
        assert code(refused) == (429, "too_many_failures")
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert failures_of(keyed) == [("127.0.0.1", MOST)]
    assert holder_of(keyed, "read").get("/api/files").status_code == 200
    assert keyed.test_client().get("/api/health", headers=REFUSED).status_code == 200
    assert keyed.test_client().get("/api/files").status_code == 401


def test_forwarded_addresses_count_behind_a_trusted_proxy(app_with: MakeApp) -> None:
    client = keyed_app(app_with, TRUSTED_PROXIES="127.0.0.1").test_client()
    for number in range(MOST):
        # What stands further left, the client wrote itself.
        assert show_wrong(client, f"203.0.113.{number}, 198.51.100.1").status_code == 401
    assert show_wrong(client, "198.51.100.1").status_code == 429
    assert show_wrong(client, "198.51.100.2").status_code == 401


# Keys by the API


def test_a_key_is_shown_once_and_works(keyed: Holdall, admin: FlaskClient) -> None:
    made = admin.post("/api/keys", json=MINE | {"collection": PRIVATE, "expires_in": 3600})
    assert made.status_code == 201
    assert made.headers["Cache-Control"] == "private, no-store"
    shown = made.get_json()
    secret = shown.pop("key")
    assert shown["scopes"] == ["read", "write"]
    assert (shown["state"], shown["collection"], shown["last_used_at"]) == ("active", PRIVATE, None)
    read = admin.get(made.headers["Location"])
    assert (read.status_code, read.get_json()) == (200, shown)
    assert read.headers["Cache-Control"] == "private, no-store"
    listed = admin.get("/api/keys").get_json()
    assert listed["total"] == len(listed["items"]) == 2
    assert shown in listed["items"]
    assert secret not in json.dumps(listed) + read.text
    file = holder(keyed, secret).put("/api/upload/a.txt", data=b"x").get_json()
    assert (file["collection"], file["visibility"]) == (PRIVATE, "private")


def test_a_revoked_key_is_refused(keyed: Holdall, admin: FlaskClient) -> None:
    made = admin.post("/api/keys", json=MINE).get_json()
    client = holder(keyed, made["key"])
    assert client.get("/api/files").status_code == 200
    gone = admin.delete(f"/api/keys/{made['id']}")
    assert (gone.status_code, gone.data) == (204, b"")
    assert client.get("/api/files").status_code == 401
    assert admin.get(f"/api/keys/{made['id']}").get_json()["state"] == "revoked"
    assert admin.delete(f"/api/keys/{made['id']}").status_code == 204


def test_the_last_admin_cannot_lock_everybody_out(keyed: Holdall) -> None:
    first = new_key(keyed, "admin")
    client = holder(keyed, first.secret)
    second = client.post("/api/keys", json={"name": "second", "scopes": ["admin"]}).get_json()
    assert client.delete(f"/api/keys/{first.info.id}").status_code == 204
    client = holder(keyed, second["key"])
    assert code(client.delete(f"/api/keys/{second['id']}")) == (409, "conflict")
    assert client.get("/api/keys").status_code == 200


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ({"scopes": []}, (400, "invalid_field")),
        ({"scopes": ["root"]}, (400, "invalid_field")),
        ({"scopes": "admin"}, (400, "invalid_field")),
        ({"name": ""}, (400, "invalid_field")),
        ({"name": "a\nb"}, (400, "invalid_field")),
        ({"name": "a\ud800"}, (400, "invalid_field")),
        ({"expires_in": 0}, (400, "invalid_field")),
        ({"expires_in": 10**12}, (400, "invalid_field")),
        ({"id": "a" * 26}, (400, "invalid_field")),
        ({"key": "holdall_mine"}, (400, "invalid_field")),
        ({"collection": "nowhere"}, (404, "collection_not_found")),
    ],
)
def test_a_key_that_makes_no_sense_is_refused(
    admin: FlaskClient, change: dict[str, Any], answer: tuple[int, str]
) -> None:
    assert code(admin.post("/api/keys", json=MINE | change)) == answer
    assert admin.get("/api/keys").get_json()["total"] == 1


@pytest.mark.parametrize("key_id", ("a" * 26, "a", "a%00", "A" * 26))
def test_an_unknown_key_is_not_found(admin: FlaskClient, key_id: str) -> None:
    for method in ("GET", "DELETE"):
        assert admin.open(f"/api/keys/{key_id}", method=method).status_code == 404


@pytest.mark.parametrize(
    ("scopes", "more"),
    [(("read", "write", "delete"), {}), (("admin",), {"collection": PRIVATE})],
)
def test_who_does_not_administer_all_makes_and_sees_no_keys(
    keyed: Holdall, scopes: tuple[str, ...], more: dict[str, str]
) -> None:
    client = holder_of(keyed, *scopes, **more)
    own = parts(keyed).keys.authenticate(client.environ_base["HTTP_AUTHORIZATION"], None).owner
    before = rows(keyed)
    for answer in (
        client.post("/api/keys", json={"name": "more", "scopes": ["admin"]}),
        client.get("/api/keys"),
        client.get(f"/api/keys/{own}"),
        client.delete(f"/api/keys/{own}"),
    ):
        assert code(answer) == (403, "forbidden")
    assert rows(keyed) == before


def test_a_secret_is_nowhere_but_in_the_first_answer(
    keyed: Holdall, admin: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        made = admin.post("/api/keys", json=MINE).get_json()
        client = holder(keyed, made["key"])
        client.put("/api/upload/a.txt", data=b"x", headers={"Idempotency-Key": "one"})
        client.get("/api/files")
        client.post("/api/upload-links", json={})
        admin.delete(f"/api/keys/{made['id']}")
        client.get("/api/files")
        parts(keyed).keys.close()
    random_part = made["key"].removeprefix("holdall_")
    folder = parts(keyed).settings.data_dir
    with sqlite3.connect(folder / "app.db") as database:
        dumped = "\n".join(database.iterdump())
    database.close()
    assert made["id"] in dumped
    logged = "\n".join(str(vars(record)) for record in caplog.records)
    assert "key created" in logged
    files = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    for text_of in (dumped, logged, files.decode("latin-1")):
        assert random_part not in text_of


def test_in_open_mode_keys_can_be_made_and_none_is_asked_for(local_client: FlaskClient) -> None:
    made = local_client.post("/api/keys", json={"name": "first", "scopes": ["admin"]})
    assert made.status_code == 201
    headers = bearer("holdall_nonsense")
    assert local_client.get("/api/files", headers=headers).status_code == 200
