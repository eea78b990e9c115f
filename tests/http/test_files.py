"""Listing, reading, changing and deleting files, on every storage and database."""

import base64
import io
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import Holdall
from storage.errors import StorageUnavailable
from tests.conftest import MakeApp, objects, parts
from tests.http.test_uploads import PNG, code
from views.json_body import LARGEST_JSON

UNKNOWN = "a" * 26


def put(client: FlaskClient, name: str, content: bytes = b"text") -> dict[str, Any]:
    """Upload a file and return what the service says of it."""
    response = client.put(f"/api/upload/{name}", data=content)
    assert response.status_code == 201, response.data
    file: dict[str, Any] = response.get_json()
    return file


def names(client: FlaskClient, query: str = "") -> list[str]:
    """Return the names on one page."""
    answer = client.get(f"/api/files{query}")
    assert answer.status_code == 200, answer.data
    return [item["filename"] for item in answer.get_json()["items"]]


def cursor(sort: str, value: object) -> str:
    """Forge the cursor of a list."""
    return base64.urlsafe_b64encode(json.dumps([sort, value, 1]).encode()).decode()


def test_an_empty_list_has_the_agreed_shape(client: FlaskClient) -> None:
    answer = client.get("/api/files").get_json()
    assert (answer["items"], answer["total"]) == ([], 0)


def test_files_are_listed_newest_first(client: FlaskClient) -> None:
    files = [put(client, f"{number}.txt") for number in range(3)]
    answer = client.get("/api/files").get_json()
    assert answer["items"] == files[::-1]
    assert answer["total"] == 3


@pytest.mark.parametrize("sort", ["-created", "created", "name", "-name", "size", "-size"])
def test_pages_cover_everything_once_in_every_order(client: FlaskClient, sort: str) -> None:
    for number in range(7):
        put(client, f"{'bca'[number % 3]}.txt", b"text" * (number % 2 + 1))
    whole = client.get(f"/api/files?sort={sort}").get_json()["items"]
    url, paged = f"/api/files?sort={sort}&limit=2", []
    while url:
        response = client.get(url)
        paged += response.get_json()["items"]
        link = re.fullmatch(r'<(.+)>; rel="next"', response.headers.get("Link", ""))
        assert (link is None) == (response.get_json()["next_cursor"] is None)
        url = link[1] if link else ""
    assert paged == whole
    assert len({item["id"] for item in whole}) == 7
    key = {"name": "filename", "size": "size", "created": "created_at"}[sort.lstrip("-")]
    values = [item[key] for item in whole]
    assert values == sorted(values, reverse=sort.startswith("-"))


def test_names_are_searched_in_any_case_and_place(client: FlaskClient) -> None:
    for name in ("Summer Report.pdf", "winter-report.txt", 'Straße "7".txt', "100%_done.txt"):
        put(client, name.replace("%", "%25"))
    assert sorted(names(client, "?q=REPORT")) == ["Summer Report.pdf", "winter-report.txt"]
    assert names(client, "?q=STRASSE") == ['Straße "7".txt']
    assert names(client, "?q=%227%22") == ['Straße "7".txt']
    assert names(client, "?q=0%25_d") == ["100%_done.txt"]
    assert names(client, "?q=wi") == ["winter-report.txt"]
    assert names(client, "?q=nothing") == []
    assert names(client, "?q=%00") != []
    assert client.get("/api/files?q=report").get_json()["total"] == 2


def test_a_renamed_file_is_found_by_its_new_name_only(client: FlaskClient) -> None:
    file = put(client, "before.txt")
    client.patch(f"/api/files/{file['id']}", json={"filename": "after.txt"})
    assert names(client, "?q=before") == []
    assert names(client, "?q=after") == ["after.txt"]


def test_a_deleted_file_is_not_found(client: FlaskClient) -> None:
    file = put(client, "gone.txt")
    client.delete(f"/api/files/{file['id']}")
    assert names(client, "?q=gone") == []


def test_types_are_filtered_whole_or_by_family(client: FlaskClient) -> None:
    put(client, "dot.png", PNG)
    put(client, "note.txt")
    assert names(client, "?type=image/png") == ["dot.png"]
    assert names(client, "?type=image/*") == ["dot.png"]
    assert names(client, "?type=text/*") == ["note.txt"]
    assert names(client, "?type=video/*") == []
    assert len(names(client, "?type=*/*")) == 2
    assert client.get("/api/files?type=image/*").get_json()["total"] == 1


def test_collections_are_filtered(local_client: FlaskClient) -> None:
    put(local_client, "a.txt")
    assert names(local_client, "?collection=default") == ["a.txt"]
    assert names(local_client, "?collection=other") == []


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=x",
        "sort=colour",
        "cursor=!!!",
        "cursor=WyItY3JlYXRlZCIsMSwxMjM0",
        "cursor=e30",
        "cursor=WyJuYW1lIiwieCIsMV0",
        "cursor=" + "W1tb" * 1000,
        "sort=name&cursor=WyJuYW1lIiwgIlx1ZDgwMCIsIDFd",
        "unknown=1",
    ],
)
def test_impossible_parameters_are_refused(local_client: FlaskClient, query: str) -> None:
    response = local_client.get(f"/api/files?{query}")
    assert code(response) == (400, "invalid_field")


