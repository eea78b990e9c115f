"""Direct uploads over HTTP: the shapes of `@uppy/aws-s3` and our own, on every deployment.

On S3 the bytes go to the real store, by `requests`, at the address that the answers name; on local
disk they come back to the service under test.
"""

import hashlib
import io
from typing import Any
from urllib.parse import urlsplit

import requests
from flask.testing import FlaskClient

from app import Holdall
from tests.http.test_uploads import PNG
from tests.services.uploading import stored

S3 = "/api/direct/s3"


class Sent:
    """What a store or the service answered to bytes: `status`, `etag` and `headers`."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.etag: str = headers.get("ETag", "")


def send(client: FlaskClient, signed: dict[str, Any], content: bytes, **headers: str) -> Sent:
    """Send bytes as a client does that was given a signed request."""
    named = signed.get("headers", {}) | headers
    method, url = signed.get("method", "PUT"), signed["url"]
    if is_ours(url):
        # Werkzeug's client names no length for an empty body, which real clients do.
        length = {"CONTENT_LENGTH": str(len(content))}
        ours = client.open(
            url, method=method, data=content, headers=named, environ_overrides=length
        )
        return Sent(ours.status_code, ours.headers, ours.data)
    theirs = requests.request(method, url, data=content, headers=named, timeout=30)
    return Sent(theirs.status_code, theirs.headers, theirs.content)


def send_form(client: FlaskClient, form: dict[str, Any], content: bytes) -> Sent:
    """Send a form as Uppy does: the fields, and the file after them."""
    if is_ours(form["url"]):
        fields = form["fields"] | {"file": (io.BytesIO(content), "a.bin")}
        ours = client.post(form["url"], data=fields)
        return Sent(ours.status_code, ours.headers, ours.data)
    theirs = requests.post(
        form["url"], data=form["fields"], files={"file": ("a.bin", content)}, timeout=30
    )
    return Sent(theirs.status_code, theirs.headers, theirs.content)


def is_ours(url: str) -> bool:
    return urlsplit(url).netloc == "localhost"


def begin(client: FlaskClient, content: bytes, **fields: Any) -> dict[str, Any]:
    """Begin an upload by one PUT."""
    asked = {"filename": "a.bin", "size": len(content)} | fields
    answer = client.post("/api/direct", json=asked)
    assert answer.status_code == 201, answer.data
    begun: dict[str, Any] = answer.get_json()
    return begun


def params(client: FlaskClient, filename: str = "a.bin", **fields: str) -> dict[str, Any]:
    answer = client.get(f"{S3}/params", query_string={"filename": filename} | fields)
    assert answer.status_code == 200, answer.data
    form: dict[str, Any] = answer.get_json()
    return form


class Multipart:
    """An upload in parts, as Uppy makes one."""

    def __init__(self, client: FlaskClient, filename: str = "a.bin", **fields: Any) -> None:
        self.client = client
        answer = client.post(f"{S3}/multipart", json={"filename": filename} | fields)
        assert answer.status_code == 200, answer.data
        self.begun: dict[str, Any] = answer.get_json()
        self.url = f"{S3}/multipart/{self.begun['uploadId']}"
        self.key = {"key": self.begun["key"]}
        self.parts: list[dict[str, Any]] = []

    @property
    def id(self) -> str:
        upload_id: str = self.begun["uploadId"]
        return upload_id

    def sign(self, number: int) -> Any:
        return self.client.get(f"{self.url}/{number}", query_string=self.key)

    def put(self, number: int, content: bytes) -> Sent:
        """Send a part, and remember its tag without quotes, as Uppy does."""
        signed = self.sign(number)
        assert signed.status_code == 200, signed.data
        sent = send(self.client, signed.get_json(), content)
        assert sent.status == 200, sent.body
        self.parts.append({"PartNumber": number, "ETag": sent.etag.strip('"')})
        return sent

    def listed(self) -> Any:
        return self.client.get(self.url, query_string=self.key)

    def complete(self, parts: list[dict[str, Any]] | None = None) -> Any:
        named = self.parts if parts is None else parts
        return self.client.post(
            f"{self.url}/complete", query_string=self.key, json={"parts": named}
        )

    def abort(self) -> Any:
        return self.client.delete(self.url, query_string=self.key)


def content_of(size: int, seed: bytes = b"direct") -> bytes:
    return hashlib.shake_128(seed).digest(size)


# One PUT


def test_a_put_is_confirmed_and_served(app: Holdall, client: FlaskClient) -> None:
    begun = begin(client, PNG, filename="Grüße.png", content_type="image/png", metadata={"a": [1]})
    assert begun["method"] == "PUT"
    assert send(client, begun, PNG).status == 200
    answer = client.post(begun["confirm_url"])
    assert answer.status_code == 201, answer.data
    file = answer.get_json()
    assert (file["filename"], file["size"]) == ("Grüße.png", len(PNG))
    assert (file["content_type"], file["metadata"]) == ("image/png", {"a": [1]})
    assert answer.headers["Location"] == file["url"]
    served = client.get(file["url"])
    assert served.data == PNG
    assert served.headers["ETag"] == f'"{file["id"]}"'
    assert "Repr-Digest" not in served.headers
    assert len(stored(app)) == 1


def test_an_empty_file_is_put(client: FlaskClient) -> None:
    begun = begin(client, b"")
    assert send(client, begun, b"").status == 200
    answer = client.post(begun["confirm_url"])
    assert answer.status_code == 201, answer.data
    assert client.get(answer.get_json()["url"]).data == b""


def test_confirming_again_answers_with_the_same_file(app: Holdall, client: FlaskClient) -> None:
    begun = begin(client, PNG)
    send(client, begun, PNG)
    first = client.post(begun["confirm_url"])
    again = client.post(begun["confirm_url"])
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.get_json() == again.get_json()
    assert client.get("/api/files").get_json()["total"] == 1


def test_nothing_is_served_before_it_is_confirmed(client: FlaskClient) -> None:
    begun = begin(client, PNG)
    send(client, begun, PNG)
    assert client.get("/api/files").get_json()["total"] == 0
    for name in (begun["id"], begun["key"], begun["key"].partition("/")[2]):
        assert client.get(f"/uploads/{name}").status_code == 404
        assert client.get(f"/api/files/{name}").status_code == 404


def test_what_is_sent_after_confirming_changes_nothing(app: Holdall, client: FlaskClient) -> None:
    begun = begin(client, PNG)
    send(client, begun, PNG)
    file = client.post(begun["confirm_url"]).get_json()
    html = b"<html><script>alert(1)</script>".ljust(len(PNG))
    send(client, begun, html)
    assert client.get(file["url"]).data == PNG
    assert client.post(begun["confirm_url"]).get_json() == file
    assert client.get(file["url"]).data == PNG


def test_confirming_what_has_not_arrived_is_a_conflict(client: FlaskClient) -> None:
    begun = begin(client, PNG)
    assert client.post(begun["confirm_url"]).status_code == 409
    send(client, begun, PNG)
    assert client.post(begun["confirm_url"]).status_code == 201


def test_an_upload_that_is_given_up_leaves_nothing(app: Holdall, client: FlaskClient) -> None:
    begun = begin(client, PNG)
    send(client, begun, PNG)
    assert client.delete(f"/api/direct/{begun['id']}").status_code == 204
    assert stored(app) == []
    assert client.post(begun["confirm_url"]).status_code in (404, 410)


def test_an_upload_that_became_a_file_is_not_given_up(client: FlaskClient) -> None:
    begun = begin(client, PNG)
    send(client, begun, PNG)
    file = client.post(begun["confirm_url"]).get_json()
    assert client.delete(f"/api/direct/{begun['id']}").status_code == 409
    assert client.get(file["url"]).data == PNG


def test_a_put_of_another_length_is_refused(app: Holdall, client: FlaskClient) -> None:
    begun = begin(client, PNG)
    for content in (PNG + b"x", PNG[:-1]):
        length = {"Content-Length": str(len(content))}
        assert send(client, begun, content, **length).status in (400, 403, 413)
    assert client.post(begun["confirm_url"]).status_code == 409
    assert stored(app) == []


# A form


def test_a_form_is_confirmed_by_its_key(app: Holdall, client: FlaskClient) -> None:
    form = params(
        client, "a.png", type="image/png", **{"metadata[note]": "ü", "metadata[name]": "a"}
    )
    assert form["method"] == "POST" and form["expires"] > 3000
    assert send_form(client, form, PNG).status in (200, 201, 204)
    answer = client.post("/api/direct/confirm", json={"key": form["fields"]["key"]})
    assert answer.status_code == 201, answer.data
    file = answer.get_json()
    assert (file["filename"], file["declared_type"]) == ("a.png", "image/png")
    assert file["metadata"] == {"note": "ü"}
    assert client.get(file["url"]).data == PNG
    assert client.post(form["confirm_url"]).get_json() == file
    assert len(stored(app)) == 1


def test_a_form_holds_no_more_than_may_be(app_with: Any, deployment: Any) -> None:
    app = app_with(**deployment.variables, MAX_UPLOAD_SIZE="1000")
    client = app.test_client()
    form = params(client)
    assert send_form(client, form, content_of(1001)).status >= 400
    assert stored(app) == []
    assert send_form(client, form, content_of(1000)).status < 300
    answer = client.post(form["confirm_url"])
    assert answer.status_code == 201


def test_a_key_of_no_upload_is_not_found(local_client: FlaskClient) -> None:
    form = params(local_client)
    right = form["fields"]["key"]
    for key in (
        "",
        "x",
        "00/",
        "00/" + "a" * 26,
        right + "/",
        f"{right}\0",
        right[3:],
        "01" + right[2:],
    ):
        answer = local_client.post("/api/direct/confirm", json={"key": key})
        assert answer.status_code == 404, key


def test_tus_knows_nothing_of_it(local_client: FlaskClient) -> None:
    begun = begin(local_client, PNG)
    headers = {"Tus-Resumable": "1.0.0"}
    for method in ("HEAD", "DELETE"):
        answer = local_client.open(f"/api/tus/{begun['id']}", method=method, headers=headers)
        assert answer.status_code == 404


def test_answers_are_for_nobody_else(local_client: FlaskClient) -> None:
    answer = local_client.post("/api/direct", json={"filename": "a", "size": 1})
    assert answer.headers["Cache-Control"] == "private, no-store"
