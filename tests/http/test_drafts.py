"""The IETF drafts of resumable uploads through the application, each version in its own words."""

import hashlib
import io

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from services.ietf import Version
from tests.conftest import SECRET, MakeApp
from tests.http.test_tus import PART, content, file_of, metadata
from tests.http.test_uploads import PNG

PROBLEMS = "https://iana.org/assignments/http-problem-types#"
UNKNOWN = "/api/tus/" + "a" * 26
IN_THE_FIELD = (Version.V3, Version.V5, Version.V6, Version.V8)
EVERY = pytest.mark.parametrize("version", IN_THE_FIELD)


def spoken(version: Version) -> dict[str, str]:
    return {"Upload-Draft-Interop-Version": str(int(version))}


def flag(version: Version, complete: bool) -> dict[str, str]:
    """Say in the version's words whether the upload ends here."""
    if version == Version.V3:
        return {"Upload-Incomplete": f"?{not complete:d}"}
    return {"Upload-Complete": f"?{complete:d}"}


def says(version: Version, complete: bool, response: TestResponse) -> bool:
    """Say whether an answer tells in the version's words that the upload is complete or not."""
    ((name, value),) = flag(version, complete).items()
    other = {"Upload-Incomplete", "Upload-Complete"} - {name}
    return response.headers[name] == value and not other & set(response.headers.keys())


def named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def create(
    client: FlaskClient, version: Version, data: bytes, *, complete: bool, **headers: str
) -> TestResponse:
    sent = spoken(version) | flag(version, complete) | named(headers)
    return client.post("/api/tus", data=data, headers=sent)


def begin(client: FlaskClient, version: Version, data: bytes = b"", **headers: str) -> str:
    """Begin an upload that goes on, and return its path."""
    response = create(client, version, data, complete=False, **headers)
    assert response.status_code == 201, response.data
    return response.headers["Location"]


def append(
    client: FlaskClient,
    version: Version,
    url: str,
    offset: int,
    data: bytes,
    *,
    complete: bool,
    **headers: str,
) -> TestResponse:
    sent = spoken(version) | flag(version, complete) | {"Upload-Offset": str(offset)}
    if version >= Version.V6:
        sent["Content-Type"] = "application/partial-upload"
    return client.patch(url, data=data, headers=sent | named(headers))


def in_chunks(
    client: FlaskClient, method: str, url: str, data: bytes, headers: dict[str, str]
) -> TestResponse:
    """Send a body that does not tell its length."""
    chunked = headers | {"Transfer-Encoding": "chunked"}
    return client.open(url, method=method, input_stream=io.BytesIO(data), headers=chunked)


def head(client: FlaskClient, version: Version, url: str) -> TestResponse:
    return client.head(url, headers=spoken(version))


# Creation


@EVERY
def test_all_bytes_may_come_with_the_creation(client: FlaskClient, version: Version) -> None:
    whole = content(PART + 9000)
    response = create(client, version, whole, complete=True, Content_Type="video/mp4")
    assert response.status_code == 201
    assert response.headers["Upload-Draft-Interop-Version"] == str(int(version))
    assert response.headers["Upload-Offset"] == str(len(whole))
    assert says(version, True, response)
    file = file_of(client, response)
    assert file["sha256"] == hashlib.sha256(whole).hexdigest()
    assert file["declared_type"] == "video/mp4"
    assert client.get(response.headers["Upload-File-Url"]).data == whole


@EVERY
def test_an_upload_in_pieces_becomes_one_file(client: FlaskClient, version: Version) -> None:
    whole = content(PART + 30_000)
    url = begin(client, version, Upload_Length=str(len(whole)))
    offset = 0
    for size in (9000, PART, len(whole)):
        piece = whole[offset : offset + size]
        offset += len(piece)
        last = offset == len(whole)
        response = append(client, version, url, offset - len(piece), piece, complete=last)
        assert response.status_code == (201 if last or version <= Version.V6 else 204)
        told = head(client, version, url)
        assert told.status_code == 204
        for answer in (response, told):
            assert answer.headers["Upload-Offset"] == str(offset)
            assert says(version, last, answer)
        assert told.headers["Upload-Length"] == str(len(whole))
        assert told.headers["Cache-Control"] == "no-store"
        assert ("Upload-File-Id" in told.headers) == last
    assert file_of(client, response)["sha256"] == hashlib.sha256(whole).hexdigest()
    assert client.get(response.headers["Upload-File-Url"]).data == whole