def test_one_file_is_read(client: FlaskClient) -> None:
    file = put(client, "a.txt")
    assert client.get(f"/api/files/{file['id']}").get_json() == file


def test_a_file_is_renamed_and_its_old_link_still_works(client: FlaskClient) -> None:
    file = put(client, "a.txt")
    changed = client.patch(f"/api/files/{file['id']}", json={"filename": "../b.txt"}).get_json()
    assert changed["filename"] == "b.txt"
    assert changed["url"] == f"/uploads/{file['id']}/b.txt"
    assert client.get(changed["url"]).data == client.get(file["url"]).data == b"text"
    assert "immutable" in client.get(changed["url"]).headers["Cache-Control"]
    assert "immutable" not in client.get(file["url"]).headers["Cache-Control"]


def test_metadata_is_merged(client: FlaskClient) -> None:
    url = f"/api/files/{put(client, 'a.txt')['id']}"
    client.patch(url, json={"metadata": {"a": 1, "deep": {"x": 1, "y": 2}}})
    changed = client.patch(url, json={"metadata": {"a": None, "b": "ü", "deep": {"x": None}}})
    assert changed.get_json()["metadata"] == {"b": "ü", "deep": {"y": 2}}
    assert client.get(url).get_json()["metadata"] == {"b": "ü", "deep": {"y": 2}}


@pytest.mark.parametrize(
    "body",
    [
        {"filename": ""},
        {"filename": 7},
        {"owner": "me"},
        {"content_type": "text/html"},
        {"metadata": "text"},
        {"metadata": {"k": "v" * 20_000}},
        {"metadata": {"": 1}},
        {"metadata": {"k": "\x00"}},
        {"metadata": {"k": [[[[[[[[[[[[[[[["deep"]]]]]]]]]]]]]]]]}},
        [],
    ],
)
def test_impossible_changes_are_refused(local_client: FlaskClient, body: object) -> None:
    file = put(local_client, "a.txt")
    url = f"/api/files/{file['id']}"
    assert code(local_client.patch(url, json=body)) == (400, "invalid_field")
    assert local_client.get(url).get_json() == file


def test_a_change_that_is_no_json_is_refused(local_client: FlaskClient) -> None:
    url = f"/api/files/{put(local_client, 'a.txt')['id']}"
    deep = b'{"metadata":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001
    for sent in (b"{", b" ", b"\xff", b'{"metadata": {"a": NaN}}', "{}".encode("utf-16"), deep):
        response = local_client.patch(url, data=sent, content_type="application/json")
        assert code(response) == (400, "malformed_body")


def test_a_change_of_another_media_type_is_refused_with_the_right_one(
    local_client: FlaskClient,
) -> None:
    url = f"/api/files/{put(local_client, 'a.txt')['id']}"
    for sent_as in ("text/plain", "application/x-www-form-urlencoded", ""):
        response = local_client.patch(url, data=b'{"filename": "b"}', content_type=sent_as)
        assert code(response) == (415, "unsupported_body")
        assert response.headers["Accept"] == "application/json"


def test_a_json_body_over_the_limit_is_refused(local_client: FlaskClient) -> None:
    url = f"/api/files/{put(local_client, 'a.txt')['id']}"
    large = b'{"filename": "b"' + b" " * LARGEST_JSON + b"}"
    for headers in ({}, {"Transfer-Encoding": "chunked"}):
        response = local_client.patch(
            url,
            input_stream=io.BytesIO(large),
            content_type="application/json",
            content_length=None if headers else len(large),
            headers=headers,
        )
        assert code(response) == (413, "too_large")
    assert local_client.get(url).get_json()["filename"] == "a.txt"


def test_numbers_that_json_does_not_have_are_not_kept(client: FlaskClient) -> None:
    url = f"/api/files/{put(client, 'a.txt')['id']}"
    for sent in (b"1e999", b"-1e999", b"Infinity", b'{"b": [1e999]}', rb'"\ud800"'):
        response = client.patch(
            url, data=b'{"metadata": {"a": %b}}' % sent, content_type="application/json"
        )
        assert response.status_code == 400, sent
    assert client.get(url).get_json()["metadata"] == {}


def test_what_a_database_cannot_hold_is_not_asked_of_it(client: FlaskClient) -> None:
    put(client, "a.txt")
    forged = f"sort=name&cursor={cursor('name', chr(0))}"
    for query in ("type=%00", "collection=%00", forged):
        assert code(client.get(f"/api/files?{query}")) == (400, "invalid_field"), query
    for strange in ("\0", "\ud800", "x" * 5000):
        answer = client.post("/api/files/delete", json={"ids": [strange]})
        assert answer.get_json()["items"] == [{"id": strange, "status": "not_found"}]
    for url in ("/api/files/%00", "/uploads/%00", "/uploads/%00/a.txt"):
        assert client.get(url).status_code == 404
    upload = client.put("/api/upload/a?collection=%00", data=b"x")
    assert code(upload) == (404, "collection_not_found")
    named = client.put("/api/upload/a%00", data=b"x", headers={"Idempotency-Key": "nul"})
    assert named.status_code == 201


