"""The admin API on collections and the ways to ask how much is used; and `flask collections`."""

import json
from typing import Any

import pytest
from click.testing import Result
from flask.testing import FlaskClient

from app import Holdall
from tests.conftest import MakeApp, parts
from tests.http.test_uploads import code
from tests.support.keyed import holder_of, keyed_app, new_key

URL = "/api/collections/pics"
FIELDS = {
    "visibility": "private",
    "allowed_types": ["image/*", "application/pdf"],
    "on_mismatch": "reject",
    "max_size": 1000,
    "max_files": 2,
    "max_bytes": 1500,
    "expires_in": 3600,
    "backend": "local",
    "delivery": "x-accel",
    "cache_max_age": 0,
}


def run(app: Holdall, *arguments: str) -> Result:
    result: Result = app.test_cli_runner().invoke(args=["collections", *arguments])
    return result


def test_a_collection_is_made_read_changed_replaced_and_deleted(local_client: FlaskClient) -> None:
    made = local_client.put(URL, json=FIELDS)
    assert (made.status_code, made.headers["Location"]) == (201, URL)
    assert made.get_json().items() >= ({"name": "pics"} | FIELDS).items()
    assert made.headers["Cache-Control"] == "private, no-store"
    assert local_client.get(URL).get_json() == made.get_json()
    changed = local_client.patch(URL, json={"max_size": None, "allowed_types": None})
    assert changed.status_code == 200
    assert changed.get_json().items() >= {"max_size": None, "allowed_types": None}.items()
    assert changed.get_json()["max_files"] == 2
    replaced = local_client.put(URL, json={"max_files": 3})
    assert (replaced.status_code, replaced.get_json()["visibility"]) == (200, "public")
    assert replaced.get_json().items() >= {"max_files": 3, "max_bytes": None}.items()
    listed = local_client.get("/api/collections").get_json()
    assert [each["name"] for each in listed["items"]] == ["default", "pics"]
    assert listed["total"] == 2
    assert local_client.delete(URL).status_code == 204
    assert code(local_client.get(URL)) == (404, "collection_not_found")
    assert code(local_client.patch(URL, json={})) == (404, "collection_not_found")
    assert code(local_client.delete("/api/collections/default")) == (409, "conflict")


@pytest.mark.parametrize(
    "wrong",
    (
        {"max_size": 0},
        {"max_size": True},
        {"max_size": "10MB"},
        {"max_files": 1.5},
        {"visibility": None},
        {"visibility": "secret"},
        {"allowed_types": []},
        {"allowed_types": ["image"]},
        {"expires_in": -1},
        {"cache_max_age": 10**9},
        {"backend": "nowhere"},
        {"owner": "me"},
        {"name": "other"},
    ),
)
def test_what_cannot_be_asked_is_refused_by_name(
    local_client: FlaskClient, wrong: dict[str, Any]
) -> None:
    for method in ("PUT", "PATCH"):
        refused = local_client.open("/api/collections/default", method=method, json=wrong)
        assert code(refused) == (400, "invalid_field")
        assert refused.get_json()["error"].startswith(next(iter(wrong)))


@pytest.mark.parametrize("name", ("Pics", "a%20b", "a%00", "%C3%A4", "-", "a" * 64))
def test_a_name_that_cannot_be_is_refused(local_client: FlaskClient, name: str) -> None:
    url = f"/api/collections/{name}"
    assert code(local_client.put(url, json={})) == (400, "invalid_field")
    for method in ("GET", "DELETE"):
        assert code(local_client.open(url, method=method))[0] == 404
    assert code(local_client.get(f"{url}/usage"))[0] == 404


def test_who_may_do_what(app_with: MakeApp) -> None:
    app = keyed_app(app_with)
    admin, reader = holder_of(app, "admin"), holder_of(app, "read", "write", "delete")
    bound = holder_of(app, "admin", collection="vault")
    assert admin.put(URL, json={}).status_code == 201
    for client, status in ((app.test_client(), 401), (reader, 403), (bound, 403)):
        for method in ("PUT", "PATCH", "DELETE"):
            assert client.open(URL, method=method, json={}).status_code == status
        assert client.get("/api/keys/x/usage").status_code == status
    assert app.test_client().get("/api/collections").status_code == 401
    assert app.test_client().get("/api/usage").status_code == 401
    assert reader.get("/api/collections").get_json()["total"] == 3
    assert [each["name"] for each in bound.get("/api/collections").get_json()["items"]] == ["vault"]
    assert bound.get(URL).status_code == 404
    assert code(reader.get(f"{URL}/usage")) == (403, "forbidden")
    assert code(bound.get(f"{URL}/usage")) == (404, "collection_not_found")
    assert bound.get("/api/collections/vault/usage").status_code == 200


