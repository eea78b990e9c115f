"""tus 1.0.0, core and every extension, on every storage and database."""

import base64
import hashlib
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import Holdall
from tests.conftest import SECRET, MakeApp, objects
from tests.http.test_uploads import PNG

VERSION = {"Tus-Resumable": "1.0.0"}
OFFSET_TYPE = {"Content-Type": "application/offset+octet-stream"}
PART = 5 * 1024 * 1024
UNKNOWN = "/api/tus/" + "a" * 26


def metadata(**pairs: str) -> str:
    return ",".join(f"{key} {base64.b64encode(v.encode()).decode()}" for key, v in pairs.items())


def create(client: FlaskClient, length: int | None, **headers: str) -> TestResponse:
    """Begin an upload; underscores in names of headers stand for hyphens."""
    size = {"Upload-Defer-Length": "1"} if length is None else {"Upload-Length": str(length)}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/api/tus", headers=VERSION | size | named)


def begin(client: FlaskClient, length: int | None, **headers: str) -> str:
    """Begin an upload and return its path."""
    response = create(client, length, **headers)
    assert response.status_code == 201, response.data
    return response.headers["Location"]


def patch(client: FlaskClient, url: str, offset: int, data: bytes, **headers: str) -> TestResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = VERSION | OFFSET_TYPE | {"Upload-Offset": str(offset)} | named
    return client.patch(url, data=data, headers=sent)


def head(client: FlaskClient, url: str) -> TestResponse:
    return client.head(url, headers=VERSION)


def file_of(client: FlaskClient, response: TestResponse) -> dict[str, Any]:
    """Return the file that a finished upload became."""
    file: dict[str, Any] = client.get(f"/api/files/{response.headers['Upload-File-Id']}").get_json()
    return file


def content(size: int, seed: bytes = b"tus") -> bytes:
    return hashlib.shake_128(seed).digest(size)


# Core


def test_an_upload_in_pieces_becomes_one_file(client: FlaskClient) -> None:
    whole = content(2 * PART + 12345)
    url = begin(client, len(whole), Upload_Metadata=metadata(filename="big.bin", note="ü"))
    offset = 0
    for size in (1, 8000, 200_000, PART - 1, PART, len(whole)):
        piece = whole[offset : offset + size]
        response = patch(client, url, offset, piece)
        offset += len(piece)
        assert response.status_code == 204, response.data
        assert response.headers["Upload-Offset"] == str(offset)
        assert response.headers["Tus-Resumable"] == "1.0.0"
        told = head(client, url)
        assert (told.status_code, told.headers["Upload-Offset"]) == (200, str(offset))
        assert told.headers["Cache-Control"] == "no-store"
        assert ("Upload-File-Id" in told.headers) == (offset == len(whole))
    file = file_of(client, response)
    assert file["sha256"] == hashlib.sha256(whole).hexdigest()
    assert (file["filename"], file["metadata"]) == ("big.bin", {"note": "ü"})
    assert response.headers["Upload-File-Url"] == file["url"]
    assert client.get(file["url"]).data == whole


def test_options_tells_what_is_spoken(local_client: FlaskClient) -> None:
    for url in ("/api/tus", UNKNOWN):
        response = local_client.options(url, headers={"Tus-Resumable": "0.2"})
        assert response.status_code == 204
        assert response.headers["Tus-Version"] == "1.0.0"
        assert int(response.headers["Tus-Max-Size"]) == 10 * 1024**3
        assert set(response.headers["Tus-Extension"].split(",")) == {
            "creation",
            "creation-with-upload",
            "creation-defer-length",
            "expiration",
            "checksum",
            "termination",
            "concatenation",
        }
        assert "sha256" in response.headers["Tus-Checksum-Algorithm"].split(",")


def test_another_version_is_refused_unprocessed(local_client: FlaskClient) -> None:
    url = begin(local_client, 4)
    other = {"Tus-Resumable": "0.2.2"}
    sent = OFFSET_TYPE | {"Upload-Offset": "0"}
    for response in (
        local_client.post("/api/tus", headers=other | {"Upload-Length": "4"}),
        local_client.head(url, headers=other),
        local_client.patch(url, data=b"text", headers=other | sent),
        local_client.delete(url, headers=other),
        local_client.patch(url, data=b"text", headers=sent),
    ):
        assert response.status_code == 412
        assert response.headers["Tus-Version"] == "1.0.0"
        assert response.headers["Tus-Resumable"] == "1.0.0"
    assert head(local_client, url).headers["Upload-Offset"] == "0"