def test_a_deleted_file_is_gone_with_its_bytes(app: Holdall) -> None:
    client = app.test_client()
    file, other = put(client, "a.txt"), put(client, "b.txt", b"other")
    assert client.delete(f"/api/files/{file['id']}").status_code == 204
    for url in (f"/api/files/{file['id']}", file["url"]):
        response = client.get(url)
        assert response.status_code == 404
        assert response.get_json()["error"] == "Resource not found"
    assert client.delete(f"/api/files/{file['id']}").status_code == 404
    assert len(objects(app)) == 1
    answer = client.get("/api/files").get_json()
    assert (answer["items"], answer["total"]) == ([other], 1)


def test_many_files_are_deleted_at_once(app: Holdall) -> None:
    client = app.test_client()
    files = [put(client, f"{number}.txt") for number in range(5)]
    ids = [file["id"] for file in files[:3]]
    answer = client.post("/api/files/delete", json={"ids": [*ids, UNKNOWN, ids[0]]}).get_json()
    assert answer["total"] == 3
    assert [item["status"] for item in answer["items"]] == ["deleted"] * 3 + ["not_found"]
    assert len(objects(app)) == 2
    assert client.get("/api/files").get_json()["total"] == 2


def test_files_of_a_storage_that_is_no_longer_configured_can_be_deleted(
    app_with: MakeApp, tmp_path: Path
) -> None:
    data = {"DATA_DIR": str(tmp_path / "data")}
    archive = {"STORAGE_ARCHIVE_URL": (tmp_path / "archive").as_uri(), "STORAGE_BACKEND": "archive"}
    client = app_with(**data, **archive).test_client()
    files = [put(client, f"{number}.txt") for number in range(3)]
    client = app_with(**data).test_client()
    assert code(client.get(files[0]["url"])) == (503, "storage_unavailable")
    assert client.delete(f"/api/files/{files[0]['id']}").status_code == 204
    ids = [file["id"] for file in files[1:]]
    assert client.post("/api/files/delete", json={"ids": ids}).get_json()["total"] == 2
    assert names(client) == []


def test_a_store_that_hangs_while_many_files_are_deleted_is_not_waited_for_by_others(
    local_app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = local_app.test_client()
    ids = [put(client, f"{number}.txt")["id"] for number in range(60)]
    asked, answers = threading.Semaphore(0), threading.Event()
    calls: list[str] = []

    def hang(key: str) -> None:
        calls.append(key)
        asked.release()
        answers.wait(30)
        raise StorageUnavailable("the store does not answer in time")

    monkeypatch.setattr(parts(local_app).storages["local"], "delete", hang)
    with ThreadPoolExecutor(1) as pool:
        deletion = pool.submit(client.post, "/api/files/delete", json={"ids": ids})
        assert all(asked.acquire(timeout=10) for _ in range(16))
        ready = local_app.test_client().get("/api/ready").get_json()
        answers.set()
        assert deletion.result().get_json()["total"] == 60
    assert ready["checks"]["database"] == "up"
    assert len(calls) == 16


@pytest.mark.parametrize("body", [{}, {"ids": []}, {"ids": "a"}, {"ids": ["a"] * 1001}, {"x": 1}])
def test_impossible_deletions_are_refused(local_client: FlaskClient, body: object) -> None:
    assert code(local_client.post("/api/files/delete", json=body)) == (400, "invalid_field")


@pytest.mark.parametrize("file_id", [UNKNOWN, "..", "%2e%2e%2fapp.db", "x" * 5000, "a%00b", "💣"])
def test_an_unknown_id_is_not_found(local_client: FlaskClient, file_id: str) -> None:
    for response in (
        local_client.get(f"/api/files/{file_id}"),
        local_client.patch(f"/api/files/{file_id}", json={"filename": "x"}),
        local_client.delete(f"/api/files/{file_id}"),
        local_client.get(f"/uploads/{file_id}"),
        local_client.get(f"/uploads/{file_id}/name"),
    ):
        assert response.status_code == 404
        assert response.get_json()["error"] == "Resource not found"


def test_unknown_urls_and_methods_have_our_error_shape(local_client: FlaskClient) -> None:
    missing = local_client.get("/nowhere")
    assert code(missing) == (404, "not_found")
    assert missing.get_json()["error"] == "Resource not found"
    assert code(local_client.get("/api//files")) == (404, "not_found")
    wrong = local_client.put("/api/files")
    assert code(wrong) == (405, "method_not_allowed")
    assert "GET" in wrong.headers["Allow"]
