"""Uploads by form and by bare body, on every storage and database."""

import base64
import hashlib
import io
import json
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import Holdall
from services import database
from tests.conftest import MakeApp, objects

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360000002000001e221bc330000000049454e44ae426082"
)
PDF = b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF\n"
BOUNDARY = "frontier"


def form(**parts: Any) -> dict[str, Any]:
    """Return keyword arguments that post `parts` as a form."""
    return {"data": parts, "content_type": "multipart/form-data"}


def raw_form(body: bytes) -> dict[str, Any]:
    """Return keyword arguments that post `body` as a form that is written by hand."""
    return {"data": body, "content_type": f"multipart/form-data; boundary={BOUNDARY}"}


def part(content: bytes, name: str = "file", filename: str | None = "a.bin") -> bytes:
    """Return one part of a form with the boundary before it."""
    shown = f'; filename="{filename}"' if filename is not None else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{shown}\r\n\r\n'
    return head.encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


def assert_nothing_is_left(app: Holdall) -> None:
    """Check that no row, no object and no temporary file remains."""
    listed = app.test_client().get("/api/files").get_json()
    assert (listed["items"], listed["total"]) == ([], 0)
    assert objects(app) == []


def code(response: TestResponse) -> tuple[int, str]:
    """Return the status and the stable code of an error."""
    return response.status_code, response.get_json()["code"]


def test_a_form_upload_is_answered_with_the_file(client: FlaskClient) -> None:
    response = client.post("/api/upload", **form(file=(io.BytesIO(PNG), "dot.png", "image/png")))
    file = response.get_json()
    assert response.status_code == 201
    assert file["filename"] == "dot.png"
    assert file["size"] == len(PNG)
    assert file["content_type"] == "image/png"
    assert file["sha256"] == hashlib.sha256(PNG).hexdigest()
    assert file["url"] == f"/uploads/{file['id']}/dot.png" == response.headers["Location"]
    assert client.get(file["url"]).data == PNG


def test_a_raw_upload_is_answered_with_the_file(client: FlaskClient) -> None:
    response = client.put("/api/upload/report.pdf", data=PDF)
    file = response.get_json()
    assert response.status_code == 201
    assert (file["filename"], file["content_type"]) == ("report.pdf", "application/pdf")
    assert client.get(file["url"]).data == PDF


def test_several_files_are_answered_with_a_list(client: FlaskClient) -> None:
    files = [(io.BytesIO(b"one"), "1.txt"), (io.BytesIO(b"two"), "2.txt")]
    answer = client.post("/api/upload", **form(file=files)).get_json()
    assert answer["total"] == 2
    assert [item["filename"] for item in answer["items"]] == ["1.txt", "2.txt"]
    assert [client.get(item["url"]).data for item in answer["items"]] == [b"one", b"two"]


def test_several_files_are_all_kept_or_none(app: Holdall) -> None:
    body = part(b"fine") + part(PNG, filename="x.png") + part(b"cut short")
    assert code(app.test_client().post("/api/upload", **raw_form(body)))[0] == 400
    assert_nothing_is_left(app)


def test_a_large_form_upload_comes_back_byte_for_byte(client: FlaskClient) -> None:
    content = hashlib.shake_128(b"large").digest(12 * 1024 * 1024 + 17)
    answer = client.post("/api/upload", **raw_form(part(content) + END)).get_json()
    assert answer["sha256"] == hashlib.sha256(content).hexdigest()
    assert client.get(answer["url"]).data == content


def test_other_fields_become_metadata(client: FlaskClient) -> None:
    fields = {"album": "summer", "tag": ["a", "b"], "file": (io.BytesIO(b"x"), "x.txt")}
    file = client.post("/api/upload", **form(**fields)).get_json()
    assert file["metadata"] == {"album": "summer", "tag": ["a", "b"]}


@pytest.mark.parametrize("field", ["content_type", "owner", "id", "size", "visibility", "url"])
def test_fields_named_like_attributes_are_ignored(local_client: FlaskClient, field: str) -> None:
    content = {field: "text/html", "file": (io.BytesIO(b"text"), "x.txt")}
    file = local_client.post("/api/upload", **form(**content)).get_json()
    assert file["metadata"] == {}
    assert file["content_type"] == "text/plain"


def test_an_upload_without_a_file_is_refused(local_client: FlaskClient) -> None:
    requests: tuple[dict[str, Any], ...] = (
        {},
        {"data": {}},
        {"data": {"a": "b"}},
        form(a="b"),
        form(file=(io.BytesIO(b""), "")),
        form(other=(io.BytesIO(b"x"), "x.txt")),
    )
    for request in requests:
        response = local_client.post("/api/upload", **request)
        assert response.status_code == 400
        assert response.get_json()["error"] == "No file provided"


