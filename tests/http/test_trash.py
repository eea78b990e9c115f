"""The trash over HTTP: what leads to a file in it, how it is listed, and whose it is."""

from datetime import datetime
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import Holdall
from tests.conftest import Deployment, MakeApp, objects
from tests.support.keyed import PRIVATE, holder_of, keyed_app, rows

ALL = ("read", "write", "delete")
NOBODYS = "a" * 26
SIZES = {"a.txt": 3, "b.txt": 9, "c.txt": 1, "d.bin": 7, "e.txt": 5}


def put(client: FlaskClient, name: str, content: bytes = b"text", **query: str) -> dict[str, Any]:
    answer = client.put(f"/api/upload/{name}", data=content, query_string=query)
    assert answer.status_code == 201
    file: dict[str, Any] = answer.get_json()
    return file


def move(client: FlaskClient, where: str, *ids: str) -> dict[str, Any]:
    answer = client.post(f"/api/files/{where}", json={"ids": ids})
    assert answer.status_code == 200
    told: dict[str, Any] = answer.get_json()
    return told


def named(client: FlaskClient, **query: Any) -> list[str]:
    """Return the names of all that a list has, two by two, having held the total against it."""
    names: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        asked = {"limit": 2} | query | cursor
        page = client.get("/api/files", query_string=asked).get_json()
        names += [item["filename"] for item in page["items"]]
        if page["next_cursor"] is None:
            assert page["total"] == len(names)
            return names
        cursor = {"cursor": page["next_cursor"]}


def test_a_file_in_the_trash_is_not_there_and_comes_back_as_it_was(client: FlaskClient) -> None:
    file, other = put(client, "a.txt"), put(client, "b.txt")
    url, link = f"/api/files/{file['id']}", f"/api/files/{file['id']}/link"
    signed = client.post(link, json={}).get_json()["url"]
    served = client.get(file["url"]).headers
    ids = [file["id"], NOBODYS, "x", file["id"]]
    assert move(client, "trash", *ids) == {
        "items": [
            {"id": file["id"], "status": "trashed"},
            {"id": NOBODYS, "status": "not_found"},
            {"id": "x", "status": "not_found"},
        ],
        "total": 1,
    }
    for method, where in (
        ("GET", file["url"]),
        ("HEAD", file["url"]),
        ("GET", f"/uploads/{file['id']}"),
        ("GET", signed),
        ("GET", url),
        ("PATCH", url),
        ("POST", link),
    ):
        body: dict[str, Any] = {"json": {}} if method in ("PATCH", "POST") else {}
        assert client.open(where, method=method, **body).status_code == 404, (method, where)
    assert named(client) == named(client, q="txt") == named(client, type="text/*") == ["b.txt"]
    (trashed,) = client.get("/api/files?trashed=true").get_json()["items"]
    assert datetime.fromisoformat(trashed["deleted_at"]).tzinfo is not None
    assert trashed == file | {"deleted_at": trashed["deleted_at"]}
    assert move(client, "trash", file["id"])["total"] == 0
    restored = move(client, "restore", file["id"], other["id"])
    assert [item["status"] for item in restored["items"]] == ["restored", "not_found"]
    assert client.get(url).get_json() == file
    for answer in (client.get(file["url"]), client.get(signed)):
        assert (answer.status_code, answer.headers["ETag"]) == (200, served["ETag"])


def test_deleting_is_for_good_from_the_trash_too(app: Holdall) -> None:
    client = app.test_client()
    one, many, live = (put(client, f"{name}.txt") for name in "abc")
    move(client, "trash", one["id"], many["id"])
    assert client.delete(f"/api/files/{one['id']}").status_code == 204
    told = client.post("/api/files/delete", json={"ids": [many["id"], live["id"]]}).get_json()
    assert told["total"] == 2
    assert (objects(app), named(client), named(client, trashed="true")) == ([], [], [])
    assert move(client, "restore", one["id"], many["id"])["total"] == 0


def test_the_trash_is_listed_in_every_order_and_the_last_to_go_there_comes_first(
    client: FlaskClient,
) -> None:
    files = {name: put(client, name, b"x" * size) for name, size in SIZES.items()}
    kept = put(client, "kept.txt")
    for name in ("c.txt", "a.txt", "d.bin"):
        move(client, "trash", files[name]["id"])
    move(client, "trash", files["b.txt"]["id"], files["e.txt"]["id"])
    of = {"trashed": "true"}
    latest = ["e.txt", "b.txt", "d.bin", "a.txt", "c.txt"]
    assert named(client, **of) == named(client, sort="-deleted", **of) == latest
    assert named(client, sort="deleted", **of) == latest[::-1]
    assert named(client, sort="created", **of) == sorted(SIZES)
    assert named(client, sort="-name", **of) == sorted(SIZES, reverse=True)
    by_size = sorted(SIZES, key=lambda name: SIZES[name])
    assert named(client, sort="size", **of) == by_size
    assert named(client, sort="-size", **of) == by_size[::-1]
    assert named(client, q="TXT", **of) == [name for name in latest if name != "d.bin"]
    assert named(client, q="a", **of) == ["a.txt"]
    assert named(client, collection="none", **of) == []
    assert named(client) == [kept["filename"]]