def test_a_wrong_offset_is_told_the_right_one(client: FlaskClient) -> None:
    url = begin(client, 20_000)
    patch(client, url, 0, content(10_000))
    for offset in (0, 9_999, 10_001, 20_000):
        response = patch(client, url, offset, b"x")
        assert (response.status_code, response.headers["Upload-Offset"]) == (409, "10000")
    assert head(client, url).headers["Upload-Offset"] == "10000"


def test_bytes_beyond_the_length_are_refused(client: FlaskClient) -> None:
    url = begin(client, 4)
    assert patch(client, url, 0, b"too long").status_code == 413
    assert head(client, url).headers["Upload-Offset"] == "0"
    assert patch(client, url, 0, b"text").status_code == 204


@pytest.mark.parametrize("offset", ["", "-1", "+1", "1.0", "0x1", "٣", "9" * 30])
def test_impossible_offsets_are_refused(local_client: FlaskClient, offset: str) -> None:
    url = begin(local_client, 4)
    sent = VERSION | OFFSET_TYPE | {"Upload-Offset": offset.encode().decode("latin-1")}
    assert local_client.patch(url, data=b"text", headers=sent).status_code == 400


def test_a_patch_of_another_type_is_refused(local_client: FlaskClient) -> None:
    url = begin(local_client, 4)
    response = patch(local_client, url, 0, b"text", Content_Type="text/plain")
    assert response.status_code == 415
    assert head(local_client, url).headers["Upload-Offset"] == "0"


def test_an_unknown_upload_is_not_found(local_client: FlaskClient) -> None:
    for url in (UNKNOWN, "/api/tus/..%2fx", "/api/tus/x"):
        assert patch(local_client, url, 0, b"x").status_code == 404
        assert local_client.delete(url, headers=VERSION).status_code == 404
        response = head(local_client, url)
        assert response.status_code == 404
        assert "Upload-Offset" not in response.headers


