"""What is one key's is not there for another, whichever door it tries."""

from dataclasses import dataclass
from io import BytesIO
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import Holdall
from tests.conftest import Deployment, MakeApp
from tests.http.test_tus import OFFSET_TYPE, VERSION, begin, head, metadata, patch
from tests.services.uploading import stored
from tests.support.keyed import PRIVATE, holder_of, keyed_app, rows

ALL = ("read", "write", "delete")
DRAFT = {"Upload-Draft-Interop-Version": "8"}
NAMED = {"filename": "a.txt", "size": 4}
ONCE_EACH = pytest.mark.parametrize("deployment", ("local-sqlite", "s3-postgresql"), indirect=True)


@dataclass
class Two:
    """Two holders of keys that may do everything but administer; the first has something."""

    app: Holdall
    a: FlaskClient
    b: FlaskClient
    file: dict[str, Any]


@pytest.fixture
def two(app_with: MakeApp, deployment: Deployment) -> Two:
    app = keyed_app(app_with, **deployment.variables)
    a, b = holder_of(app, *ALL), holder_of(app, *ALL)
    file = a.put(f"/api/upload/a.txt?collection={PRIVATE}", data=b"mine").get_json()
    return Two(app, a, b, file)


def missing(*answers: TestResponse) -> bool:
    return [answer.status_code for answer in answers] == [404] * len(answers)


@ONCE_EACH
def test_a_file_of_another_key_is_not_there(two: Two) -> None:
    before = rows(two.app)
    url = f"/api/files/{two.file['id']}"
    assert missing(
        two.b.get(url),
        two.b.patch(url, json={"filename": "stolen.txt"}),
        two.b.delete(url),
        two.b.post(f"{url}/link", json={}),
        two.b.get(two.file["url"]),
        two.b.get(two.file["url"] + "?download=1"),
        two.b.head(two.file["url"]),
        two.b.get(f"/uploads/{two.file['id']}", headers={"Range": "bytes=0-1"}),
    )
    for query in ("", f"?collection={PRIVATE}", "?q=a", "?type=text/*", "?sort=size"):
        page = two.b.get(f"/api/files{query}").get_json()
        assert (page["items"], page["total"]) == ([], 0)
    many = two.b.post("/api/files/delete", json={"ids": [two.file["id"]]}).get_json()
    assert many == {"items": [{"id": two.file["id"], "status": "not_found"}], "total": 0}
    assert rows(two.app) == before
    assert two.a.get(two.file["url"]).data == b"mine"


@ONCE_EACH
def test_a_resumable_upload_of_another_key_is_not_there(two: Two) -> None:
    url = begin(two.a, 10, Upload_Metadata=metadata(collection=PRIVATE))
    assert patch(two.a, url, 0, b"01234").status_code == 204
    before, kept = rows(two.app), stored(two.app)
    assert missing(
        head(two.b, url),
        patch(two.b, url, 5, b"56789"),
        two.b.post(
            url,
            data=b"56789",
            headers=VERSION
            | OFFSET_TYPE
            | {"Upload-Offset": "5", "X-HTTP-Method-Override": "PATCH"},
        ),
        two.b.delete(url, headers=VERSION),
        two.b.head(url, headers=DRAFT),
        two.b.patch(
            url,
            data=b"56789",
            headers=DRAFT | {"Upload-Offset": "5", "Upload-Complete": "?1"},
            content_type="application/partial-upload",
        ),
        two.b.delete(url, headers=DRAFT),
    )
    assert (rows(two.app), stored(two.app)) == (before, kept)
    assert patch(two.a, url, 5, b"56789").status_code == 204


@ONCE_EACH
def test_parts_of_another_key_cannot_be_joined(two: Two) -> None:
    part = begin(two.a, 4, Upload_Concat="partial")
    assert patch(two.a, part, 0, b"mine").status_code == 204
    own = begin(two.b, 4, Upload_Concat="partial")
    assert patch(two.b, own, 0, b"ours").status_code == 204
    before = rows(two.app)
    for parts in (part, f"{own} {part}"):
        joined = two.b.post("/api/tus", headers=VERSION | {"Upload-Concat": f"final;{parts}"})
        assert joined.status_code in (400, 404)
    assert rows(two.app) == before
    joined = two.a.post("/api/tus", headers=VERSION | {"Upload-Concat": f"final;{part}"})
    assert joined.status_code == 201


@ONCE_EACH
def test_a_direct_upload_of_another_key_is_not_there(two: Two) -> None:
    begun = two.a.post("/api/direct", json=NAMED).get_json()
    form = two.a.get("/api/direct/s3/params?filename=a.txt&type=text/plain").get_json()
    parts = two.a.post("/api/direct/s3/multipart", json={"filename": "a.txt"}).get_json()
    before = rows(two.app)
    multipart = f"/api/direct/s3/multipart/{parts['uploadId']}"
    query = {"key": parts["key"]}
    assert missing(
        two.b.post(f"/api/direct/{begun['id']}/confirm"),
        two.b.post("/api/direct/confirm", json={"key": begun["key"]}),
        two.b.post("/api/direct/confirm", json={"key": form["fields"]["key"]}),
        two.b.delete(f"/api/direct/{begun['id']}"),
        two.b.get(multipart, query_string=query),
        two.b.get(f"{multipart}/1", query_string=query),
        two.b.post(f"{multipart}/complete", query_string=query, json={"parts": []}),
        two.b.delete(multipart, query_string=query),
    )
    assert rows(two.app) == before


