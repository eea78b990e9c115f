"""Signed links to upload one file, through every door; on disk and SQLite, S3 and PostgreSQL."""

import io
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Barrier
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import func, select, update
from werkzeug.test import TestResponse

from app import Holdall
from models import ApiKey, File, Upload, UsedLink
from services.caller import Caller
from tests.conftest import SECRET, MakeApp, objects, parts
from tests.http.test_links import add_collection, add_key
from tests.http.test_tus import OFFSET_TYPE, VERSION, head, metadata, patch
from tests.http.test_uploads import PNG, code, form
from tests.services.uploading import database_of, stored

BOTH = pytest.mark.parametrize("deployment", ("local-sqlite", "s3-postgresql"), indirect=True)
IETF = {"Upload-Draft-Interop-Version": "8", "Upload-Complete": "?1"}
HTML = b"<!doctype html><title>x</title>"
TEXT = b"some text\n"


@dataclass(frozen=True)
class Site:
    """An application in `keys` mode with a private collection, and the holder of a key to it."""

    app: Holdall
    signer: Caller

    @property
    def client(self) -> FlaskClient:
        return self.app.test_client()

    def token(self, *, expires_in: int = 60, **asked: Any) -> str:
        asked = {"collection": "secrets"} | asked
        return parts(self.app).links.to_upload(self.signer, expires_in=expires_in, **asked).token

    def files(self) -> list[dict[str, Any]]:
        """Return the columns of all files."""
        with database_of(self.app).read() as session:
            return [
                {name: getattr(row, name) for name in ("id", "filename", "owner", "collection")}
                | {"size": row.size, "declared_type": row.declared_type}
                for row in session.scalars(select(File))
            ]

    def count(self, table: type[Any]) -> int:
        with database_of(self.app).read() as session:
            return session.scalar(select(func.count()).select_from(table)) or 0

    def assert_nothing_is_left(self, *, files: int = 0) -> None:
        """Check that there are no more rows, objects and unfinished bytes than of `files` files."""
        assert len(self.files()) == files
        assert len(stored(self.app)) == len(objects(self.app)) == files
        with database_of(self.app).read() as session:
            unfinished = session.scalars(select(Upload).where(Upload.file_id.is_(None))).all()
        assert [row.id for row in unfinished] == []


def site_of(app: Holdall) -> Site:
    add_collection(app)
    return Site(app, add_key(app, "signer", frozenset({"read", "write", "delete"})))


@pytest.fixture
def site(app_with: MakeApp, request: pytest.FixtureRequest) -> Site:
    """The deployment of a test that names some, else local disk and SQLite."""
    named = "deployment" in request.fixturenames
    variables = request.getfixturevalue("deployment").variables if named else {}
    return site_of(app_with(AUTH_MODE="keys", SECRET_KEY=SECRET, **variables))


Door = Callable[[FlaskClient, str, bytes], TestResponse]


def by_form(client: FlaskClient, token: str, content: bytes) -> TestResponse:
    return client.post(
        f"/api/upload?link={token}", **form(file=(io.BytesIO(content), "mine.txt", "text/plain"))
    )


def by_put(client: FlaskClient, token: str, content: bytes) -> TestResponse:
    return client.put(f"/api/upload/mine.txt?link={token}", data=content, content_type="text/plain")


def begin(client: FlaskClient, token: str, length: int, **headers: str) -> TestResponse:
    sent = {"Upload-Metadata": metadata(filename="mine.txt", filetype="text/plain"), **headers}
    size = {"Upload-Length": str(length)}
    return client.post(f"/api/tus?link={token}", headers=VERSION | size | sent)


def by_tus(client: FlaskClient, token: str, content: bytes) -> TestResponse:
    begun = begin(client, token, len(content))
    if begun.status_code != 201:
        return begun
    url = begun.headers["Location"]
    if token not in url:
        raise AssertionError("the URL of the upload has lost the link")
    half = len(content) // 2
    first = patch(client, url, 0, content[:half])
    if first.status_code != 204:
        return first
    assert head(client, url).headers["Upload-Offset"] == str(half)
    return patch(client, url, half, content[half:])


