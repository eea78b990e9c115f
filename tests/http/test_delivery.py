"""Files through the whole service, on every storage and database: a test for each promise."""

import hashlib
import re
from base64 import b64encode
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from sqlalchemy import update
from werkzeug.test import TestResponse

from app import Holdall
from models import File, db
from services.cors import EXPOSED_HEADERS
from services.delivery import CONTENT_SECURITY_POLICY
from services.ranges import MAX_RANGES
from storage.base import CHUNK_SIZE
from tests.conftest import SECRET, MakeApp, objects, parts

CONTENT = b"".join(b"line %07d\n" % number for number in range(70_000))
SIZE = len(CONTENT)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ETAG = f'"{SHA256}"'
DIGEST = f"sha-256=:{b64encode(bytes.fromhex(SHA256)).decode()}:"
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
    "0000000d49444154789c6360000002000001e221bc330000000049454e44ae426082"
)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
HTML = b"<!DOCTYPE html><html><script>alert(1)</script></html>"
APP = "https://app.example.org"


def put(client: FlaskClient, content: bytes = CONTENT, name: str = "lines.txt", **o: Any) -> str:
    """Upload a file and return the path of its link."""
    length = {"CONTENT_LENGTH": str(len(content))}
    response = client.put(f"/api/upload/{quote(name)}", data=content, environ_overrides=length, **o)
    assert response.status_code == 201
    return f"/uploads/{response.get_json()['id']}/{quote(name)}"


def get(client: FlaskClient, link: str, **headers: str) -> TestResponse:
    """Get a link; `if_range` stands for If-Range."""
    return client.get(link, headers={name.replace("_", "-"): v for name, v in headers.items()})


def headers_of(response: TestResponse) -> dict[str, str]:
    """Return the headers but for those that differ from one request to the next."""
    kept = {name.lower(): value for name, value in response.headers if name != "X-Request-ID"}
    assert len(kept) == len(response.headers) - 1
    return kept


@pytest.fixture
def link(client: FlaskClient) -> str:
    """The link of an uploaded text file that is several chunks long."""
    assert SIZE > 3 * CHUNK_SIZE
    return put(client)


def test_the_whole_file_comes_with_every_header(client: FlaskClient, link: str) -> None:
    response = get(client, link)
    headers = headers_of(response)
    assert (response.status_code, response.data) == (200, CONTENT)
    modified = headers.pop("last-modified")
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", modified)
    assert re.fullmatch(r"public, max-age=\d+, immutable", headers.pop("cache-control"))
    assert headers == {
        "content-type": "text/plain; charset=utf-8",
        "content-length": str(SIZE),
        "etag": ETAG,
        "accept-ranges": "bytes",
        "repr-digest": DIGEST,
        "content-disposition": 'inline; filename="lines.txt"',
        "content-security-policy": CONTENT_SECURITY_POLICY,
        "x-content-type-options": "nosniff",
        "cross-origin-resource-policy": "cross-origin",
        "referrer-policy": "no-referrer",
    }


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        (f"bytes={CHUNK_SIZE - 1}-{CHUNK_SIZE}", CHUNK_SIZE - 1, CHUNK_SIZE + 1),
        (f"bytes=1-{SIZE - 2}", 1, SIZE - 1),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE),
        ("bytes=-7", SIZE - 7, SIZE),
        (f"bytes=5-{SIZE * 9}", 5, SIZE),
        ("bytes=0-", 0, SIZE),
    ],
)
def test_a_range_is_exactly_its_bytes(
    local_client: FlaskClient, asked: str, start: int, stop: int
) -> None:
    response = get(local_client, put(local_client), range=asked)
    assert (response.status_code, response.data) == (206, CONTENT[start:stop])
    assert response.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{SIZE}"
    assert response.headers["Content-Length"] == str(stop - start)


def test_a_range_carries_what_a_cache_needs(client: FlaskClient, link: str) -> None:
    whole, part = headers_of(get(client, link)), get(client, link, range="bytes=300000-600000")
    assert part.data == CONTENT[300_000:600_001]
    place = {"content-range": f"bytes 300000-600000/{SIZE}", "content-length": "300001"}
    assert headers_of(part) == whole | place


