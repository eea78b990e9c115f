"""Signed links to read a file, on every storage and database."""

import time
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import Holdall
from models import ApiKey, Collection
from services.caller import EVERYONE, SCOPES, Caller
from tests.conftest import SECRET, MakeApp, parts
from tests.http.test_uploads import PNG, code
from tests.services.uploading import database_of

OLD_SECRET = "5e" * 8 + "b1" * 8 + "0d9c3fa7"
TEXT = b"0123456789"


def add_collection(app: Holdall, name: str = "secrets", visibility: str = "private") -> None:
    with database_of(app).write() as session:
        session.add(Collection(name=name, visibility=visibility))


def add_key(app: Holdall, key_id: str, scopes: frozenset[str] = SCOPES) -> Caller:
    """Put a key into the database, and return its holder."""
    with database_of(app).write() as session:
        row = ApiKey(id=key_id, name=key_id, hash=key_id.encode(), hint="", scopes=sorted(scopes))
        session.add(row)
    return Caller(key_id, scopes)


@pytest.fixture
def private(app: Holdall, client: FlaskClient) -> dict[str, Any]:
    """A private file."""
    return stored(app, client)


def stored(app: Holdall, client: FlaskClient, **added: str) -> dict[str, Any]:
    add_collection(app)
    answer = client.put("/api/upload/count.txt?collection=secrets", data=TEXT)
    file: dict[str, Any] = answer.get_json()
    assert file["visibility"] == "private"
    return file


def link(client: FlaskClient, file: dict[str, Any], **asked: Any) -> dict[str, Any]:
    """Have a link made, and return what the answer says."""
    response = client.post(f"/api/files/{file['id']}/link", json=asked)
    assert response.status_code == 201, response.data
    assert response.headers["Cache-Control"] == "private, no-store"
    made: dict[str, Any] = response.get_json()
    return made


def test_a_link_opens_a_private_file(client: FlaskClient, private: dict[str, Any]) -> None:
    made = link(client, private, expires_in=60)
    assert made["url"].startswith(f"/uploads/{private['id']}/count.txt?")
    answer = client.get(made["url"])
    assert (answer.status_code, answer.data) == (200, TEXT)
    assert answer.headers["Content-Disposition"] == 'inline; filename="count.txt"'
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"


def test_ranges_conditions_and_head_work_by_it(
    client: FlaskClient, private: dict[str, Any]
) -> None:
    url = link(client, private)["url"]
    part = client.get(url, headers={"Range": "bytes=2-4"})
    assert (part.status_code, part.data) == (206, b"234")
    again = client.get(url, headers={"If-None-Match": part.headers["ETag"]})
    assert again.status_code == 304
    whole, head = client.get(url), client.head(url)
    assert (head.status_code, head.data) == (200, b"")
    varies = ("X-Request-ID", "Date", "Cache-Control")
    kept = [[(k, v) for k, v in each.headers if k not in varies] for each in (whole, head)]
    assert kept[0] == kept[1]


def test_the_link_says_how_the_file_is_shown_and_called(
    client: FlaskClient, private: dict[str, Any]
) -> None:
    asked = {"disposition": "attachment", "filename": "../Zählung 漢.txt"}
    made = link(client, private, **asked)
    assert (made["disposition"], made["filename"]) == ("attachment", "Zählung 漢.txt")
    said = client.get(made["url"]).headers["Content-Disposition"]
    assert (
        said
        == f"attachment; filename=\"Zahlung _.txt\"; filename*=UTF-8''{quote('Zählung 漢')}.txt"
    )


def test_what_could_run_is_saved_and_not_shown_whatever_the_link_says(
    local_client: FlaskClient,
) -> None:
    page = local_client.put("/api/upload/a.html", data=b"<!doctype html><script>1</script>")
    url = link(local_client, page.get_json(), disposition="inline")["url"]
    answer = local_client.get(url)
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert answer.headers["Content-Security-Policy"].startswith("sandbox;")


def test_caches_keep_it_no_longer_than_the_link_lives(
    client: FlaskClient, private: dict[str, Any]
) -> None:
    made = link(client, private, expires_in=60)
    left = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    said = client.get(made["url"]).headers["Cache-Control"]
    assert 0 < int(said.rpartition("=")[2]) <= left.total_seconds()
    assert "immutable" not in said


# One byte off


def without_signature(url: str) -> str:
    return url.partition("&signature=")[0]