def by_tus_at_once(client: FlaskClient, token: str, content: bytes) -> TestResponse:
    sent = {"Upload-Metadata": metadata(filename="mine.txt", filetype="text/plain")}
    size = {"Upload-Length": str(len(content))}
    return client.post(
        f"/api/tus?link={token}", data=content, headers=VERSION | OFFSET_TYPE | size | sent
    )


def by_draft(client: FlaskClient, token: str, content: bytes) -> TestResponse:
    half = len(content) // 2
    sent = {"Content-Disposition": 'attachment; filename="mine.txt"', "Content-Type": "text/plain"}
    sent |= IETF | {"Upload-Complete": "?0"}
    begun = client.post(f"/api/tus?link={token}", data=content[:half], headers=sent)
    if begun.status_code != 201:
        return begun
    rest = IETF | {"Upload-Offset": str(half), "Content-Type": "application/partial-upload"}
    return client.patch(begun.headers["Location"], data=content[half:], headers=rest)


DOORS = (by_form, by_put, by_tus, by_tus_at_once, by_draft)
each_door = pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)


def is_made(answer: TestResponse) -> bool:
    if answer.status_code not in (201, 204):
        return False
    return answer.status_code == 201 or "Upload-File-Id" in answer.headers


@BOTH
@each_door
def test_a_file_is_uploaded_without_a_key(site: Site, deployment: object, door: Door) -> None:
    answer = door(site.client, site.token(), TEXT)
    assert is_made(answer), answer.data
    (file,) = site.files()
    assert file.pop("id")
    assert file == {
        "filename": "mine.txt",
        "owner": "signer",
        "collection": "secrets",
        "size": len(TEXT),
        "declared_type": "text/plain",
    }


@BOTH
@each_door
def test_a_second_file_is_refused_and_leaves_nothing(
    site: Site, deployment: object, door: Door
) -> None:
    token = site.token()
    assert is_made(door(site.client, token, TEXT))
    for other in DOORS:
        refused = other(site.client, token, TEXT)
        assert code(refused) == (410, "link_used")
    site.assert_nothing_is_left(files=1)


@each_door
def test_a_link_that_is_over_is_refused_before_anything(site: Site, door: Door) -> None:
    token = site.token(expires_in=1)
    time.sleep(2)
    assert code(door(site.client, token, TEXT)) == (403, "link_expired")
    site.assert_nothing_is_left()


@each_door
def test_a_link_that_is_not_right_is_refused_before_anything(site: Site, door: Door) -> None:
    token = site.token()
    for wrong in (
        "",
        "x",
        token[:-1],
        token + "x",
        token.replace(".", ""),
        "%FF",
        token + "&link=",
    ):
        assert code(door(site.client, wrong, TEXT)) == (403, "link_invalid")
    assert code(door(site.client, f"{token}&link={token}", TEXT)) == (403, "link_invalid")
    site.assert_nothing_is_left()


@each_door
def test_more_bytes_than_the_signer_allows_are_refused(site: Site, door: Door) -> None:
    token = site.token(max_size=len(TEXT) - 1)
    assert code(door(site.client, token, TEXT)) == (413, "too_large")
    assert is_made(door(site.client, token, TEXT[:-1])), "and do not use it up"


def test_a_length_told_late_is_held_to_what_the_signer_allows(site: Site) -> None:
    client, token = site.client, site.token(max_size=len(TEXT) - 1)
    deferred = VERSION | {"Upload-Defer-Length": "1"}
    url = client.post(f"/api/tus?link={token}", headers=deferred).headers["Location"]
    for headers in ({}, {"Upload_Length": str(len(TEXT))}):
        assert patch(client, url, 0, TEXT, **headers).status_code == 413


