"""Collections whose files the store sends: redirects to links that the real store takes."""

import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask.testing import FlaskClient
from sqlalchemy import update

from app import Holdall
from models import Collection, File, db
from tests.conftest import MakeApp, parts, s3_variables
from tests.http.test_files import put
from tests.support.servers import S3Server

CONTENT = b"".join(b"line %d\n" % number for number in range(40_000))
ORIGIN = "https://app.example"


def deliver(app: Holdall, way: str) -> None:
    """Have the files of the default collection delivered in this way."""
    with app.app_context():
        db.session.execute(update(Collection).values(delivery=way))
        db.session.commit()


@pytest.fixture
def variables(request: pytest.FixtureRequest) -> dict[str, str]:
    """An S3 backend that clients reach by another name than the service does."""
    server: S3Server = request.getfixturevalue("s3_server")
    public = {"STORAGE_S3_PUBLIC_ENDPOINT": f"http://localhost:{server.port}"}
    return s3_variables(request) | public | {"CORS_ORIGINS": ORIGIN}


@pytest.fixture
def app(app_with: MakeApp, variables: dict[str, str]) -> Iterator[Holdall]:
    made = app_with(**variables)
    deliver(made, "redirect")
    yield made


@pytest.fixture
def client(app: Holdall) -> FlaskClient:
    return app.test_client()


