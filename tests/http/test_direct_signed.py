"""Requests that the service signs for itself: what a signature covers, and what it lets through."""

import io
import re
import time
from typing import Any

import pytest
import requests
from flask.testing import FlaskClient

from app import Holdall
from tests.conftest import MakeApp, parts, s3_variables
from tests.http.test_direct import Multipart, begin, content_of, params, send
from tests.http.test_uploads import PNG
from tests.services.uploading import stored


def variants(url: str, other: str) -> list[str]:
    """Return URLs that differ from a signed one in one place."""
    signature = url.rpartition("=")[2]
    flipped = signature[:-1] + ("A" if signature[-1] != "A" else "B")
    later = re.sub(r"expires=(\d+)", lambda match: f"expires={int(match[1]) + 1}", url)
    return [
        url.partition("?")[0],
        url.partition("&")[0],
        url.replace("expires=", "expires=0"),
        url.replace(signature, flipped),
        url.replace(signature, signature + "="),
        url.replace(signature, ""),
        re.sub(r"expires=\d+", "expires=٣", url),
        later,
        other,
    ]


def test_a_signature_is_for_one_upload_and_one_end(
    local_app: Holdall, local_client: FlaskClient
) -> None:
    one, two = begin(local_client, PNG), begin(local_client, PNG)
    for url in variants(one["url"], one["url"].replace(one["id"], two["id"])):
        assert send(local_client, one | {"url": url}, PNG).status == 403, url
    assert local_client.post(one["url"], data={"file": (io.BytesIO(PNG), "a")}).status_code == 403
    assert stored(local_app) == []


def test_a_signature_is_for_one_part(local_app: Holdall, local_client: FlaskClient) -> None:
    upload, other = Multipart(local_client), Multipart(local_client)
    url = upload.sign(1).get_json()["url"]
    for changed in variants(url, url.replace(upload.id, other.id)):
        assert local_client.put(changed, data=PNG).status_code == 403, changed
    second = url.replace(f"/{upload.id}/1", f"/{upload.id}/2")
    assert local_client.put(second, data=PNG).status_code == 403
    for spelled in ("01", "+1", " 1"):
        again = url.replace(f"/{upload.id}/1", f"/{upload.id}/{spelled}")
        assert local_client.put(again, data=PNG).status_code in (200, 400, 403)
    assert [each["PartNumber"] for each in upload.listed().get_json()] in ([], [1])