@each_door
def test_what_the_signer_fixed_counts_and_not_what_the_client_says(site: Site, door: Door) -> None:
    token = site.token(filename="theirs.csv", content_type="text/csv")
    assert is_made(door(site.client, token, TEXT))
    (file,) = site.files()
    assert (file["filename"], file["declared_type"]) == ("theirs.csv", "text/csv")


@each_door
def test_it_dies_with_the_key_that_signed_it(site: Site, door: Door) -> None:
    token = site.token()
    with database_of(site.app).write() as session:
        session.execute(update(ApiKey).values(revoked_at=datetime.now(UTC)))
    assert code(door(site.client, token, TEXT)) == (403, "link_invalid")
    site.assert_nothing_is_left()


@each_door
def test_a_refused_type_uses_nothing_up(app_with: MakeApp, door: Door) -> None:
    site = site_of(app_with(AUTH_MODE="keys", SECRET_KEY=SECRET, ALLOWED_TYPES="image/*"))
    token = site.token()
    assert code(door(site.client, token, HTML)) == (415, "type_not_allowed")
    site.assert_nothing_is_left()
    assert is_made(door(site.client, token, PNG))


@pytest.mark.parametrize("collection", ("default", "none", ""))
def test_the_collection_is_the_signers(site: Site, collection: str) -> None:
    client, token = site.client, site.token()
    fields = form(**{"collection": collection, "file": (io.BytesIO(TEXT), "a.txt")})
    answers = [
        client.put(f"/api/upload/a.txt?link={token}&collection={collection}", data=TEXT),
        client.post(f"/api/upload?link={token}", **fields),
        begin(client, f"{token}&collection={collection}", 10),
    ]
    if collection:
        answers.append(
            begin(client, token, 10, **{"Upload-Metadata": metadata(collection=collection)})
        )
    for answer in answers[:1] if not collection else answers:
        assert code(answer) == (404, "collection_not_found")
    assert {file["collection"] for file in site.files()} <= {"secrets"}


def test_a_form_with_two_files_is_refused_clean(site: Site) -> None:
    token = site.token()
    two = [(io.BytesIO(TEXT), "1.txt"), (io.BytesIO(TEXT), "2.txt")]
    answer = site.client.post(f"/api/upload?link={token}", **form(file=two))
    assert code(answer) == (413, "too_large")
    site.assert_nothing_is_left()
    assert by_form(site.client, token, TEXT).status_code == 201


def test_the_link_counts_and_not_the_key_that_comes_with_it(site: Site) -> None:
    headers = {"Authorization": "Bearer hld_whatever"}
    url = f"/api/upload/a.txt?link={site.token()}"
    assert site.client.put(url, data=TEXT, headers=headers).status_code == 201
    refused = site.client.put("/api/upload/a.txt?link=x", data=TEXT, headers=headers)
    assert code(refused) == (403, "link_invalid")


def test_a_retry_is_answered_with_the_file_that_there_is(site: Site) -> None:
    url, headers = f"/api/upload/a.txt?link={site.token()}", {"Idempotency-Key": "once"}
    first = site.client.put(url, data=TEXT, headers=headers)
    again = site.client.put(url, data=TEXT, headers=headers)
    assert (again.status_code, again.get_json()) == (201, first.get_json())
    elsewhere = f"/api/upload/a.txt?link={site.token()}"
    other = site.client.put(elsewhere, data=TEXT, headers=headers).get_json()
    assert other["id"] != first.get_json()["id"], "another link has keys of its own"


# Nothing else


def test_it_opens_no_other_url(site: Site) -> None:
    client, token = site.client, site.token()
    file = by_put(client, token, TEXT).get_json()
    other = site.token()
    for method, url in (
        ("GET", "/api/files"),
        ("GET", f"/api/files/{file['id']}"),
        ("PATCH", f"/api/files/{file['id']}"),
        ("DELETE", f"/api/files/{file['id']}"),
        ("POST", "/api/files/delete"),
        ("POST", f"/api/files/{file['id']}/link"),
        ("POST", "/api/upload-links"),
    ):
        for shown in (token, other):
            ids, change = {"ids": [file["id"]]}, {"filename": "x"}
            body = ids if url.endswith("delete") else change if method == "PATCH" else {}
            answer = client.open(f"{url}?link={shown}", method=method, json=body)
            assert answer.status_code == 401, (method, url)
    assert client.get(f"{file['url']}?link={token}").status_code == 404
    assert len(site.files()) == 1