def changes(url: str, other: str) -> dict[str, str]:
    """Return requests that are nearly the one that `url` was signed for."""
    path, _, query = url.partition("?")
    folder, _, name = path.rpartition("/")
    terms, _, signature = query.partition("&signature=")
    return {
        "another file": url.replace(path, other),
        "no such file": url.replace(folder, "/uploads/" + "a" * 26),
        "no id": url.replace(folder, "/uploads/x"),
        "another name": url.replace(name, "other.txt"),
        "no name": url.replace(path, folder),
        "a longer path": url.replace(path, path + "/x"),
        "another disposition": url.replace("inline", "attachment"),
        "an unknown disposition": url.replace("inline", "form-data"),
        "a later end": url.replace("expires=1", "expires=2"),
        "a huge end": url.replace("expires=", "expires=" + "9" * 3000),
        "a negative end": url.replace("expires=", "expires=-"),
        "an end in other digits": url.replace("expires=1", "expires=%D9%A1"),
        "a cut signature": url[:-1],
        "no signature": f"{path}?{terms}",
        "an empty signature": f"{path}?{terms}&signature=",
        "only a signature": f"{path}?signature={signature}",
        "two signatures": f"{url}&signature={signature}",
        "two ends": f"{path}?expires=9999999999999&{query}",
        "one more parameter": f"{url}&download=1",
        "one more before": f"{path}?v=1&{query}",
        "another order": f"{path}?signature={signature}&{terms}",
        "an escaped signature": f"{path}?{terms}&signature=%{ord(signature[0]):X}{signature[1:]}",
        "a signature that is not ASCII": f"{path}?{terms}&signature={'%C3%BC' * 43}",
        "bytes of no encoding": f"{path}?{terms}&signature={'%FF' * 43}",
        "a path of no encoding": url.replace(name, "%FF%FE"),
        "a huge signature": url + "A" * 7000,
        "a line end": f"{url}%0A",
    }


@pytest.mark.parametrize("what", changes("/uploads/x/y?a&signature=b", ""))
def test_a_link_that_is_nearly_right_is_refused(local_app: Holdall, what: str) -> None:
    client = local_app.test_client()
    file = stored(local_app, client)
    other = client.put("/api/upload/b.txt?collection=secrets", data=b"other").get_json()
    url = link(client, file)["url"]
    changed = changes(url, other["url"])[what]
    assert changed != url
    for method in ("GET", "HEAD"):
        answer = client.open(changed, method=method)
        assert answer.status_code == 403, answer.data
        assert answer.headers["Cache-Control"] == "no-store"
    assert code(client.get(changed)) == (403, "link_invalid")


def test_a_bad_signature_is_refused_for_a_public_file_too(local_client: FlaskClient) -> None:
    file = local_client.put("/api/upload/a.txt", data=TEXT).get_json()
    url = link(local_client, file)["url"]
    assert local_client.get(url).status_code == 200
    assert code(local_client.get(url[:-1])) == (403, "link_invalid")
    assert local_client.get(file["url"] + "?v=1").status_code == 200, "other queries are free"


def test_a_refusal_tells_nothing_of_what_exists(local_app: Holdall) -> None:
    client = local_app.test_client()
    file = stored(local_app, client)
    url = link(client, file)["url"][:-1]
    there = client.get(url)
    missing = client.get(url.replace(file["id"], "a" * 26))
    assert (there.status_code, there.data) == (missing.status_code, missing.data)
    assert {k for k, _ in there.headers} == {k for k, _ in missing.headers}


def test_a_link_does_not_outlive_its_file(client: FlaskClient, private: dict[str, Any]) -> None:
    url = link(client, private)["url"]
    assert client.delete(f"/api/files/{private['id']}").status_code == 204
    assert client.get(url).status_code == 404


def test_a_renamed_file_keeps_its_links(client: FlaskClient, private: dict[str, Any]) -> None:
    url = link(client, private)["url"]
    client.patch(f"/api/files/{private['id']}", json={"filename": "renamed.txt"})
    assert client.get(url).headers["Content-Disposition"] == 'inline; filename="count.txt"'


def test_it_dies_at_its_second(local_app: Holdall) -> None:
    client = local_app.test_client()
    made = link(client, stored(local_app, client), expires_in=1)
    end = datetime.fromisoformat(made["expires_at"]).timestamp()
    while time.time() < end - 0.05:
        assert client.get(made["url"]).status_code == 200
        time.sleep(0.05)
    time.sleep(max(end - time.time(), 0))
    assert code(client.get(made["url"])) == (403, "link_expired")
    assert client.get(made["url"]).headers["Cache-Control"] == "no-store"