def test_an_empty_file_is_a_file(client: FlaskClient) -> None:
    by_form = client.post("/api/upload", **form(file=(io.BytesIO(b""), "empty.txt")))
    raw = client.put("/api/upload/empty.txt", data=b"", environ_overrides={"CONTENT_LENGTH": "0"})
    for response in (by_form, raw):
        file = response.get_json()
        assert response.status_code == 201
        assert (file["size"], file["content_type"]) == (0, "application/x-empty")
        assert file["sha256"] == hashlib.sha256().hexdigest()
        assert client.get(file["url"]).data == b""


def test_a_form_without_its_closing_boundary_leaves_nothing(app: Holdall) -> None:
    client = app.test_client()
    for body in (part(b"whole"), part(b"whole") + b"--fron", part(b"w")[:-9], b"--frontier\r\n"):
        response = client.post("/api/upload", **raw_form(body))
        assert code(response) == (400, "truncated_body")
    assert_nothing_is_left(app)


@pytest.mark.parametrize("size", [0, 1, 8191, 8192, 8193, 1024 * 1024])
def test_contents_that_look_like_boundaries_are_kept(local_client: FlaskClient, size: int) -> None:
    content = b"\r\n--frontie" + b"\r\n--" * (size // 4) + b"\r\n\r\n"
    body = part(content) + END
    file = local_client.post("/api/upload", **raw_form(body)).get_json()
    assert local_client.get(file["url"]).data == content


def test_too_many_parts_are_refused(local_app: Holdall) -> None:
    body = b"".join(part(b"", name="note", filename=None) for _ in range(10_000)) + END
    assert code(local_app.test_client().post("/api/upload", **raw_form(body)))[0] == 413
    assert_nothing_is_left(local_app)


def test_too_many_files_are_refused(local_app: Holdall) -> None:
    body = b"".join(part(b"x") for _ in range(101)) + END
    assert code(local_app.test_client().post("/api/upload", **raw_form(body))) == (413, "too_large")
    assert_nothing_is_left(local_app)


def test_a_large_text_field_is_refused(local_app: Holdall) -> None:
    body = part(b"x") + part(b"v" * 600_000, name="note", filename=None) + END
    assert code(local_app.test_client().post("/api/upload", **raw_form(body))) == (413, "too_large")
    assert_nothing_is_left(local_app)


def test_large_and_many_part_headers_are_refused(local_app: Holdall) -> None:
    disposition = 'Content-Disposition: form-data; name="file"; filename="a"\r\n'
    for headers in ("X-Long: " + "v" * 100_000 + "\r\n", "X-One: 1\r\n" * 1000):
        body = f"--{BOUNDARY}\r\n{disposition}{headers}\r\nx\r\n".encode() + END
        assert code(local_app.test_client().post("/api/upload", **raw_form(body)))[0] == 413
    assert_nothing_is_left(local_app)


def test_malformed_forms_are_refused(local_app: Holdall) -> None:
    client = local_app.test_client()
    nameless = f"--{BOUNDARY}\r\nContent-Disposition: form-data\r\n\r\nx\r\n".encode() + END
    bare = f"--{BOUNDARY}\r\n\r\nx\r\n".encode() + END
    typed = part(b"x").replace(b"\r\n\r\n", b"\r\nContent-Type: text/\0\r\n\r\n") + END
    half_closed = part(b"x").replace(b"frontier\r\n", b"frontier-\r\n") + END
    strange = (typed, half_closed, b"nothing like a form", b"--frontierx\r\n\r\n")
    for body in (nameless, bare, *strange):
        assert code(client.post("/api/upload", **raw_form(body)))[0] == 400
    no_boundary = {"data": b"x", "content_type": "multipart/form-data"}
    assert code(client.post("/api/upload", **no_boundary)) == (400, "malformed_body")
    assert_nothing_is_left(local_app)


def test_other_media_types_are_refused_with_the_right_one(local_client: FlaskClient) -> None:
    response = local_client.post("/api/upload", json={"file": "x"})
    assert code(response) == (415, "unsupported_body")
    assert response.headers["Accept"] == "multipart/form-data"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("a\x00b\x1f.txt", "ab.txt"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("trailing. . .", "trailing"),
        ("..", "file"),
        ("…", "…"),
        ("fünf 🧳.txt", "fünf 🧳.txt"),
        ("\u202egnp.exe", "gnp.exe"),
    ],
)
def test_a_filename_is_only_a_name(local_app: Holdall, given: str, shown: str) -> None:
    client = local_app.test_client()
    escaped = "".join(f"%{byte:02X}" for byte in given.encode())
    file = client.put(f"/api/upload/{escaped}", data=b"x").get_json()
    assert file["filename"] == shown
    assert client.get(file["url"]).data == b"x"
    (key,) = objects(local_app)
    assert file["id"] not in key