def follow(url: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Ask the store itself, as a client does that was sent there."""
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            told = {name.lower(): value for name, value in answer.headers.items()}
            return answer.status, told, answer.read()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code, {}, refusal.read()


def seconds_left(location: str) -> float:
    """Return how long a link to the store is good for."""
    query = parse_qs(urlsplit(location).query)
    signed = time.strptime(query["X-Amz-Date"][0] + "UTC", "%Y%m%dT%H%M%SZ%Z")
    return time.mktime(signed) - time.timezone + float(query["X-Amz-Expires"][0]) - time.time()


def test_a_download_is_sent_to_the_store_which_says_the_same(client: FlaskClient) -> None:
    file = put(client, "größe.txt", CONTENT)
    head = client.head(file["url"])
    answer = client.get(file["url"])
    assert (answer.status_code, answer.data) == (302, b"")
    status, told, body = follow(answer.location)
    assert (status, body) == (200, CONTENT)
    for name in ("Content-Type", "Content-Disposition", "Cache-Control", "Content-Length"):
        assert told[name.lower()] == head.headers[name]
    status, told, body = follow(answer.location, Range="bytes=100-199")
    assert (status, body) == (206, CONTENT[100:200])
    assert told["content-range"] == f"bytes 100-199/{len(CONTENT)}"


def test_clients_see_the_public_address_only(client: FlaskClient) -> None:
    location = client.get(put(client, "a.txt")["url"]).location
    assert urlsplit(location).hostname == "localhost"
    assert "127.0.0.1" not in location


def test_every_process_gives_the_same_link(
    app: Holdall, client: FlaskClient, app_with: MakeApp, variables: dict[str, str]
) -> None:
    database = parts(app).settings.database_url
    other = app_with(**variables, DATABASE_URL=database).test_client()
    url = put(client, "a.txt")["url"]
    for _ in range(3):  # a window may end in between, once
        links = {each.get(url).location for each in (client, other, client)}
        if len(links) == 1:
            return
    raise AssertionError(links)


def test_a_redirect_is_kept_for_less_than_the_link_is_good(client: FlaskClient) -> None:
    answer = client.get(put(client, "a.txt")["url"])
    kept = re.fullmatch(r"public, max-age=(\d+)", answer.headers["Cache-Control"])
    assert kept
    assert 2400 < int(kept[1]) < seconds_left(answer.location) <= 3600


def test_what_could_run_is_an_attachment_at_the_store(client: FlaskClient) -> None:
    file = put(client, "a.html", b"<!doctype html><script>alert(1)</script>")
    _, told, _ = follow(client.get(file["url"]).location)
    assert told["content-type"] == "text/html; charset=utf-8"
    assert told["content-disposition"].startswith("attachment")


def test_the_client_cannot_have_the_store_say_something_else(client: FlaskClient) -> None:
    file = put(client, "a.html", b"<!doctype html><script>alert(1)</script>")
    location = client.get(file["url"]).location
    assert follow(location.replace("=attachment", "=inline"))[0] == 403
    elsewhere = location.replace(urlsplit(location).path, "/other/k7/k7q2")
    assert follow(elsewhere)[0] == 403
    assert client.get(f"{file['url']}?response-content-type=text/html").location == location


def test_a_private_file_is_opened_for_minutes_and_kept_by_no_one(
    app: Holdall, client: FlaskClient
) -> None:
    url = put(client, "a.txt", CONTENT)["url"]
    with app.app_context():
        db.session.execute(update(File).values(visibility="private"))
        db.session.commit()
    answer = client.get(url)
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert seconds_left(answer.location) <= 900
    assert follow(answer.location)[1]["cache-control"] == "private, no-store"


def test_a_signed_link_is_not_outlived(client: FlaskClient) -> None:
    file = put(client, "a.txt", CONTENT)
    link = client.post(f"/api/files/{file['id']}/link", json={"expires_in": 300}).get_json()
    answer = client.get(link["url"])
    assert answer.status_code == 302
    assert seconds_left(answer.location) <= 375
    assert follow(answer.location)[2] == CONTENT
    short = client.post(f"/api/files/{file['id']}/link", json={"expires_in": 40}).get_json()
    answer = client.get(short["url"])
    assert (answer.status_code, answer.data) == (200, CONTENT)
    assert answer.headers["Cache-Control"].startswith("public, max-age=")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Range": "bytes=0-1,5-6"}, 206),
        ({"Range": "bytes=0-9", "If-Range": '"other"'}, 200),
        ({"Range": "bytes=9999999-"}, 416),
        ({"If-Match": "*"}, 200),
        ({"If-Match": '"other"'}, 412),
        ({"If-None-Match": "*"}, 304),
        ({"If-Unmodified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"}, 200),
        ({"Origin": ORIGIN}, 200),
        ({"Want-Repr-Digest": "sha-256=1"}, 200),
    ],
)
def test_what_the_store_would_answer_otherwise_is_answered_here(
    client: FlaskClient, headers: dict[str, str], status: int
) -> None:
    url = put(client, "a.txt", CONTENT)["url"]
    answer = client.get(url, headers=headers)
    assert answer.status_code == status
    assert "Location" not in answer.headers


@pytest.mark.parametrize("backend", [{}, {"STORAGE_MEM_URL": "memory:"}])
def test_a_backend_that_cannot_sign_sends_by_itself(
    app_with: MakeApp, backend: dict[str, str]
) -> None:
    chosen = {"STORAGE_BACKEND": "mem", "WEB_CONCURRENCY": "1"} if backend else {}
    app = app_with(**backend, **chosen)
    deliver(app, "redirect")
    client = app.test_client()
    answer = client.get(put(client, "a.txt", CONTENT)["url"])
    assert (answer.status_code, answer.data) == (200, CONTENT)


ACCEL: dict[str, Any] = {"X-Holdall-Accel": "local"}


def test_only_a_trusted_proxy_can_say_that_it_sends_files(app_with: MakeApp) -> None:
    untrusting, trusting = app_with(), app_with(TRUSTED_PROXIES="127.0.0.0/8")
    for app, peer, expected in (
        (untrusting, "127.0.0.1", None),
        (trusting, "192.0.2.9", None),
        (trusting, "127.0.0.1", "/_holdall/local/"),
        (trusting, "::ffff:127.0.0.1", "/_holdall/local/"),
    ):
        deliver(app, "x-accel")
        client = app.test_client()
        url = put(client, "a.txt", CONTENT)["url"]
        for way in (url, f"{url}?download=0"):
            answer = client.get(way, headers=ACCEL, environ_overrides={"REMOTE_ADDR": peer})
            found = answer.headers.get("X-Accel-Redirect")
            assert answer.status_code == 200
            assert (found or "").startswith(expected or "none") if expected else found is None
            assert answer.data == (b"" if expected else CONTENT)


@pytest.mark.parametrize("announced", ["", "s3", "locally", "local,s3", "*"])
def test_nginx_is_told_only_of_backends_that_it_names(app_with: MakeApp, announced: str) -> None:
    app = app_with(TRUSTED_PROXIES="127.0.0.1")
    deliver(app, "x-accel")
    client = app.test_client()
    url = put(client, "a.txt", CONTENT)["url"]
    assert client.get(url, headers={"X-Holdall-Accel": announced}).data == CONTENT


@pytest.mark.parametrize("way", ["proxy", "redirect"])
def test_nginx_sends_no_file_of_other_collections(app_with: MakeApp, way: str) -> None:
    app = app_with(TRUSTED_PROXIES="127.0.0.1")
    deliver(app, way)
    client = app.test_client()
    assert client.get(put(client, "a.txt", CONTENT)["url"], headers=ACCEL).data == CONTENT


def test_nginx_is_not_sent_to_a_file_that_is_gone_or_cut(app_with: MakeApp) -> None:
    app = app_with(TRUSTED_PROXIES="127.0.0.1")
    deliver(app, "x-accel")
    client = app.test_client()
    url = put(client, "a.txt", CONTENT)["url"]
    (path,) = [found for found in (parts(app).settings.data_dir / "uploads").glob("[0-9a-z]*/*")]
    path.write_bytes(CONTENT[:-1])
    assert client.get(url, headers=ACCEL).status_code == 500
    path.unlink()
    answer = client.get(url, headers=ACCEL)
    assert (answer.status_code, answer.get_json()["code"]) == (500, "object_missing")
    assert "X-Accel-Redirect" not in answer.headers