def test_several_ranges_are_one_multipart_body(client: FlaskClient, link: str) -> None:
    response = get(client, link, range="bytes=300000-600000,0-9,-5")
    boundary = response.headers["Content-Type"].removeprefix("multipart/byteranges; boundary=")
    framed = response.data.split(f"--{boundary}".encode())
    assert response.status_code == 206
    assert len(response.data) == int(response.headers["Content-Length"])
    assert [part.partition(b"\r\n\r\n")[2] for part in framed[1:-1]] == [
        CONTENT[300_000:600_001] + b"\r\n",
        CONTENT[:10] + b"\r\n",
        CONTENT[-5:] + b"\r\n",
    ]


def test_a_range_past_the_end_is_416_with_the_size(client: FlaskClient, link: str) -> None:
    response = get(client, link, range=f"bytes={SIZE}-")
    assert response.status_code == 416
    assert response.headers["Content-Range"] == f"bytes */{SIZE}"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.get_json()["code"] == "range_not_satisfiable"


def test_an_empty_file_is_served_and_has_no_ranges(client: FlaskClient) -> None:
    link = put(client, b"", "empty.txt")
    assert (get(client, link).status_code, get(client, link).data) == (200, b"")
    for asked in ("bytes=0-", "bytes=-1"):
        response = get(client, link, range=asked)
        assert response.status_code == 416
        assert response.headers["Content-Range"] == "bytes */0"


