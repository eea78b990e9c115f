"""Direct uploads that are refused, wherever it shows, and that nothing of them stays."""

from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import Holdall
from models import now
from tests.conftest import Deployment, MakeApp, parts, s3_variables
from tests.http.test_direct import Multipart, begin, content_of, params, send, send_form
from tests.http.test_uploads import PNG
from tests.services.uploading import PART, change, row_of, stored

HTML = b"<!doctype html><html><script>alert(1)</script></html>"
GONE = (404, 410)


def collection(client: FlaskClient, name: str = "narrow", **policy: Any) -> str:
    """Make a collection and return its name."""
    answer = client.put(f"/api/collections/{name}", json=policy)
    assert answer.status_code in (200, 201), answer.data
    return name


def total(client: FlaskClient) -> int:
    files: int = client.get("/api/files").get_json()["total"]
    return files


@pytest.mark.parametrize("how", ("put", "form", "parts"))
@pytest.mark.parametrize(
    "policy", ({"allowed_types": ["image/*"]}, {"on_mismatch": "reject"}), ids=("type", "mismatch")
)
def test_a_wrong_type_is_refused_with_its_bytes_gone(
    app: Holdall, client: FlaskClient, how: str, policy: dict[str, Any]
) -> None:
    name = collection(client, **policy)
    if how == "put":
        begun = begin(client, HTML, content_type="image/png", collection=name)
        assert send(client, begun, HTML).status == 200
        url = begun["confirm_url"]
        answer = client.post(url)
    elif how == "form":
        form = params(client, type="image/png", **{"metadata[collection]": name})
        assert send_form(client, form, HTML).status < 300
        url = form["confirm_url"]
        answer = client.post(url)
    else:
        upload = Multipart(client, type="image/png", metadata={"collection": name})
        upload.put(1, HTML)
        answer = upload.complete()
        url = f"/api/direct/{upload.id}/confirm"
    assert (answer.status_code, answer.get_json()["code"]) == (415, "type_not_allowed")
    assert stored(app) == []
    assert total(client) == 0
    assert client.post(url).status_code in GONE


def test_a_form_of_more_than_was_declared_is_refused(app: Holdall, client: FlaskClient) -> None:
    form = params(client, **{"metadata[size]": "10"})
    assert send_form(client, form, content_of(11)).status >= 400
    assert stored(app) == []
    assert client.post(form["confirm_url"]).status_code == 409


def test_parts_of_more_than_was_declared_are_refused(app: Holdall, client: FlaskClient) -> None:
    upload = Multipart(client, metadata={"size": PART + 10})
    upload.put(1, content_of(PART))
    signed = upload.sign(2).get_json()
    sent = send(client, signed, content_of(11))
    if sent.status == 200:  # a store does not limit what a part holds
        upload.parts.append({"PartNumber": 2, "ETag": sent.etag})
        assert upload.complete().status_code == 413
    else:
        assert sent.status == 413
        assert upload.abort().status_code == 200
    assert stored(app) == []
    assert total(client) == 0


def test_parts_of_less_than_was_declared_wait_for_the_rest(client: FlaskClient) -> None:
    upload = Multipart(client, metadata={"size": PART + 10})
    upload.put(1, content_of(PART))
    answer = upload.complete()
    assert (answer.status_code, answer.get_json()["code"]) == (400, "truncated_body")
    upload.put(2, content_of(10))
    assert upload.complete().status_code == 200


def test_parts_over_the_largest_size_are_refused(app_with: MakeApp, deployment: Deployment) -> None:
    app = app_with(**deployment.variables, MAX_UPLOAD_SIZE=str(PART + 10))
    client = app.test_client()
    upload = Multipart(client)
    upload.put(1, content_of(PART))
    signed = upload.sign(2).get_json()
    sent = send(client, signed, content_of(PART))
    if sent.status == 200:
        upload.parts.append({"PartNumber": 2, "ETag": sent.etag})
        assert upload.sign(3).status_code == 413
        assert stored(app) == []
        assert send(client, signed, PNG).status >= 400
        assert upload.complete().status_code in (404, 410)
    else:
        assert sent.status == 413
        assert upload.abort().status_code == 200
    assert stored(app) == []


def test_what_is_declared_too_large_is_refused_before_anything(
    app_with: MakeApp, deployment: Deployment
) -> None:
    app = app_with(**deployment.variables, MAX_UPLOAD_SIZE="1000")
    client = app.test_client()
    asked = {"filename": "a", "size": 1001}
    assert client.post("/api/direct", json=asked).status_code == 413
    query = {"filename": "a", "metadata[size]": "1001"}
    assert client.get("/api/direct/s3/params", query_string=query).status_code == 413
    asked = {"filename": "a", "metadata": {"size": 1001}}
    assert client.post("/api/direct/s3/multipart", json=asked).status_code == 413
    assert stored(app) == []


def test_parts_that_are_too_small_are_named(
    app_with: MakeApp, request: pytest.FixtureRequest
) -> None:
    app = app_with(**s3_variables(request))
    upload = Multipart(app.test_client())
    upload.put(1, PNG)
    upload.put(2, PNG)
    answer = upload.complete()
    assert answer.status_code == 400
    assert "part 1" in answer.get_json()["error"]
    assert upload.abort().status_code == 200
    assert stored(app) == []


# Quotas