def test_usage_is_that_of_the_key_that_asks(app_with: MakeApp) -> None:
    app = keyed_app(app_with)
    admin = holder_of(app, "admin")
    admin.put(URL, json={"max_files": 5, "max_bytes": 1000})
    key = new_key(app, "write")
    mine = app.test_client()
    mine.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {key.secret}"
    assert mine.put("/api/upload/a?collection=pics", data=b"12345").status_code == 201
    begun = {"Tus-Resumable": "1.0.0", "Upload-Length": "95"}
    assert mine.post("/api/tus?collection=pics", headers=begun).status_code == 201
    admin.put("/api/upload/b?collection=pics", data=b"1")
    told = {
        "collection": "pics",
        "files": 1,
        "bytes": 5,
        "trashed_files": 0,
        "trashed_bytes": 0,
        "reserved_files": 1,
        "reserved_bytes": 95,
        "max_files": 5,
        "max_bytes": 1000,
    }
    assert mine.get("/api/usage").get_json() == {"items": [told], "total": 1}
    assert admin.get(f"/api/keys/{key.info.id}/usage").get_json() == {"items": [told], "total": 1}
    every = admin.get(f"{URL}/usage").get_json()
    assert every == told | {"files": 2, "bytes": 6}
    assert code(admin.get(f"/api/keys/{'a' * 26}/usage"))[0] == 404


def test_an_upload_that_has_no_room_is_refused_before_its_body(local_app: Holdall) -> None:
    client = local_app.test_client()
    client.put(URL, json={"max_bytes": 10})
    refused = client.put(
        "/api/upload/a?collection=pics",
        data=b"",
        environ_overrides={"CONTENT_LENGTH": "11"},
    )
    assert code(refused) == (507, "quota_exceeded")


# flask collections


def test_the_command_makes_changes_shows_and_deletes(local_app: Holdall) -> None:
    every = [
        *("--visibility", "private", "--allowed-types", "image/*,application/pdf"),
        *("--on-mismatch", "reject", "--max-size", "10MB", "--max-files", "7"),
        *("--max-bytes", "1GiB", "--expires-in", "7d", "--backend", "local"),
        *("--delivery", "redirect", "--cache-max-age", "0"),
    ]
    assert run(local_app, "set", "pics", *every).output == "pics made\n"
    shown = json.loads(run(local_app, "show", "pics", "--json").output)
    asked = {
        "visibility": "private",
        "allowed_types": ["image/*", "application/pdf"],
        "on_mismatch": "reject",
        "max_size": 10_000_000,
        "max_files": 7,
        "max_bytes": 1024**3,
        "expires_in": 7 * 86_400,
        "backend": "local",
        "delivery": "redirect",
        "cache_max_age": 0,
    }
    assert shown.items() >= (asked | {"files": 0, "reserved_bytes": 0}).items()
    cleared = ("--max-size", "none", "--allowed-types", "none", "--expires-in", "none")
    changed = run(local_app, "set", "pics", *cleared, "--backend", "none", "--json")
    assert json.loads(changed.output)["max_files"] == 7
    for field in ("max_size", "allowed_types", "expires_in", "backend"):
        assert json.loads(changed.output)[field] is None
    lines = run(local_app, "show", "pics").output.splitlines()
    assert "max_size        none" in lines and "max_files       7" in lines
    assert run(local_app, "list").output == "default\npics\n"
    listed = json.loads(run(local_app, "list", "--json").output)
    assert [each["name"] for each in listed] == ["default", "pics"]
    assert run(local_app, "delete", "pics").output == "pics deleted\n"
    assert parts(local_app).settings.storage_backend == "local"


@pytest.mark.parametrize(
    ("arguments", "said"),
    (
        (("set", "Pics"), "name is not"),
        (("set", "pics", "--max-size", "big"), "no size"),
        (("set", "pics", "--max-files", "0"), "max_files is not"),
        (("set", "pics", "--allowed-types", "image"), "allowed_types: 'image'"),
        (("set", "pics", "--backend", "nowhere"), "backend is not"),
        (("set", "pics", "--expires-in", "soon"), "no duration"),
        (("set", "pics", "--cache-max-age", "none"), "no duration"),
        (("show", "pics"), "No collection"),
        (("delete", "pics"), "No collection"),
        (("delete", "default"), "always stays"),
    ),
)
def test_the_command_says_in_a_line_what_is_wrong(
    local_app: Holdall, arguments: tuple[str, ...], said: str
) -> None:
    result = run(local_app, *arguments)
    assert result.exit_code != 0
    assert said in result.output
    assert "Traceback" not in result.output
    assert run(local_app, "list").output == "default\n"