def test_a_signed_url_ends(
    local_app: Holdall, local_client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = begin(local_client, PNG)
    monkeypatch.setattr(parts(local_app).own_urls, "_clock", lambda: time.time() + 3601)
    answer = local_client.put(begun["url"], data=PNG)
    assert (answer.status_code, answer.get_json()["code"]) == (403, "link_expired")
    assert stored(local_app) == []


def test_a_link_to_read_or_to_upload_is_no_signature_of_these(
    local_app: Holdall, local_client: FlaskClient
) -> None:
    token = local_client.post("/api/upload-links", json={"expires_in": 60}).get_json()["token"]
    begun = begin(local_client, PNG)
    forged = re.sub(r"signature=.*", f"signature={token.rpartition('.')[2]}", begun["url"])
    assert local_client.put(forged, data=PNG).status_code == 403


def test_a_body_that_breaks_off_is_not_kept(local_app: Holdall, local_client: FlaskClient) -> None:
    begun, upload = begin(local_client, PNG), Multipart(local_client)
    cut = {"CONTENT_LENGTH": str(len(PNG))}
    for url in (begun["url"], upload.sign(1).get_json()["url"]):
        answer = local_client.put(url, data=PNG[:-1], environ_overrides=cut)
        assert (answer.status_code, answer.get_json()["code"]) == (400, "truncated_body")
    assert upload.listed().get_json() == []
    assert stored(local_app) == []
    assert local_client.post(begun["confirm_url"]).status_code == 409


def test_a_form_that_breaks_off_is_not_kept(local_app: Holdall, local_client: FlaskClient) -> None:
    form = params(local_client)
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + PNG
    for body in (head, head + b"\r\n--b", b""):
        answer = local_client.post(
            form["url"], data=body, content_type="multipart/form-data; boundary=b"
        )
        assert answer.status_code in (400, 411), body
    assert stored(local_app) == []


def test_a_form_has_one_file_and_its_own_key(local_app: Holdall, local_client: FlaskClient) -> None:
    form = params(local_client)
    wrong: tuple[dict[str, Any], ...] = (
        {},
        {"key": form["fields"]["key"]},
        {"key": "00/" + "a" * 26, "file": (io.BytesIO(PNG), "a")},
        {"other": (io.BytesIO(PNG), "a")},
        {"file": [(io.BytesIO(PNG), "a"), (io.BytesIO(PNG), "b")]},
    )
    for fields in wrong:
        answer = local_client.post(form["url"], data=fields, content_type="multipart/form-data")
        assert answer.status_code in (400, 411, 413), fields
    assert local_client.post(form["url"], json={}).status_code == 415
    assert stored(local_app) == []


def test_a_digest_that_does_not_match_keeps_nothing(
    local_app: Holdall, local_client: FlaskClient
) -> None:
    begun, upload = begin(local_client, PNG), Multipart(local_client)
    wrong = {"Content-Digest": "sha-256=:" + "A" * 43 + "=:"}
    for url in (begun["url"], upload.sign(1).get_json()["url"]):
        answer = local_client.put(url, data=PNG, headers=wrong)
        assert (answer.status_code, answer.get_json()["code"]) == (400, "digest_mismatch")
    assert stored(local_app) == []


def test_a_body_without_a_length_is_not_taken(
    local_app: Holdall, local_client: FlaskClient
) -> None:
    begun, upload = begin(local_client, PNG), Multipart(local_client)
    chunked = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    for url in (begun["url"], upload.sign(1).get_json()["url"]):
        answer = local_client.put(url, input_stream=io.BytesIO(PNG), environ_overrides=chunked)
        assert answer.status_code == 411
    assert stored(local_app) == []


def test_a_part_too_large_is_refused_before_its_body(app_with: MakeApp) -> None:
    app = app_with(MAX_UPLOAD_SIZE="1000")
    client = app.test_client()
    upload = Multipart(client)
    upload.put(1, content_of(600))
    url = upload.sign(2).get_json()["url"]
    assert client.put(url, data=content_of(401)).status_code == 413
    assert client.put(url, data=content_of(400)).status_code == 200
    assert client.put(url, data=content_of(300)).status_code == 200


def test_these_urls_take_nothing_where_the_store_does(
    app_with: MakeApp, request: pytest.FixtureRequest
) -> None:
    app = app_with(**s3_variables(request))
    client = app.test_client()
    begun, upload = begin(client, PNG), Multipart(client)
    own = parts(app).own_urls
    put = own.put(begun["id"], size=len(PNG), content_type="image/png", expires_in=60)
    assert client.put(put.url, data=PNG).status_code == 404
    assert client.put(own.part(upload.id, 1, expires_in=60).url, data=PNG).status_code == 404


def test_clients_are_told_the_public_endpoint(
    app_with: MakeApp, request: pytest.FixtureRequest
) -> None:
    variables = s3_variables(request)
    public = "https://files.example.org"
    app = app_with(**variables, STORAGE_S3_PUBLIC_ENDPOINT=public)
    client = app.test_client()
    urls = [
        begin(client, PNG)["url"],
        params(client)["url"],
        Multipart(client).sign(1).get_json()["url"],
    ]
    assert all(url.startswith(f"{public}/") for url in urls), urls


def test_urls_are_those_that_clients_know_the_service_by(app_with: MakeApp) -> None:
    client = app_with(PUBLIC_URL="https://files.example.org/holdall").test_client()
    begun, form = begin(client, PNG), params(client)
    signed = Multipart(client).sign(1).get_json()
    for url in (begun["url"], begun["confirm_url"], form["url"], signed["url"]):
        assert url.startswith("https://files.example.org/holdall/api/direct/")
    path = begun["url"].removeprefix("https://files.example.org/holdall")
    assert client.put(path, data=PNG).status_code == 200


def test_a_signed_request_of_the_store_needs_no_key(
    app_with: MakeApp, request: pytest.FixtureRequest
) -> None:
    client = app_with(**s3_variables(request)).test_client()
    begun = begin(client, PNG, content_type="image/png")
    tampered = begun["url"].replace("X-Amz-Expires=", "X-Amz-Expires=9")
    assert requests.put(tampered, data=PNG, headers=begun["headers"], timeout=30).status_code >= 400
    other = begun["headers"] | {"Content-Type": "text/html"}
    assert requests.put(begun["url"], data=PNG, headers=other, timeout=30).status_code >= 400
    assert requests.put(begun["url"], data=PNG, headers=begun["headers"], timeout=30).ok