def test_a_quota_counts_what_was_begun(app: Holdall, client: FlaskClient) -> None:
    name = collection(client, max_bytes=100)
    first = begin(client, content_of(60), collection=name)
    asked = {"filename": "b", "size": 60, "collection": name}
    assert client.post("/api/direct", json=asked).status_code == 507
    assert client.delete(f"/api/direct/{first['id']}").status_code == 204
    second = begin(client, content_of(60), collection=name)
    assert send(client, second, content_of(60)).status == 200
    assert client.post(second["confirm_url"]).status_code == 201
    assert client.post("/api/direct", json=asked).status_code == 507
    begin(client, content_of(40), collection=name)


@pytest.mark.parametrize("how", ("form", "parts"))
def test_what_does_not_fit_in_the_end_is_refused(
    app: Holdall, client: FlaskClient, how: str
) -> None:
    name = collection(client, max_bytes=100)
    told = {"metadata[collection]": name}
    if how == "form":
        form = params(client, **told)
        sent = send_form(client, form, content_of(101))
        refused = sent.status >= 400 and client.post(form["confirm_url"]).status_code == 409
        client.delete(f"/api/direct/{form['id']}")
    else:
        upload = Multipart(client, metadata={"collection": name})
        sent = send(client, upload.sign(1).get_json(), content_of(101))
        upload.parts = [{"PartNumber": 1, "ETag": sent.etag or "none"}]
        refused = sent.status == 507 or upload.complete().status_code == 507
        upload.abort()
    assert refused
    assert stored(app) == []
    begin(client, content_of(100), collection=name)


def test_a_quota_of_files_counts_what_was_begun(client: FlaskClient) -> None:
    name = collection(client, max_files=1)
    upload = Multipart(client, metadata={"collection": name})
    asked = {"filename": "b", "size": 1, "collection": name}
    assert client.post("/api/direct", json=asked).status_code == 507
    upload.abort()
    assert client.post("/api/direct", json=asked).status_code == 201


# Late bytes


def test_what_comes_late_to_a_refused_upload_goes_with_it(
    app: Holdall, client: FlaskClient
) -> None:
    name = collection(client, allowed_types=["image/*"])
    begun = begin(client, HTML, collection=name)
    send(client, begun, HTML)
    assert client.post(begun["confirm_url"]).status_code == 415
    late = send(client, begun, HTML)
    assert client.post(begun["confirm_url"]).status_code in GONE
    if late.status == 200:
        change(app, begun["id"], expires_at=now() - timedelta(seconds=1))
    parts(app).expiry.run()
    assert stored(app) == []
    assert row_of(app, begun["id"]) is None


def test_what_comes_late_to_a_file_goes_with_its_upload(app: Holdall, client: FlaskClient) -> None:
    begun = begin(client, PNG)
    send(client, begun, PNG)
    file = client.post(begun["confirm_url"]).get_json()
    send(client, begun, PNG[::-1])
    change(app, begun["id"], expires_at=now() - timedelta(seconds=1))
    parts(app).expiry.run()
    assert len(stored(app)) == 1
    assert client.get(file["url"]).data == PNG
    assert row_of(app, begun["id"]) is None


# Requests that make no sense


@pytest.mark.parametrize(
    "asked",
    (
        {},
        {"filename": "a"},
        {"filename": "", "size": 1},
        {"filename": "a", "size": -1},
        {"filename": "a", "size": 1.5},
        {"filename": "a", "size": 2**63},
        {"filename": "a", "size": 1, "metadata": {"": 1}},
        {"filename": "a", "size": 1, "metadata": {"a": "\0"}},
        {"filename": "a", "size": 1, "owner": "b" * 26},
    ),
)
def test_a_beginning_that_makes_no_sense_is_refused(
    local_app: Holdall, local_client: FlaskClient, asked: dict[str, Any]
) -> None:
    assert local_client.post("/api/direct", json=asked).status_code == 400
    assert stored(local_app) == []


@pytest.mark.parametrize("name", ("", "\0", "\ud800", "x" * 100_000, "Ä"))
def test_a_collection_that_cannot_be_is_not_found(
    local_app: Holdall, local_client: FlaskClient, name: str
) -> None:
    asked = {"filename": "a", "metadata": {"collection": name}}
    found = 404 if name else 200
    assert local_client.post("/api/direct/s3/multipart", json=asked).status_code == found
    assert stored(local_app) == []


@pytest.mark.parametrize("size", ("-1", "1.5", "x", "9" * 19, "٣"))
def test_a_size_that_is_none_is_refused(local_client: FlaskClient, size: str) -> None:
    asked = {"filename": "a", "metadata": {"size": size}}
    assert local_client.post("/api/direct/s3/multipart", json=asked).status_code == 400


def test_an_unknown_collection_is_not_found(app: Holdall, client: FlaskClient) -> None:
    asked = {"filename": "a", "size": 1, "collection": "nowhere"}
    assert client.post("/api/direct", json=asked).status_code == 404
    asked = {"filename": "a", "metadata": {"collection": "nowhere"}}
    assert client.post("/api/direct/s3/multipart", json=asked).status_code == 404
    assert (
        client.post(
            "/api/direct/s3/multipart", json={"filename": "a", "metadata": {"collection": 1}}
        ).status_code
        == 400
    )
    assert stored(app) == []


def test_a_type_that_no_header_holds_does_no_harm(client: FlaskClient) -> None:
    begun = begin(client, PNG, content_type="image/png\r\nX-Evil: 1")
    assert send(client, begun, PNG).status == 200
    assert client.post(begun["confirm_url"]).status_code == 201