def test_a_method_may_be_overridden(client: FlaskClient) -> None:
    url = begin(client, 4)
    sent = VERSION | OFFSET_TYPE | {"Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    assert client.post(url, data=b"text", headers=sent).status_code == 204
    asked = client.post(url, headers=VERSION | {"X-HTTP-Method-Override": "HEAD"})
    assert asked.headers["Upload-Offset"] == "4"
    gone = client.post(url, headers=VERSION | {"X-HTTP-Method-Override": "DELETE"})
    assert gone.status_code == 204
    assert client.post(url, headers=VERSION).status_code == 405


# Creation


def test_a_length_and_its_deferral_exclude_each_other(local_client: FlaskClient) -> None:
    for headers in ({}, {"Upload-Length": "1", "Upload-Defer-Length": "1"}):
        assert local_client.post("/api/tus", headers=VERSION | headers).status_code == 400
    for length in ("-1", "abc", "1.5", ""):
        sent = VERSION | {"Upload-Length": length}
        assert local_client.post("/api/tus", headers=sent).status_code == 400
    sent = VERSION | {"Upload-Defer-Length": "2"}
    assert local_client.post("/api/tus", headers=sent).status_code == 400


def test_a_length_over_the_maximum_is_refused(app_with: MakeApp) -> None:
    client = app_with(MAX_UPLOAD_SIZE="1000").test_client()
    assert create(client, 1001).status_code == 413
    url = begin(client, None)
    assert patch(client, url, 0, b"x" * 600).status_code == 204
    assert patch(client, url, 600, b"x" * 401).status_code == 413
    assert patch(client, url, 600, b"", Upload_Length="1001").status_code == 413
    assert patch(client, url, 600, b"x" * 400, Upload_Length="1000").status_code == 204


def test_an_empty_upload_is_complete_at_once(client: FlaskClient) -> None:
    response = create(client, 0, Upload_Metadata=metadata(filename="empty"))
    assert response.status_code == 201
    assert file_of(client, response)["size"] == 0
    told = head(client, response.headers["Location"])
    assert (told.headers["Upload-Offset"], told.headers["Upload-Length"]) == ("0", "0")


def test_metadata_is_echoed_as_it_came(client: FlaskClient) -> None:
    sent = metadata(filename="größe.txt") + ",flag"
    url = begin(client, 4, Upload_Metadata=sent)
    assert head(client, url).headers["Upload-Metadata"] == sent
    file = file_of(client, patch(client, url, 0, b"text"))
    assert (file["filename"], file["metadata"]) == ("größe.txt", {"flag": ""})


@pytest.mark.parametrize("sent", ["a !!!", "a YQ==,a YQ==", " ,", "ä YQ==", "a /w=="])
def test_malformed_metadata_is_refused(local_client: FlaskClient, sent: str) -> None:
    response = create(local_client, 4, Upload_Metadata=sent.encode().decode("latin-1"))
    assert response.status_code == 400


def test_the_location_is_relative_or_of_the_public_url(app_with: MakeApp) -> None:
    assert begin(app_with().test_client(), 1).startswith("/api/tus/")
    public = app_with(PUBLIC_URL="https://files.example").test_client()
    assert begin(public, 1).startswith("https://files.example/api/tus/")


def test_the_first_bytes_may_come_along(client: FlaskClient) -> None:
    whole = content(20_000)
    sent = VERSION | OFFSET_TYPE | {"Upload-Length": "20000"}
    response = client.post("/api/tus", data=whole[:9_000], headers=sent)
    assert (response.status_code, response.headers["Upload-Offset"]) == (201, "9000")
    done = patch(client, response.headers["Location"], 9_000, whole[9_000:])
    assert client.get(file_of(client, done)["url"]).data == whole


def test_all_bytes_may_come_along(client: FlaskClient) -> None:
    sent = VERSION | OFFSET_TYPE | {"Upload-Length": "4"}
    response = client.post("/api/tus", data=b"text", headers=sent)
    assert (response.status_code, response.headers["Upload-Offset"]) == (201, "4")
    assert client.get(file_of(client, response)["url"]).data == b"text"


def test_first_bytes_of_another_type_are_refused(app: Holdall) -> None:
    sent = VERSION | {"Upload-Length": "4", "Content-Type": "text/plain"}
    assert app.test_client().post("/api/tus", data=b"text", headers=sent).status_code == 415
    assert objects(app) == []


def test_a_deferred_length_is_told_once(client: FlaskClient) -> None:
    url = begin(client, None)
    told = head(client, url)
    assert told.headers["Upload-Defer-Length"] == "1"
    assert "Upload-Length" not in told.headers
    assert patch(client, url, 0, content(10_000)).status_code == 204
    assert patch(client, url, 10_000, b"", Upload_Length="10004").status_code == 204
    told = head(client, url)
    assert told.headers["Upload-Length"] == "10004"
    assert "Upload-Defer-Length" not in told.headers
    assert patch(client, url, 10_000, b"x", Upload_Length="10005").status_code == 400
    done = patch(client, url, 10_000, b"text")
    assert file_of(client, done)["size"] == 10_004


# Expiration


def test_an_upload_tells_when_it_expires_and_then_is_gone(app: Holdall) -> None:
    from sqlalchemy import update

    from models import Upload, db, now

    client = app.test_client()
    url = begin(client, 20_000)
    assert "GMT" in patch(client, url, 0, content(9_000)).headers["Upload-Expires"]
    assert "GMT" in head(client, url).headers["Upload-Expires"]
    with app.app_context():
        db.session.execute(update(Upload).values(expires_at=now()))
        db.session.commit()
    for response in (head(client, url), patch(client, url, 9_000, b"x")):
        assert response.status_code == 410
        assert "Upload-Offset" not in response.headers


# Checksum


@pytest.mark.parametrize("algorithm", ["sha1", "sha256", "sha512", "md5"])
def test_a_checksum_that_matches_moves_the_offset(
    local_client: FlaskClient, algorithm: str
) -> None:
    url = begin(local_client, 20_000)
    piece = content(12_000)
    digest = base64.b64encode(hashlib.new(algorithm, piece).digest()).decode()
    response = patch(local_client, url, 0, piece, Upload_Checksum=f"{algorithm} {digest}")
    assert (response.status_code, response.headers["Upload-Offset"]) == (204, "12000")


def test_a_checksum_that_does_not_match_leaves_the_offset(client: FlaskClient) -> None:
    whole = content(2 * PART)
    url = begin(client, len(whole))
    patch(client, url, 0, whole[:9_000])
    wrong = base64.b64encode(hashlib.sha1(b"other").digest()).decode()
    response = patch(client, url, 9_000, whole[: PART + 5], Upload_Checksum=f"sha1 {wrong}")
    assert response.status_code == 460
    assert head(client, url).headers["Upload-Offset"] == "9000"
    done = patch(client, url, 9_000, whole[9_000:])
    assert file_of(client, done)["sha256"] == hashlib.sha256(whole).hexdigest()


@pytest.mark.parametrize("value", ["crc32 AAAA", "sha1", "sha1 !!!", "sha1 AAAA", ""])
def test_impossible_checksums_are_refused(local_client: FlaskClient, value: str) -> None:
    url = begin(local_client, 4)
    assert patch(local_client, url, 0, b"text", Upload_Checksum=value).status_code == 400
    assert head(local_client, url).headers["Upload-Offset"] == "0"


# Termination


def test_a_terminated_upload_leaves_nothing(app: Holdall) -> None:
    client = app.test_client()
    url = begin(client, 3 * PART)
    patch(client, url, 0, content(PART + 100))
    assert client.delete(url, headers=VERSION).status_code == 204
    assert head(client, url).status_code == 404
    assert objects(app) == []


def test_terminating_a_finished_upload_takes_its_file(app: Holdall) -> None:
    client = app.test_client()
    url = begin(client, 4)
    file = file_of(client, patch(client, url, 0, b"text"))
    assert client.delete(url, headers=VERSION).status_code == 204
    assert client.get(file["url"]).status_code == 404
    assert head(client, url).status_code == 404
    assert objects(app) == []


# Concatenation


def partial(client: FlaskClient, piece: bytes) -> str:
    url = begin(client, len(piece), Upload_Concat="partial")
    assert patch(client, url, 0, piece).status_code == 204
    return url


def join(client: FlaskClient, urls: list[str], **headers: str) -> TestResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    concat = {"Upload-Concat": "final;" + " ".join(urls)}
    return client.post("/api/tus", headers=VERSION | concat | named)


def test_parts_are_joined_in_order_and_may_be_used_again(client: FlaskClient) -> None:
    pieces = [content(PART + 1, b"1"), content(7, b"2")]
    urls = [partial(client, piece) for piece in pieces]
    assert head(client, urls[0]).headers["Upload-Concat"] == "partial"
    assert client.get("/api/files").get_json()["total"] == 0
    response = join(client, urls, Upload_Metadata=metadata(filename="joined"))
    assert response.status_code == 201
    file = file_of(client, response)
    assert client.get(file["url"]).data == b"".join(pieces)
    assert file["filename"] == "joined"
    url = response.headers["Location"]
    told = head(client, url)
    length = str(sum(map(len, pieces)))
    assert (told.headers["Upload-Offset"], told.headers["Upload-Length"]) == (length, length)
    assert told.headers["Upload-Concat"].startswith("final;")
    assert patch(client, url, int(length), b"x").status_code == 403
    again = join(client, urls[::-1])
    assert client.get(file_of(client, again)["url"]).data == b"".join(pieces[::-1])


def test_what_cannot_be_joined_is_refused(local_app: Holdall) -> None:
    client = local_app.test_client()
    done, open_part = partial(client, b"done"), begin(client, 9, Upload_Concat="partial")
    whole = begin(client, 9)
    assert join(client, [done, open_part]).status_code == 409
    for urls in ([done, UNKNOWN], [whole], ["../../x"], ["/api/files/x"], []):
        assert join(client, urls).status_code == 400, urls
    assert join(client, [done], Upload_Length="4").status_code == 400
    assert create(client, 4, Upload_Concat="other").status_code == 400
    assert client.get("/api/files").get_json()["total"] == 0


def test_joined_parts_are_under_the_limit_too(app_with: MakeApp) -> None:
    client = app_with(MAX_UPLOAD_SIZE="1000").test_client()
    urls = [partial(client, b"x" * 600) for _ in range(2)]
    assert join(client, urls).status_code == 413


# One way in


def test_the_type_is_sniffed_and_the_policy_holds_before_more_is_taken(app_with: MakeApp) -> None:
    app = app_with(ALLOWED_TYPES="image/*")
    client = app.test_client()
    url = begin(client, 4_000_000, Upload_Metadata=metadata(filename="x.png", filetype="image/png"))
    assert patch(client, url, 0, b"<html>" * 100).status_code == 204
    assert patch(client, url, 600, b"<html>" * 2000).status_code == 415
    assert head(client, url).status_code == 404
    small = begin(client, 6)
    assert patch(client, small, 0, b"<html>").status_code == 415
    image = begin(client, len(PNG))
    assert file_of(client, patch(client, image, 0, PNG))["content_type"] == "image/png"
    assert len(objects(app)) == 1


def test_the_file_comes_along_where_it_is_asked_for(local_client: FlaskClient) -> None:
    url = begin(local_client, 4)
    response = patch(local_client, url, 0, b"text", Prefer="return=representation")
    assert response.status_code == 200
    assert response.get_json()["size"] == 4


def test_without_a_key_nothing_is_begun(app_with: MakeApp) -> None:
    app = app_with(AUTH_MODE="keys", SECRET_KEY=SECRET)
    client = app.test_client()
    assert create(client, 4).status_code == 401
    assert patch(client, UNKNOWN, 0, b"x").status_code == 401
    assert head(client, UNKNOWN).status_code == 401
    assert client.delete(UNKNOWN, headers=VERSION).status_code == 401
