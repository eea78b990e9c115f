"""Direct uploads in parts, as Uppy makes them, on every deployment."""

import hashlib

import pytest
from flask.testing import FlaskClient

from app import Holdall
from tests.conftest import parts
from tests.http.test_direct import S3, Multipart, begin, content_of, send
from tests.http.test_uploads import PNG
from tests.services.uploading import PART, stored


def test_parts_become_one_file(app: Holdall, client: FlaskClient) -> None:
    whole = content_of(2 * PART + 12345)
    upload = Multipart(
        client, "big.bin", type="application/octet-stream", metadata={"note": "x", "name": "y"}
    )
    for number, start in enumerate(range(0, len(whole), PART), 1):
        upload.put(number, whole[start : start + PART])
    listed = upload.listed().get_json()
    assert [part["PartNumber"] for part in listed] == [1, 2, 3]
    assert [part["Size"] for part in listed] == [PART, PART, 12345]
    assert [part["ETag"].strip('"') for part in listed] == [p["ETag"] for p in upload.parts]
    answer = upload.complete()
    assert answer.status_code == 200, answer.data
    file = answer.get_json()
    assert (file["key"], file["bucket"]) == (upload.begun["key"], upload.begun["bucket"])
    assert file["location"] == f"http://localhost{file['url']}"
    assert (file["size"], file["metadata"]) == (len(whole), {"note": "x"})
    assert client.get(file["url"]).data == whole
    assert len(stored(app)) == 1
    assert parts(app).hashing.run() == 1
    served = client.get(file["url"])
    assert served.headers["ETag"] == f'"{file["id"]}"'
    assert "Repr-Digest" in served.headers
    digest = client.get(f"/api/files/{file['id']}").get_json()["sha256"]
    assert digest == hashlib.sha256(whole).hexdigest()


def test_completing_again_answers_with_the_same_file(client: FlaskClient) -> None:
    upload = Multipart(client)
    upload.put(1, PNG)
    first, again = upload.complete(), upload.complete()
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.get_json() == again.get_json()
    assert client.get("/api/files").get_json()["total"] == 1


def test_a_part_can_be_sent_again_and_its_last_bytes_count(client: FlaskClient) -> None:
    for _ in range(5):
        upload = Multipart(client)
        upload.put(1, PNG[::-1])
        upload.parts.clear()
        upload.put(1, PNG)
        answer = upload.complete()
        assert client.get(answer.get_json()["url"]).data == PNG


def test_a_part_that_was_signed_before_is_refused_after_the_end(client: FlaskClient) -> None:
    upload = Multipart(client)
    upload.put(1, PNG)
    signed = upload.sign(1).get_json()
    file = upload.complete().get_json()
    assert send(client, signed, b"other").status >= 400
    assert client.get(file["url"]).data == PNG
    assert upload.sign(2).status_code == 409
    assert upload.listed().status_code == 409
    assert upload.abort().status_code == 409
    assert client.get(file["url"]).data == PNG


def test_parts_that_are_given_up_leave_nothing(app: Holdall, client: FlaskClient) -> None:
    upload = Multipart(client)
    upload.put(1, content_of(PART))
    signed = upload.sign(2).get_json()
    assert upload.abort().get_json() == {}
    assert stored(app) == []
    assert send(client, signed, PNG).status >= 400
    assert stored(app) == []
    for answer in (upload.sign(2), upload.listed(), upload.complete(), upload.abort()):
        assert answer.status_code in (404, 410)


def test_parts_are_numbered_from_1_to_10000(client: FlaskClient) -> None:
    upload = Multipart(client)
    assert upload.sign(10_000).status_code == 200
    for number in (0, -1, 10_001, 2**70):
        assert upload.sign(number).status_code in (400, 404), number
    assert client.get(f"{upload.url}/one", query_string=upload.key).status_code == 400


@pytest.mark.parametrize("quoted", (True, False))
def test_tags_come_with_quotes_or_without(client: FlaskClient, quoted: bool) -> None:
    upload = Multipart(client)
    etag = upload.put(1, PNG).etag.strip('"')
    named = {"PartNumber": 1, "ETag": f'"{etag}"' if quoted else etag}
    assert upload.complete([named]).status_code == 200


def test_parts_that_are_not_stored_are_refused_and_the_upload_goes_on(
    client: FlaskClient,
) -> None:
    upload = Multipart(client)
    etag = upload.put(2, PNG).etag
    stored_part = {"PartNumber": 2, "ETag": etag}
    for wrong in (
        [],
        [{"PartNumber": 1, "ETag": etag}],
        [{"PartNumber": 2, "ETag": "0" * 32}],
        [stored_part, stored_part],
        [stored_part, {"PartNumber": 1, "ETag": etag}],
        [{"PartNumber": 10_001, "ETag": etag}],
        [{"PartNumber": 0, "ETag": etag}],
        [{"PartNumber": 2}],
    ):
        answer = upload.complete(wrong)
        assert answer.status_code == 400, (wrong, answer.data)
    upload.put(1, content_of(PART))
    upload.parts.sort(key=lambda part: int(part["PartNumber"]))
    answer = upload.complete()
    assert answer.status_code == 200, answer.data
    assert client.get(answer.get_json()["url"]).data == content_of(PART) + PNG


def test_the_key_has_to_be_that_of_the_upload(client: FlaskClient) -> None:
    mine, other = Multipart(client), Multipart(client)
    mine.put(1, PNG)
    for key in (other.key, {"key": "x"}, {"key": ""}):
        mine.key = key
        for answer in (mine.sign(1), mine.listed(), mine.complete(), mine.abort()):
            assert answer.status_code == 404
    unknown = f"{S3}/multipart/{'a' * 26}"
    assert client.get(unknown, query_string=other.key).status_code == 404
    assert client.get(f"{S3}/multipart/{'a' * 26}%00", query_string=other.key).status_code == 404


def test_an_upload_is_ended_in_the_way_that_it_was_begun(client: FlaskClient) -> None:
    whole, upload = begin(client, PNG), Multipart(client)
    assert client.post(f"/api/direct/{upload.id}/confirm").status_code == 409
    key = {"key": whole["key"]}
    for method, path in (("GET", ""), ("GET", "/1"), ("POST", "/complete")):
        url = f"{S3}/multipart/{whole['id']}{path}"
        answer = client.open(url, method=method, query_string=key, json={"parts": []})
        assert answer.status_code == 409, (method, path)