@pytest.mark.parametrize(
    "query",
    [
        "sort=deleted",
        "sort=-deleted",
        "trashed=perhaps",
        "trashed=true&sort=-deleted&cursor=WyItZGVsZXRlZCIsICJ4IiwgMV0",
        "trashed=true&sort=-deleted&cursor=WyItZGVsZXRlZCIsIDkyMjMzNzIwMzY4NTQ3NzU4MDcsIDFd",
    ],
)
def test_an_order_or_a_cursor_that_means_nothing_is_refused(
    local_client: FlaskClient, query: str
) -> None:
    answer = local_client.get(f"/api/files?{query}")
    assert (answer.status_code, answer.get_json()["code"]) == (400, "invalid_field")


def test_every_filter_can_be_combined_with_every_order(client: FlaskClient) -> None:
    client.put("/api/collections/photos", json={})
    for name, size in SIZES.items():
        for collection in ("default", "photos"):
            put(client, f"{collection}-{name}", b"x" * size + b"\n", collection=collection)
    put(client, "photos-f.html", b"<!doctype html><p>", collection="photos")
    texts = sorted((name for name in SIZES), key=lambda name: SIZES[name])
    of = {"collection": "photos", "type": "text/plain", "q": "PHOTOS-"}
    wanted = [f"photos-{name}" for name in texts if name.endswith(".txt")]
    assert [n for n in named(client, sort="size", **of) if n.endswith(".txt")] == wanted
    for sort in ("name", "size", "created"):
        listed = named(client, sort=sort, **of)
        assert len(listed) == 5 and all(name.startswith("photos-") for name in listed)
        assert named(client, sort=f"-{sort}", **of) == listed[::-1]
    assert len(named(client, collection="photos", type="text/*")) == 6


def test_what_very_many_files_have_in_their_names_is_found_all_the_same(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SIZES:
        put(client, f"Report {name}")
    for query in ({"q": "REPORT"}, {"q": "re"}, {"q": "rt a"}, {"q": "t"}, {"q": "%"}):
        asked = {"sort": "name"} | query
        few = client.get("/api/files", query_string=asked).get_json()["items"]
        for worth, common in ((0, 0), (0, -1), (99, 0)):
            with monkeypatch.context() as bounded:
                bounded.setattr("services.leading.LOOKED_AT", 0)
                bounded.setattr("services.leading.WORTH", worth)
                bounded.setattr("services.leading.COMMON", common)
                page = client.get("/api/files", query_string=asked).get_json()
            assert page["items"] == few
            assert page["total_exact"] is not bool(few)


@pytest.mark.parametrize("deployment", ("local-sqlite", "s3-postgresql"), indirect=True)
def test_the_trash_is_each_keys_own(app_with: MakeApp, deployment: Deployment) -> None:
    app = keyed_app(app_with, **deployment.variables)
    a, b = holder_of(app, *ALL), holder_of(app, *ALL)
    bound = holder_of(app, "admin", collection=PRIVATE)
    mine = put(a, "mine.txt")
    before = rows(app)
    for other in (b, bound):
        assert move(other, "trash", mine["id"])["total"] == 0
    assert rows(app) == before
    move(a, "trash", mine["id"])
    before = rows(app)
    for other in (b, bound):
        assert move(other, "restore", mine["id"])["total"] == 0
        assert named(other, trashed="true") == []
    assert rows(app) == before
    (used,) = a.get("/api/usage").get_json()["items"]
    counted = (used["files"], used["bytes"], used["trashed_files"], used["trashed_bytes"])
    assert counted == (1, 4, 1, 4)
    admin = holder_of(app, "admin")
    assert named(admin, trashed="true") == ["mine.txt"]
    assert move(admin, "restore", mine["id"])["total"] == 1
    assert named(a) == ["mine.txt"]


def test_an_upload_sent_again_does_not_answer_with_a_file_in_the_trash(
    local_client: FlaskClient,
) -> None:
    again = {"Idempotency-Key": "once"}
    first = local_client.put("/api/upload/a.txt", data=b"x", headers=again).get_json()
    move(local_client, "trash", first["id"])
    retried = local_client.put("/api/upload/a.txt", data=b"x", headers=again)
    assert (retried.status_code, retried.get_json()["code"]) == (404, "not_found")
    move(local_client, "restore", first["id"])
    retried = local_client.put("/api/upload/a.txt", data=b"x", headers=again)
    assert (retried.status_code, retried.get_json()["id"]) == (201, first["id"])


def test_a_collection_with_files_in_the_trash_has_files(local_client: FlaskClient) -> None:
    local_client.put("/api/collections/photos", json={})
    file = put(local_client, "a.txt", collection="photos")
    move(local_client, "trash", file["id"])
    assert local_client.delete("/api/collections/photos").status_code == 409
    local_client.delete(f"/api/files/{file['id']}")
    assert local_client.delete("/api/collections/photos").status_code == 204