@ONCE_EACH
def test_an_idempotency_key_of_another_key_means_nothing(two: Two) -> None:
    headers = {"Idempotency-Key": "the-same"}
    files = [
        client.put("/api/upload/b.txt", data=b"x", headers=headers).get_json()
        for client in (two.a, two.b, two.a, two.b)
    ]
    assert files[0]["id"] == files[2]["id"] != files[1]["id"] == files[3]["id"]


@ONCE_EACH
def test_usage_is_each_keys_own(two: Two) -> None:
    assert two.b.get("/api/usage").get_json()["items"] == []
    (used,) = two.a.get("/api/usage").get_json()["items"]
    assert (used["collection"], used["files"], used["bytes"]) == (PRIVATE, 1, 4)


@ONCE_EACH
def test_ending_an_upload_that_became_a_file_needs_the_right_to_delete(two: Two) -> None:
    writer = holder_of(two.app, "read", "write")
    url = begin(writer, 4)
    file_id = patch(writer, url, 0, b"mine").headers["Upload-File-Id"]
    assert writer.delete(url, headers=VERSION).status_code == 403
    assert writer.get(f"/api/files/{file_id}").status_code == 200


@ONCE_EACH
def test_a_key_of_one_collection_touches_no_other(two: Two) -> None:
    bound = holder_of(two.app, *ALL, collection=PRIVATE)
    before, kept = rows(two.app), stored(two.app)
    elsewhere = "collection=default"
    refused = [
        bound.put(f"/api/upload/a.txt?{elsewhere}", data=b"x"),
        bound.post("/api/upload", data={"collection": "default", "file": (BytesIO(b"x"), "a.txt")}),
        bound.post("/api/upload", data={"file": (BytesIO(b"x"), "a.txt"), "collection": "default"}),
        bound.post(f"/api/upload?{elsewhere}", data={"file": (BytesIO(b"x"), "a.txt")}),
        bound.post(f"/api/tus?{elsewhere}", headers=VERSION | {"Upload-Length": "4"}),
        bound.post(
            "/api/tus",
            headers=VERSION
            | {"Upload-Length": "4", "Upload-Metadata": metadata(collection="default")},
        ),
        bound.post(f"/api/tus?{elsewhere}", data=b"x", headers=DRAFT | {"Upload-Complete": "?1"}),
        bound.post("/api/direct", json=NAMED | {"collection": "default"}),
        bound.get("/api/direct/s3/params?filename=a&metadata[collection]=default"),
        bound.post(
            "/api/direct/s3/multipart",
            json={"filename": "a", "metadata": {"collection": "default"}},
        ),
        bound.post("/api/upload-links", json={"collection": "default"}),
        bound.get("/api/collections/default"),
    ]
    assert [answer.status_code for answer in refused] == [404] * len(refused)
    assert (rows(two.app), stored(two.app)) == (before, kept)
    assert bound.put("/api/upload/a.txt", data=b"x").get_json()["collection"] == PRIVATE


@ONCE_EACH
def test_an_admin_of_one_collection_sees_all_of_it_and_nothing_else(two: Two) -> None:
    bound = holder_of(two.app, "admin", collection=PRIVATE)
    other = two.a.put("/api/upload/other.txt", data=b"x").get_json()
    assert bound.get(two.file["url"]).data == b"mine"
    listed = bound.get("/api/files").get_json()
    assert [item["id"] for item in listed["items"]] == [two.file["id"]]
    url = f"/api/files/{other['id']}"
    assert missing(
        bound.get(url), bound.patch(url, json={"filename": "b"}), bound.delete(url),
        bound.post(f"{url}/link", json={}), bound.get("/api/collections/default/usage"),
    )  # fmt: skip
    assert two.a.get(url).status_code == 200


def test_what_was_uploaded_in_open_mode_is_for_admins_until_it_is_public(
    app_with: MakeApp,
) -> None:
    keyed = keyed_app(app_with)
    folder = str(keyed.extensions["holdall"].settings.data_dir)
    opened = app_with(DATA_DIR=folder).test_client()
    file = opened.put(f"/api/upload/a.txt?collection={PRIVATE}", data=b"x").get_json()
    url = f"/api/files/{file['id']}"
    assert missing(holder_of(keyed, *ALL).get(url), holder_of(keyed, *ALL).get(file["url"]))
    assert holder_of(keyed, "admin").get(url).status_code == 200
    assert holder_of(keyed, "admin").get(file["url"]).data == b"x"