def test_two_processes_give_the_same_link(app_with: MakeApp, tmp_path: Any) -> None:
    folder = str(tmp_path / "shared")
    first, second = app_with(DATA_DIR=folder), app_with(DATA_DIR=folder)
    file = stored(first, first.test_client())
    asked = {"expires_in": 7 * 86_400, "disposition": "attachment"}
    urls = {link(app.test_client(), file, **asked)["url"] for app in (first, second) * 3}
    assert len(urls) <= 2, "two at the edge of a window, else one"
    assert all(app.test_client().get(url).data == TEXT for url in urls for app in (first, second))


def test_a_link_outlives_its_secret_until_that_is_removed(app_with: MakeApp, tmp_path: Any) -> None:
    folder = str(tmp_path / "shared")
    before = app_with(DATA_DIR=folder, SECRET_KEY=OLD_SECRET)
    url = link(before.test_client(), stored(before, before.test_client()))["url"]
    rotated = app_with(DATA_DIR=folder, SECRET_KEY=SECRET, SECRET_KEY_FALLBACKS=OLD_SECRET)
    assert rotated.test_client().get(url).data == TEXT
    removed = app_with(DATA_DIR=folder, SECRET_KEY=SECRET)
    assert code(removed.test_client().get(url)) == (403, "link_invalid")


def test_the_link_is_absolute_where_the_public_url_is_known(app_with: MakeApp) -> None:
    app = app_with(PUBLIC_URL="https://files.example.org/holdall")
    client = app.test_client()
    url = link(client, stored(app, client))["url"]
    assert url.startswith("https://files.example.org/holdall/uploads/")
    assert client.get(url.removeprefix("https://files.example.org/holdall")).data == TEXT


def test_pages_of_listed_origins_read_by_it(app_with: MakeApp) -> None:
    app = app_with(CORS_ORIGINS="https://app.example.org")
    client = app.test_client()
    url = link(client, stored(app, client))["url"]
    for answer in (
        client.get(url, headers={"Origin": "https://app.example.org"}),
        client.get(url[:-1], headers={"Origin": "https://app.example.org"}),
    ):
        assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example.org"
        assert "Origin" in answer.headers["Vary"]


# Who may make one


def asked_for(client: FlaskClient, body: Any, file_id: str = "a" * 26) -> TestResponse:
    return client.post(f"/api/files/{file_id}/link", json=body)


@pytest.mark.parametrize(
    "body",
    [
        {"expires_in": 0},
        {"expires_in": -1},
        {"expires_in": 7 * 86_400 + 1},
        {"expires_in": 10**400},
        {"expires_in": 1.5},
        {"expires_in": "60"},
        {"expires_in": True},
        {"disposition": "form-data"},
        {"filename": ""},
        {"filename": "x" * 5000},
        {"method": "PUT"},
        [],
    ],
)
def test_what_cannot_be_asked_for_is_refused(local_client: FlaskClient, body: Any) -> None:
    file = local_client.put("/api/upload/a.txt", data=TEXT).get_json()
    assert asked_for(local_client, body, file["id"]).status_code == 400


@pytest.mark.parametrize("file_id", ("a" * 26, "x", "..%2f..", "%00", "ü"))
def test_there_is_no_link_to_what_is_not_there(local_client: FlaskClient, file_id: str) -> None:
    assert asked_for(local_client, {}, file_id).status_code == 404


def test_only_who_may_see_a_file_makes_a_link_to_it(app_with: MakeApp) -> None:
    app = app_with(AUTH_MODE="keys", SECRET_KEY=SECRET)
    add_collection(app)
    owner, other = add_key(app, "mine"), add_key(app, "theirs", frozenset({"read", "write"}))
    writes = add_key(app, "writes", frozenset({"write"}))
    links = parts(app).links
    token = links.to_upload(owner, expires_in=60, collection="secrets").token
    client = app.test_client()
    file = client.put(f"/api/upload/a.png?link={token}", data=PNG).get_json()
    assert code(asked_for(client, {}, file["id"])) == (401, "unauthorized")
    made = links.to_read(owner, file["id"], expires_in=60, disposition="inline")
    assert client.get(made.path).data == PNG
    assert client.get(file["url"]).status_code == 404
    for caller in (other, writes, Caller(scopes=frozenset({"read"}))):
        with pytest.raises(Exception, match=r"not found|scope"):
            links.to_read(caller, file["id"], expires_in=60, disposition="inline")
    assert links.to_read(EVERYONE, file["id"], expires_in=60, disposition="inline").path