@EVERY
def test_the_first_bytes_may_come_along(local_client: FlaskClient, version: Version) -> None:
    client, whole = local_client, content(20_000)
    response = create(client, version, whole[:9000], complete=False)
    assert (response.status_code, response.headers["Upload-Offset"]) == (201, "9000")
    assert says(version, False, response)
    done = append(client, version, response.headers["Location"], 9000, whole[9000:], complete=True)
    assert client.get(done.headers["Upload-File-Url"]).data == whole


@EVERY
@pytest.mark.parametrize("complete", (False, True))
def test_a_file_of_nothing_is_a_file(
    local_client: FlaskClient, version: Version, complete: bool
) -> None:
    client = local_client
    response = create(client, version, b"", complete=complete)
    if not complete:
        url = response.headers["Location"]
        assert says(version, False, head(client, version, url))
        response = append(client, version, url, 0, b"", complete=True)
    assert (response.status_code, response.headers["Upload-Offset"]) == (201, "0")
    assert says(version, True, response)
    assert file_of(client, response)["size"] == 0


@EVERY
def test_the_end_may_be_told_without_a_byte(local_client: FlaskClient, version: Version) -> None:
    url = begin(local_client, version, b"text")
    response = append(local_client, version, url, 4, b"", complete=True)
    assert (response.status_code, says(version, True, response)) == (201, True)
    assert local_client.get(response.headers["Upload-File-Url"]).data == b"text"


@EVERY
def test_a_creation_says_whether_it_is_all(local_client: FlaskClient, version: Version) -> None:
    assert local_client.post("/api/tus", data=b"x", headers=spoken(version)).status_code in (
        400,
        412,
    )
    malformed = spoken(version) | {name: "true" for name in flag(version, True)}
    assert local_client.post("/api/tus", data=b"x", headers=malformed).status_code == 400


def test_the_flag_alone_is_held_to_the_latest_version(local_client: FlaskClient) -> None:
    for headers in ({}, {"Upload-Draft-Interop-Version": "99"}):
        sent = headers | {"Upload-Complete": "?1"}
        response = local_client.post("/api/tus", data=b"text", headers=sent)
        assert response.status_code == 201
        assert response.headers["Upload-Draft-Interop-Version"] == "8"
        assert "Tus-Resumable" not in response.headers


@EVERY
def test_the_location_is_relative_or_of_the_public_url(app_with: MakeApp, version: Version) -> None:
    assert begin(app_with().test_client(), version).startswith("/api/tus/")
    public = app_with(PUBLIC_URL="https://files.example").test_client()
    assert begin(public, version).startswith("https://files.example/api/tus/")


# What the file is called


@EVERY
def test_its_name_comes_in_any_of_the_ways(local_client: FlaskClient, version: Version) -> None:
    encoded = "attachment; filename=\"x\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.txt"
    for headers, name in (
        ({"Content_Disposition": 'inline; filename="plain.txt"'}, "plain.txt"),
        ({"Content_Disposition": encoded}, "größe.txt"),
        ({"Upload_Metadata": metadata(filename="漢字.txt")}, "漢字.txt"),
        (
            {"Content_Disposition": 'inline; filename="a"', "Upload_Metadata": metadata(name="b")},
            "a",
        ),
    ):
        response = create(local_client, version, b"text", complete=True, **headers)
        assert file_of(local_client, response)["filename"] == name
    sent = spoken(version) | flag(version, True)
    response = local_client.post("/api/tus?filename=asked.txt", data=b"text", headers=sent)
    assert file_of(local_client, response)["filename"] == "asked.txt"


def test_further_metadata_is_kept(local_client: FlaskClient) -> None:
    sent = metadata(filename="a.png", filetype="image/png", ort="Zürich")
    response = create(local_client, Version.V8, PNG, complete=True, Upload_Metadata=sent)
    file = file_of(local_client, response)
    assert (file["declared_type"], file["metadata"]) == ("image/png", {"ort": "Zürich"})
    bad = create(local_client, Version.V8, PNG, complete=True, Upload_Metadata="a !!!")
    assert bad.status_code == 400