def test_it_touches_no_other_upload(site: Site) -> None:
    client, mine, other = site.client, site.token(), site.token()
    url = begin(client, mine, len(TEXT)).headers["Location"]
    strange = url.replace(mine, other)
    bare = url.partition("?")[0]
    assert head(client, strange).status_code == 404
    assert patch(client, strange, 0, TEXT).status_code == 404
    assert client.delete(strange, headers=VERSION).status_code == 404
    assert patch(client, bare, 0, TEXT).status_code == 401
    assert patch(client, url, 0, TEXT).status_code == 204


def test_it_ends_its_own_upload_while_that_is_unfinished(site: Site) -> None:
    client, token = site.client, site.token()
    url = begin(client, token, len(TEXT)).headers["Location"]
    assert patch(client, url, 0, TEXT[:4]).status_code == 204
    assert client.delete(url, headers=VERSION).status_code == 204
    site.assert_nothing_is_left()
    url = begin(client, token, len(TEXT)).headers["Location"]
    assert patch(client, url, 0, TEXT).status_code == 204
    assert code(client.delete(url, headers=VERSION)) == (403, "forbidden")
    site.assert_nothing_is_left(files=1)


def test_the_finished_upload_still_says_that_it_is(site: Site) -> None:
    client, token = site.client, site.token()
    url = begin(client, token, len(TEXT)).headers["Location"]
    patch(client, url, 0, TEXT)
    state = head(client, url)
    assert state.status_code == 200
    assert state.headers["Upload-Offset"] == str(len(TEXT))
    assert state.headers["Upload-File-Id"] == site.files()[0]["id"]
    assert patch(client, url, len(TEXT), b"").status_code == 204


def test_no_bytes_are_taken_once_the_link_is_over(site: Site) -> None:
    client = site.client
    begun = begin(client, site.token(expires_in=1), len(TEXT))
    url = begun.headers["Location"]
    assert patch(client, url, 0, TEXT[:4]).status_code == 204
    time.sleep(2)
    assert code(patch(client, url, 4, TEXT[4:])) == (403, "link_expired")
    assert parts(site.app).expiry.run() == 1
    assert len(stored(site.app)) == 0


# Parts of one file


def begin_part(client: FlaskClient, token: str, content: bytes) -> str:
    url: str = begin(client, token, len(content), **{"Upload-Concat": "partial"}).headers[
        "Location"
    ]
    assert patch(client, url, 0, content).status_code == 204
    return url


@BOTH
def test_parts_that_are_joined_are_one_file(site: Site, deployment: object) -> None:
    client, token = site.client, site.token(max_size=len(TEXT))
    urls = [begin_part(client, token, piece) for piece in (TEXT[:4], TEXT[4:])]
    foreign = begin_part(client, site.token(), TEXT)

    def joined(*parts: str) -> TestResponse:
        headers = VERSION | {"Upload-Concat": "final;" + " ".join(parts)}
        return client.post(f"/api/tus?link={token}", headers=headers)

    assert code(joined(urls[0], foreign)) == (400, "invalid_field")
    assert code(joined(*urls, urls[0])) == (413, "too_large")
    assert joined(*urls).status_code == 201
    assert code(joined(*urls)) == (410, "link_used")
    assert [file["size"] for file in site.files()] == [len(TEXT)]


# At once


def all_at_once(site: Site, token: str, door: Door, count: int = 8) -> list[TestResponse]:
    barrier = Barrier(count)

    def upload(number: int) -> TestResponse:
        client = site.app.test_client()
        barrier.wait()
        return door(client, token, TEXT * (number + 1))

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(upload, range(count)))