def test_a_long_filename_is_cut_between_characters(local_client: FlaskClient) -> None:
    file = local_client.put(f"/api/upload/{'🧳' * 100}.jpeg", data=b"x").get_json()
    assert file["filename"].endswith("🧳.jpeg")
    assert 250 <= len(file["filename"].encode()) <= 255


def test_a_digest_that_does_not_match_leaves_nothing(app: Holdall) -> None:
    client = app.test_client()
    wrong = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    wrong_md5 = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    hexadecimal = hashlib.sha256(b"other").hexdigest()
    uploads = [
        client.put("/api/upload/a", data=b"x", headers={"Content-Digest": f"sha-256=:{wrong}:"}),
        client.put("/api/upload/a", data=b"x", headers={"Repr-Digest": f"sha-256=:{wrong}:"}),
        client.put("/api/upload/a", data=b"x", headers={"Content-MD5": wrong_md5}),
        client.put(f"/api/upload/a?sha256={hexadecimal}", data=b"x"),
        client.post("/api/upload", **form(sha256=hexadecimal, file=(io.BytesIO(b"x"), "a"))),
        client.post(f"/api/upload?sha256={hexadecimal}", **form(file=(io.BytesIO(b"x"), "a"))),
        client.post(
            "/api/upload",
            headers={"Content-Digest": f"sha-256=:{wrong}:"},
            **form(file=(io.BytesIO(b"x"), "a")),
        ),
    ]
    after_it = part(b"x") + part(hexadecimal.encode(), "sha256", None) + END
    uploads.append(client.post("/api/upload", **raw_form(after_it)))
    assert {code(response) for response in uploads} == {(400, "digest_mismatch")}
    assert_nothing_is_left(app)


def test_a_digest_that_matches_is_accepted(local_client: FlaskClient) -> None:
    digests = {
        "Content-Digest": f"sha-256=:{base64.b64encode(hashlib.sha256(b'x').digest()).decode()}:",
        "Repr-Digest": f"sha-512=:{base64.b64encode(hashlib.sha512(b'x').digest()).decode()}:",
        "Content-MD5": base64.b64encode(hashlib.md5(b"x").digest()).decode(),
    }
    for name, value in digests.items():
        response = local_client.put("/api/upload/a", data=b"x", headers={name: value})
        assert response.status_code == 201, name
    unknown = {"Content-Digest": "crc32c=:AAAAAA==:"}
    assert local_client.put("/api/upload/a", data=b"x", headers=unknown).status_code == 201


def test_a_malformed_digest_is_refused(local_client: FlaskClient) -> None:
    for headers in (
        {"Content-Digest": "sha-256=abc"},
        {"Content-Digest": "sha-256=:!!!:"},
        {"Repr-Digest": "sha-256=:AAAA:"},
        {"Content-MD5": "short"},
    ):
        response = local_client.put("/api/upload/a", data=b"x", headers=headers)
        assert code(response) == (400, "invalid_field"), headers
    assert code(local_client.put("/api/upload/a?sha256=xyz", data=b"x")) == (400, "invalid_field")


def test_a_file_over_the_limit_leaves_nothing(app_with: MakeApp) -> None:
    app = app_with(MAX_UPLOAD_SIZE="1000")
    client = app.test_client()
    assert client.put("/api/upload/a", data=b"x" * 1000).status_code == 201
    over = b"x" * 1001
    assert code(client.put("/api/upload/a", data=over)) == (413, "too_large")
    chunked = client.put(
        "/api/upload/a",
        input_stream=io.BytesIO(over),
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides={"wsgi.input_terminated": True},
    )
    assert code(chunked) == (413, "too_large")
    by_form = client.post("/api/upload", **form(file=(io.BytesIO(over), "a")))
    assert code(by_form) == (413, "too_large")
    assert len(objects(app)) == 1


def test_types_that_are_not_allowed_leave_nothing(app_with: MakeApp) -> None:
    app = app_with(ALLOWED_TYPES="image/*,application/pdf")
    client = app.test_client()
    assert client.put("/api/upload/a.png", data=PNG).status_code == 201
    assert client.put("/api/upload/a.pdf", data=PDF).status_code == 201
    liar = client.put("/api/upload/a.png", data=b"<html>", content_type="image/png")
    assert code(liar) == (415, "type_not_allowed")
    assert len(objects(app)) == 2