# Length


@EVERY
def test_an_unknown_length_is_known_with_the_last_append(
    client: FlaskClient, version: Version
) -> None:
    url = begin(client, version)
    assert "Upload-Length" not in head(client, version, url).headers
    whole = content(20_000)
    assert append(client, version, url, 0, whole[:9000], complete=False).status_code in (201, 204)
    assert "Upload-Length" not in head(client, version, url).headers
    done = append(client, version, url, 9000, whole[9000:], complete=True)
    assert head(client, version, url).headers["Upload-Length"] == "20000"
    assert client.get(done.headers["Upload-File-Url"]).data == whole


@EVERY
def test_a_last_append_in_chunks_ends_an_upload_of_unknown_length(
    local_client: FlaskClient, version: Version
) -> None:
    client = local_client
    url = begin(client, version, b"one, ")
    sent = spoken(version) | flag(version, True) | {"Upload-Offset": "5"}
    sent["Content-Type"] = "application/partial-upload"
    response = in_chunks(client, "PATCH", url, b"two", sent)
    assert (response.status_code, response.headers["Upload-Offset"]) == (201, "8")
    assert client.get(response.headers["Upload-File-Url"]).data == b"one, two"


def test_version_3_may_leave_the_flag_of_the_last_append_away(local_client: FlaskClient) -> None:
    url = begin(local_client, Version.V3, b"one, ")
    sent = spoken(Version.V3) | {"Upload-Offset": "5"}
    response = local_client.patch(url, data=b"two", headers=sent)
    assert says(Version.V3, True, response)
    assert local_client.get(response.headers["Upload-File-Url"]).data == b"one, two"


@pytest.mark.parametrize("version", (Version.V5, Version.V6))
def test_an_append_may_tell_the_length_instead_of_the_flag(
    local_client: FlaskClient, version: Version
) -> None:
    url = begin(local_client, version, b"one, ")
    sent = spoken(version) | {"Upload-Offset": "5", "Upload-Length": "8"}
    sent["Content-Type"] = "application/partial-upload"
    response = local_client.patch(url, data=b"two", headers=sent)
    assert says(version, True, response)


def inconsistent(response: TestResponse) -> None:
    assert response.status_code == 400
    assert response.content_type == "application/problem+json"
    problem = response.get_json()
    assert problem["type"] == f"{PROBLEMS}inconsistent-upload-length"
    assert problem["status"] == 400
    assert problem["title"]


@EVERY
def test_lengths_that_contradict_are_a_problem(local_client: FlaskClient, version: Version) -> None:
    client = local_client
    inconsistent(create(client, version, b"text", complete=True, Upload_Length="5"))
    assert client.get("/api/files").get_json()["total"] == 0
    url = begin(client, version, b"text", Upload_Length="8")
    inconsistent(append(client, version, url, 4, b"xy", complete=True))
    inconsistent(append(client, version, url, 4, b"x", complete=False, Upload_Length="9"))
    inconsistent(append(client, version, url, 4, b"", complete=True, Upload_Length="4"))
    told = head(client, version, url)
    assert (told.headers["Upload-Offset"], says(version, False, told)) == ("4", True)
    assert append(client, version, url, 4, b"more", complete=True).status_code == 201


@EVERY
def test_an_end_before_the_length_is_a_problem_in_chunks_too(
    local_client: FlaskClient, version: Version
) -> None:
    client = local_client
    begun = spoken(version) | flag(version, True) | {"Upload-Length": "8"}
    inconsistent(in_chunks(client, "POST", "/api/tus", b"text", begun))
    url = begin(client, version, b"text", Upload_Length="8")
    sent = spoken(version) | flag(version, True) | {"Upload-Offset": "4"}
    sent["Content-Type"] = "application/partial-upload"
    inconsistent(in_chunks(client, "PATCH", url, b"xy", sent))
    assert head(client, version, url).headers["Upload-Offset"] == "4"
    assert client.get("/api/files").get_json()["total"] == 0
    assert in_chunks(client, "PATCH", url, b"more", sent).status_code == 201