@BOTH
@each_door
def test_of_many_at_once_one_becomes_the_file(site: Site, deployment: object, door: Door) -> None:
    answers = all_at_once(site, site.token(), door)
    made = [answer for answer in answers if is_made(answer)]
    assert len(made) == 1
    refused = [answer for answer in answers if not is_made(answer)]
    assert {code(answer) for answer in refused} == {(410, "link_used")}
    site.assert_nothing_is_left(files=1)
    assert site.count(UsedLink) == 1


def test_uploads_begun_before_the_file_came_end_when_they_go_on(site: Site) -> None:
    client, token = site.client, site.token()
    urls = [begin(client, token, len(TEXT)).headers["Location"] for _ in range(3)]
    for url in urls[1:]:
        assert patch(client, url, 0, TEXT[:4]).status_code == 204
    assert patch(client, urls[0], 0, TEXT).status_code == 204
    for url, offset in zip(urls[1:], (4, 4), strict=True):
        assert code(patch(client, url, offset, TEXT[offset:])) == (410, "link_used")
        assert head(client, url).status_code in (404, 410)
    site.assert_nothing_is_left(files=1)


# How they are made


def asked_for(client: FlaskClient, **body: Any) -> TestResponse:
    return client.post("/api/upload-links", json=body)


def test_a_link_is_asked_for(client: FlaskClient) -> None:
    answer = asked_for(client, expires_in=60, max_size=100, filename="a/b.txt")
    made = answer.get_json()
    assert (answer.status_code, answer.headers["Cache-Control"]) == (201, "private, no-store")
    assert made.pop("url") == f"/api/upload?link={made['token']}"
    assert made.pop("tus_url") == f"/api/tus?link={made['token']}"
    token, end = made.pop("token"), datetime.fromisoformat(made.pop("expires_at"))
    assert 55 < (end - datetime.now(UTC)).total_seconds() <= 61
    assert made == {
        "collection": "default",
        "max_size": 100,
        "filename": "b.txt",
        "content_type": None,
    }
    assert is_made(by_tus(client, token, TEXT))


def test_its_limits_hold_in_open_mode_too(local_client: FlaskClient) -> None:
    token = asked_for(local_client, max_size=4).get_json()["token"]
    assert code(by_put(local_client, token, TEXT)) == (413, "too_large")
    assert by_put(local_client, token, TEXT[:4]).status_code == 201
    assert code(by_put(local_client, token, TEXT[:4])) == (410, "link_used")
    assert local_client.put("/api/upload/a.txt", data=TEXT).status_code == 201


def test_every_url_is_absolute_where_the_public_url_is_known(app_with: MakeApp) -> None:
    client = app_with(PUBLIC_URL="https://files.example.org").test_client()
    made = asked_for(client).get_json()
    assert made["url"].startswith("https://files.example.org/api/upload?link=")
    assert made["tus_url"].startswith("https://files.example.org/api/tus?link=")
    location = begin(client, made["token"], 10).headers["Location"]
    assert location.startswith("https://files.example.org/api/tus/")
    assert location.endswith(f"?link={made['token']}")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"expires_in": 0}, 400),
        ({"expires_in": 7 * 86_400 + 1}, 400),
        ({"expires_in": "60"}, 400),
        ({"max_size": 0}, 400),
        ({"max_size": -1}, 400),
        ({"max_size": 2**63}, 400),
        ({"max_size": 1.5}, 400),
        ({"filename": ""}, 400),
        ({"content_type": "text"}, 400),
        ({"content_type": "text/pl\nain"}, 400),
        ({"content_type": "text/ü"}, 400),
        ({"collection": "a\0"}, 400),
        ({"collection": "none"}, 404),
        ({"owner": "someone"}, 400),
    ],
)
def test_what_cannot_be_asked_for_is_refused(
    local_client: FlaskClient, body: Any, status: int
) -> None:
    assert asked_for(local_client, **body).status_code == status


def test_nobody_without_a_key_asks_for_one(site: Site) -> None:
    assert code(asked_for(site.client)) == (401, "unauthorized")