class TestTheProtocol:
    """PROTOCOLS §3, line by line, where storage and database make no difference."""

    @pytest.fixture
    def client(self, local_client: FlaskClient) -> FlaskClient:
        return local_client

    @pytest.fixture
    def link(self, client: FlaskClient) -> str:
        return put(client)

    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"range": "bytes=0-9", "if_none_match": ETAG}, 304),
            ({"range": "bytes=0-9", "if_match": '"other"'}, 412),
            ({"if_match": "*"}, 200),
            ({"if_match": ETAG}, 200),
            ({"if_match": f"W/{ETAG}"}, 412),
            ({"if_none_match": "*"}, 304),
            ({"if_none_match": f'"other", W/{ETAG}'}, 304),
            ({"if_none_match": '"other"'}, 200),
            ({"if_unmodified_since": "Sun, 06 Nov 1994 08:49:37 GMT"}, 412),
            ({"if_unmodified_since": "nonsense"}, 200),
            ({"if_match": ETAG, "if_unmodified_since": "Sun, 06 Nov 1994 08:49:37 GMT"}, 200),
            ({"if_modified_since": "Sun, 06 Nov 1994 08:49:37 GMT"}, 200),
            ({"if_modified_since": "Sun, 06 Nov 99999999999 08:49:37 GMT"}, 200),
            ({"range": "bytes=0-9", "if_range": ETAG}, 206),
            ({"range": "bytes=0-9", "if_range": f"W/{ETAG}"}, 200),
            ({"range": "bytes=0-9", "if_range": '"other"'}, 200),
            ({"range": "bytes=0-9", "if_range": "Sun, 06 Nov 1994 08:49:37 GMT"}, 200),
            ({"range": "lines=0-9"}, 200),
            ({"range": "bytes=9-0"}, 200),
            ({"range": "bytes=0-9,x"}, 200),
            ({"range": "bytes=0-9,20-29"}, 206),
            ({"range": "bytes=" + ",".join(f"{2 * n}-{2 * n}" for n in range(MAX_RANGES))}, 206),
            ({"range": "bytes=" + ",".join(f"{2 * n}-{2 * n}" for n in range(500))}, 200),
            ({"range": "bytes=0-,0-,0-"}, 200),
        ],
    )
    def test_conditions_and_ranges_are_decided_in_their_order(
        self, client: FlaskClient, link: str, headers: dict[str, str], status: int
    ) -> None:
        response = get(client, link, **headers)
        assert response.status_code == status
        if status == 200:
            assert response.data == CONTENT

    def test_the_dates_that_were_sent_are_understood(self, client: FlaskClient, link: str) -> None:
        modified = get(client, link).headers["Last-Modified"]
        assert get(client, link, if_modified_since=modified).status_code == 304
        assert get(client, link, if_unmodified_since=modified).status_code == 200
        assert get(client, link, range="bytes=0-9", if_range=modified).status_code == 206

    def test_a_304_repeats_what_a_cache_needs(self, app_with: MakeApp) -> None:
        client = app_with(CORS_ORIGINS=APP).test_client()
        link = put(client)
        whole, fresh = get(client, link), get(client, link, if_none_match=ETAG)
        assert (fresh.status_code, fresh.data) == (304, b"")
        for name in ("ETag", "Cache-Control", "Vary"):
            assert fresh.headers[name] == whole.headers[name]
        assert not {"Content-Length", "Content-Type"} & set(fresh.headers.keys())

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"if_none_match": ETAG},
            {"if_match": '"other"'},
            {"want_repr_digest": "sha-256=0"},
            {"origin": APP},
        ],
    )
    @pytest.mark.parametrize("query", ["", "?download=1"])
    def test_head_has_the_headers_of_get_and_ignores_range(
        self, client: FlaskClient, link: str, headers: dict[str, str], query: str
    ) -> None:
        whole = get(client, link + query, **headers)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        head = client.head(link + query, headers=sent | {"Range": "bytes=0-9"})
        assert (head.status_code, head.data) == (whole.status_code, b"")
        assert headers_of(head) == headers_of(whole)

    def test_the_digest_is_left_out_for_who_does_not_want_it(
        self, client: FlaskClient, link: str
    ) -> None:
        assert "Repr-Digest" not in get(client, link, want_repr_digest="sha-256=0").headers
        assert get(client, link, range="bytes=0-9").headers["Repr-Digest"] == DIGEST

    def test_only_the_link_with_the_current_name_is_immutable(
        self, client: FlaskClient, link: str
    ) -> None:
        bare = link.rpartition("/")[0]
        file_id = bare.rpartition("/")[2]
        assert "immutable" in get(client, link).headers["Cache-Control"]
        assert get(client, bare).headers["Cache-Control"] == "public, no-cache"
        client.patch(f"/api/files/{file_id}", json={"filename": "renamed.txt"})
        old, new = get(client, link), get(client, f"{bare}/renamed.txt")
        assert old.headers["Cache-Control"] == "public, no-cache"
        assert "immutable" in new.headers["Cache-Control"]
        assert old.data == new.data == CONTENT
        assert old.headers["Content-Disposition"] == 'inline; filename="renamed.txt"'

    def test_a_download_is_an_attachment(self, client: FlaskClient, link: str) -> None:
        response = get(client, f"{link}?download=1")
        assert response.headers["Content-Disposition"] == 'attachment; filename="lines.txt"'
        assert "immutable" in response.headers["Cache-Control"]

    def test_a_name_beyond_ascii_is_given_in_both_forms(self, client: FlaskClient) -> None:
        disposition = get(client, put(client, PNG, "é 日.png")).headers["Content-Disposition"]
        assert (
            disposition == "inline; filename=\"e _.png\"; filename*=UTF-8''%C3%A9%20%E6%97%A5.png"
        )

    @pytest.mark.parametrize(
        ("content", "name"),
        [(SVG, "a.svg"), (HTML, "a.html"), (b"<?xml version='1.0'?><a/>", "a.xml")],
    )
    def test_what_could_run_is_an_attachment_in_a_sandbox(
        self, client: FlaskClient, content: bytes, name: str
    ) -> None:
        response = get(client, put(client, content, name))
        assert response.headers["Content-Disposition"].startswith("attachment; ")
        assert response.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
        assert response.headers["X-Content-Type-Options"] == "nosniff"

    def test_html_that_was_sent_as_a_picture_is_no_picture(self, client: FlaskClient) -> None:
        link = put(client, HTML, "photo.png", content_type="image/png")
        response = get(client, link)
        assert response.headers["Content-Type"].partition(";")[0] == "text/html"
        assert response.headers["Content-Disposition"].startswith("attachment; ")

    def test_other_methods_are_405_with_allow(self, client: FlaskClient, link: str) -> None:
        response = client.post(link)
        assert response.status_code == 405
        assert {"GET", "HEAD"} <= set(response.headers["Allow"].split(", "))