@EVERY
def test_bytes_beyond_the_length_are_refused(local_client: FlaskClient, version: Version) -> None:
    url = begin(local_client, version, b"text", Upload_Length="8")
    response = append(local_client, version, url, 4, b"too long", complete=False)
    assert response.status_code == 413
    assert head(local_client, version, url).headers["Upload-Offset"] == "4"


# Appending


@EVERY
def test_a_wrong_offset_is_told_the_right_one(client: FlaskClient, version: Version) -> None:
    url = begin(client, version, content(10_000))
    for offset in (0, 9999, 10_001):
        response = append(client, version, url, offset, b"x", complete=False)
        assert (response.status_code, response.headers["Upload-Offset"]) == (409, "10000")
        assert says(version, False, response)
        assert response.content_type == "application/problem+json"
        problem = response.get_json()
        assert problem["type"] == f"{PROBLEMS}mismatching-upload-offset"
        assert (problem["expected-offset"], problem["provided-offset"]) == (10_000, offset)
    assert head(client, version, url).headers["Upload-Offset"] == "10000"


@EVERY
def test_a_complete_upload_is_not_changed(local_client: FlaskClient, version: Version) -> None:
    client = local_client
    url = create(client, version, b"text", complete=True).headers["Location"]
    wrong = append(client, version, url, 0, b"text", complete=True)
    assert (wrong.status_code, wrong.headers["Upload-Offset"]) == (409, "4")
    assert says(version, True, wrong)
    inconsistent(append(client, version, url, 4, b"more", complete=True))
    assert append(client, version, url, 4, b"more", complete=False).status_code == 413
    told = head(client, version, url)
    assert (told.headers["Upload-Offset"], says(version, True, told)) == ("4", True)
    assert client.get(told.headers["Upload-File-Url"]).data == b"text"


@pytest.mark.parametrize("version", (Version.V6, Version.V8))
@pytest.mark.parametrize("content_type", ("application/offset+octet-stream", "text/plain", ""))
def test_an_append_of_another_type_is_refused_from_version_6_on(
    local_client: FlaskClient, version: Version, content_type: str
) -> None:
    url = begin(local_client, version)
    response = append(
        local_client, version, url, 0, b"text", complete=True, Content_Type=content_type
    )
    assert response.status_code == 415
    assert response.headers["Accept"] == "application/partial-upload"
    assert head(local_client, version, url).headers["Upload-Offset"] == "0"


@pytest.mark.parametrize("version", (Version.V3, Version.V5))
def test_an_append_of_any_type_is_taken_before(local_client: FlaskClient, version: Version) -> None:
    url = begin(local_client, version)
    response = append(
        local_client, version, url, 0, b"text", complete=True, Content_Type="text/plain"
    )
    assert response.status_code == 201


@EVERY
@pytest.mark.parametrize("offset", ("", "-1", "1.5", "abc"))
def test_an_append_needs_its_offset(
    local_client: FlaskClient, version: Version, offset: str
) -> None:
    url = begin(local_client, version)
    response = append(local_client, version, url, 0, b"x", complete=True, Upload_Offset=offset)
    assert response.status_code == 400


# Limits


@EVERY
def test_limits_are_told_from_version_6_on(app_with: MakeApp, version: Version) -> None:
    client = app_with(MAX_UPLOAD_SIZE="1000", UPLOAD_EXPIRES_IN="3600").test_client()
    begun = create(client, version, b"text", complete=False)
    url = begun.headers["Location"]
    for response in (begun, head(client, version, url)):
        if version < Version.V6:
            assert "Upload-Limit" not in response.headers
            continue
        limits = dict(
            member.strip().split("=") for member in response.headers["Upload-Limit"].split(",")
        )
        age = limits.pop("expires" if version == Version.V6 else "max-age")
        assert 3500 < int(age) <= 3600
        assert limits == {"max-size": "1000"}