def test_bytes_are_believed_and_the_client_is_not(local_client: FlaskClient) -> None:
    html = b"<!doctype html><script>alert(1)</script>"
    file = local_client.put("/api/upload/photo.png", data=html, content_type="image/png").get_json()
    assert file["content_type"] == "text/html"
    assert (file["declared_type"], file["type_mismatch"]) == ("image/png", True)
    assert local_client.get(file["url"]).headers["Content-Disposition"].startswith("attachment")


def test_a_put_of_a_part_is_refused(local_app: Holdall) -> None:
    headers = {"Content-Range": "bytes 0-0/10"}
    response = local_app.test_client().put("/api/upload/a", data=b"x", headers=headers)
    assert response.status_code == 400
    assert_nothing_is_left(local_app)


def test_a_coded_body_is_refused(local_app: Holdall) -> None:
    client = local_app.test_client()
    response = client.put("/api/upload/a", data=b"x", headers={"Content-Encoding": "gzip"})
    assert code(response) == (415, "unsupported_body")
    assert_nothing_is_left(local_app)


def test_a_body_without_any_length_is_refused(local_client: FlaskClient) -> None:
    response = local_client.put("/api/upload/a")
    assert code(response) == (411, "length_required")


def test_an_unknown_collection_is_refused(local_client: FlaskClient) -> None:
    response = local_client.put("/api/upload/a?collection=none", data=b"x")
    assert code(response) == (404, "collection_not_found")
    fields = {"collection": "none", "file": (io.BytesIO(b"x"), "a")}
    assert code(local_client.post("/api/upload", **form(**fields)))[0] == 404


def test_a_repeated_idempotency_key_is_answered_with_the_first_file(app: Holdall) -> None:
    client, headers = app.test_client(), {"Idempotency-Key": "one"}
    first = client.put("/api/upload/a", data=b"x", headers=headers)
    second = client.put("/api/upload/a", data=b"x", headers=headers)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.get_json() == second.get_json()
    assert len(objects(app)) == 1
    other = client.put("/api/upload/b", data=b"x", headers=headers)
    assert code(other) == (422, "idempotency_key_reused")
    assert len(objects(app)) == 1


def test_metadata_over_its_limits_leaves_nothing(local_app: Holdall) -> None:
    client = local_app.test_client()
    many = {f"k{number}": "v" for number in range(65)}
    for fields in (many, {"k": "v" * 20_000}, {"k" * 129: "v"}):
        content = {**fields, "file": (io.BytesIO(b"x"), "a")}
        assert code(client.post("/api/upload", **form(**content))) == (400, "invalid_field")
    assert_nothing_is_left(local_app)


def test_room_is_left_for_deleting_files(
    local_app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = local_app.test_client()
    file = client.put("/api/upload/a", data=b"x").get_json()
    monkeypatch.setattr(database, "KEPT", 2**62)
    for response in (
        client.put("/api/upload/b", data=b"x"),
        client.post("/api/upload", **form(file=(io.BytesIO(b"x"), "c"))),
    ):
        assert code(response) == (507, "storage_full")
    assert client.delete(f"/api/files/{file['id']}").status_code == 204
    assert_nothing_is_left(local_app)


def test_errors_come_as_problem_details_where_asked_for(local_client: FlaskClient) -> None:
    headers = {"Accept": "application/problem+json"}
    response = local_client.post("/api/upload", headers=headers)
    assert response.content_type == "application/problem+json"
    problem = json.loads(response.data)
    assert (problem["status"], problem["code"]) == (400, "no_file")


@pytest.mark.parametrize("mode", ["keys"])
def test_without_a_key_nothing_is_stored(app_with: MakeApp, mode: str) -> None:
    from tests.conftest import SECRET

    app = app_with(AUTH_MODE=mode, SECRET_KEY=SECRET)
    client = app.test_client()
    for response in (
        client.put("/api/upload/a", data=b"x"),
        client.post("/api/upload", **form(file=(io.BytesIO(b"x"), "a"))),
        client.get("/api/files"),
        client.get("/api/files/aaaaaaaaaaaaaaaaaaaaaaaaaa"),
        client.patch("/api/files/aaaaaaaaaaaaaaaaaaaaaaaaaa", json={}),
        client.delete("/api/files/aaaaaaaaaaaaaaaaaaaaaaaaaa"),
        client.post("/api/files/delete", json={"ids": ["a"]}),
    ):
        assert code(response) == (401, "unauthorized")
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert objects(app) == []