class TestOtherOrigins:
    @pytest.fixture
    def client(self, app_with: MakeApp) -> FlaskClient:
        return app_with(CORS_ORIGINS=APP).test_client()

    def test_a_listed_origin_may_read_the_answer(self, client: FlaskClient) -> None:
        response = get(client, put(client), origin=APP, range="bytes=0-9")
        assert response.headers["Access-Control-Allow-Origin"] == APP
        assert response.headers["Vary"] == "Origin"
        exposed = response.headers["Access-Control-Expose-Headers"]
        assert exposed.split(", ") == list(EXPOSED_HEADERS)

    @pytest.mark.parametrize("origin", ["null", "https://evil.example"])
    def test_another_origin_gets_no_permission(self, client: FlaskClient, origin: str) -> None:
        link = put(client)
        for response in (get(client, link, origin=origin), client.options(link)):
            assert not any(name.startswith("Access-Control-") for name, _ in response.headers)
            assert response.headers["Vary"] == "Origin"

    def test_a_preflight_is_answered_the_same_for_every_id(self, client: FlaskClient) -> None:
        asked = {"Origin": APP, "Access-Control-Request-Method": "GET"}
        answers = [
            client.options(url, headers=asked) for url in (put(client), "/uploads/none/a.txt")
        ]
        assert [answer.status_code for answer in answers] == [204, 204]
        assert headers_of(answers[0]) == headers_of(answers[1])
        assert answers[0].headers["Access-Control-Allow-Origin"] == APP
        assert "Range" in answers[0].headers["Access-Control-Allow-Headers"].split(", ")

    def test_a_page_learns_that_there_is_no_such_file(self, client: FlaskClient) -> None:
        response = get(client, "/uploads/none/a.txt", origin=APP)
        assert response.status_code == 404
        assert response.headers["Access-Control-Allow-Origin"] == APP
        assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("url", ["/uploads/none", "/uploads/none/a.txt", "/uploads/..%2f..%2fa"])
def test_an_unknown_id_is_404(local_client: FlaskClient, url: str) -> None:
    response = local_client.get(url)
    assert response.status_code == 404
    assert response.get_json() == {"error": "Resource not found", "code": "not_found"}


def test_a_deleted_file_is_404(client: FlaskClient, link: str) -> None:
    assert client.delete(f"/api/files/{link.split('/')[2]}").status_code == 204
    assert get(client, link).status_code == 404


def make_private(app: Holdall) -> None:
    with app.app_context():
        db.session.execute(update(File).values(visibility="private"))
        db.session.commit()


def test_a_private_file_is_kept_by_no_cache_and_by_no_other_page(local_app: Holdall) -> None:
    client = local_app.test_client()
    link = put(client)
    make_private(local_app)
    for headers in ({}, {"range": "bytes=0-9"}, {"if_none_match": ETAG}):
        response = get(client, link, **headers)
        assert response.headers["Cache-Control"] == "private, no-store"
        assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"


def test_a_private_file_does_not_exist_for_strangers(local_app: Holdall, app_with: MakeApp) -> None:
    link = put(local_app.test_client())
    make_private(local_app)
    folder = str(parts(local_app).settings.data_dir)
    stranger = app_with(AUTH_MODE="keys", SECRET_KEY=SECRET, DATA_DIR=folder).test_client()
    refused, unknown = get(stranger, link), get(stranger, "/uploads/none/lines.txt")
    assert (refused.status_code, refused.data) == (404, unknown.data)
    assert headers_of(refused) == headers_of(unknown)
    assert stranger.head(link).status_code == 404


def test_a_row_whose_object_is_gone_is_a_clear_error(
    app: Holdall, client: FlaskClient, link: str
) -> None:
    settings = parts(app).settings
    for key in objects(app):
        parts(app).storages[settings.storage_backend].delete(key)
    for headers in ({}, {"range": "bytes=0-9"}, {"range": "bytes=0-9,20-29"}):
        response = get(client, link, **headers)
        assert response.status_code == 500
        assert response.get_json()["code"] == "object_missing"
        assert response.headers["Cache-Control"] == "no-store"


def test_an_object_of_another_size_than_its_row_says_is_never_sent(
    app: Holdall, client: FlaskClient, link: str
) -> None:
    storage = parts(app).storages[parts(app).settings.storage_backend]
    (key,) = objects(app)
    with storage.create(key) as writer:
        writer.write(CONTENT[:-1])
        writer.commit()
    for headers in ({}, {"range": "bytes=0-9"}):
        response = get(client, link, **headers)
        assert response.status_code == 500
        assert response.get_json()["code"] == "storage_error"