@EVERY
def test_what_is_over_the_limit_is_refused_and_told_the_limit(
    app_with: MakeApp, version: Version
) -> None:
    client = app_with(MAX_UPLOAD_SIZE="1000").test_client()
    for response in (
        create(client, version, b"x" * 1001, complete=True),
        create(client, version, b"", complete=False, Upload_Length="1001"),
    ):
        assert response.status_code == 413
        assert ("Upload-Limit" in response.headers) == (version >= Version.V6)
    url = begin(client, version, b"x" * 600)
    response = append(client, version, url, 600, b"x" * 401, complete=True)
    assert response.status_code == 413
    if version >= Version.V6:
        assert response.headers["Upload-Limit"] == "max-size=1000"


def test_options_tell_that_uploads_can_be_resumed(local_client: FlaskClient) -> None:
    for url in ("/api/tus", UNKNOWN):
        response = local_client.options(url)
        assert response.status_code == 204
        assert "application/partial-upload" in response.headers["Accept-Patch"]
        assert response.headers["Upload-Limit"] == f"max-size={10 * 1024**3}"


# Asking and ending


@EVERY
def test_an_upload_can_be_cancelled(client: FlaskClient, version: Version) -> None:
    url = begin(client, version, content(PART + 9000))
    assert client.delete(url, headers=spoken(version)).status_code == 204
    assert head(client, version, url).status_code == 404
    assert append(client, version, url, 0, b"x", complete=True).status_code == 404


@EVERY
def test_an_unknown_upload_is_not_found(local_client: FlaskClient, version: Version) -> None:
    response = head(local_client, version, UNKNOWN)
    assert response.status_code == 404
    assert "Upload-Offset" not in response.headers
    assert append(local_client, version, UNKNOWN, 0, b"x", complete=True).status_code == 404
    assert local_client.delete(UNKNOWN, headers=spoken(version)).status_code == 404


@pytest.mark.parametrize("version", (Version.V3, Version.V5, Version.V6))
def test_asking_is_bare_up_to_version_6(local_client: FlaskClient, version: Version) -> None:
    url = begin(local_client, version, b"text")
    for extra in (flag(version, True), {"Upload-Offset": "4"}):
        sent = spoken(version) | extra
        assert local_client.head(url, headers=sent).status_code == 400
        assert local_client.delete(url, headers=sent).status_code == 400
    assert head(local_client, version, url).status_code == 204


@EVERY
def test_another_method_is_refused(local_client: FlaskClient, version: Version) -> None:
    url = begin(local_client, version)
    response = local_client.post(url, headers=spoken(version) | flag(version, True))
    assert response.status_code == 405
    assert "PATCH" in response.headers["Allow"]


@EVERY
def test_a_method_may_be_overridden(local_client: FlaskClient, version: Version) -> None:
    client, override = local_client, {"X-HTTP-Method-Override": "PATCH"}
    url = begin(client, version)
    sent = spoken(version) | flag(version, True) | {"Upload-Offset": "0"}
    sent["Content-Type"] = "application/partial-upload"
    assert client.post(url, data=b"text", headers=sent | override).status_code == 201
    asked = client.post(url, headers=spoken(version) | {"X-HTTP-Method-Override": "HEAD"})
    assert asked.headers["Upload-Offset"] == "4"


# One way in


@EVERY
def test_the_policy_holds_for_the_first_bytes(app_with: MakeApp, version: Version) -> None:
    client = app_with(ALLOWED_TYPES="image/*").test_client()
    refused = create(client, version, b"<html>" * 2000, complete=True, Content_Type="image/png")
    assert refused.status_code == 415
    taken = create(client, version, PNG, complete=True, Content_Type="text/html")
    assert file_of(client, taken)["content_type"] == "image/png"


def test_the_file_comes_along_where_it_is_asked_for(local_client: FlaskClient) -> None:
    asked = "return=representation"
    response = create(local_client, Version.V8, b"text", complete=True, Prefer=asked)
    assert (response.status_code, response.get_json()["size"]) == (201, 4)


@EVERY
def test_without_a_key_nothing_is_begun(app_with: MakeApp, version: Version) -> None:
    client = app_with(AUTH_MODE="keys", SECRET_KEY=SECRET).test_client()
    assert create(client, version, b"x", complete=True).status_code == 401
    assert append(client, version, UNKNOWN, 0, b"x", complete=True).status_code == 401
    assert head(client, version, UNKNOWN).status_code == 401
    assert client.delete(UNKNOWN, headers=spoken(version)).status_code == 401
