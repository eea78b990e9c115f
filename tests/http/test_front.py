"""The short way for public files says exactly what the framework's way says."""

from datetime import datetime, tzinfo
from typing import Any, Self

import pytest
from flask.testing import FlaskClient

import views.delivery
import views.public
from app import Holdall
from storage.errors import ObjectNotFound, StorageUnavailable
from tests.conftest import Client, MakeApp, parts, s3_variables
from tests.http.test_files import put
from tests.http.test_redirect import deliver

REQUESTS: tuple[dict[str, str], ...] = (
    {},
    {"Range": "bytes=2-5"},
    {"Range": "bytes=0-0, 5-6"},
    {"Range": "bytes=90-"},
    {"If-None-Match": "*"},
    {"If-Match": '"other"'},
    {"If-Match": '"other"', "Accept": "application/problem+json"},
    {"Origin": "https://app.example"},
    {"Want-Repr-Digest": "sha-256=0"},
)


def both(client: FlaskClient, method: str, url: str, headers: dict[str, str]) -> list[Any]:
    """Return what each way answers; a query makes the front hand the request on."""
    answers = []
    for query in ("", "?download=0"):
        response = client.open(url + query, method=method, headers=headers)
        told = {name: value for name, value in response.headers if name != "X-Request-ID"}
        answers.append((response.status_code, told, response.data))
    return answers


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("headers", REQUESTS)
def test_both_ways_answer_alike(app_with: MakeApp, method: str, headers: dict[str, str]) -> None:
    client = app_with(CORS_ORIGINS="https://app.example").test_client()
    file = put(client, "größe.txt", b"some text of a file")
    for url in (file["url"], f"/uploads/{file['id']}", f"/uploads/{file['id']}/old name.txt"):
        front, framework = both(client, method, url, headers)
        assert front == framework


def test_the_loop_answers_for_public_files_and_no_others(
    app_with: MakeApp, request: pytest.FixtureRequest
) -> None:
    client = app_with().test_client()
    assert isinstance(client, Client)
    url = put(client, "a.txt", b"some text of a file")["url"]
    for headers in REQUESTS:
        client.get(url, headers=headers)
    # All but what is in several pieces.
    assert client.answered_at_once == len(REQUESTS) - 1
    client.get(f"{url}?download=1")
    client.get(f"{url}x".replace("/uploads/", "/uploads/x"))
    assert client.answered_at_once == len(REQUESTS) - 1
    client.delete(url.replace("/uploads/", "/api/files/").rpartition("/")[0])
    assert client.get(url).status_code == 404
    assert client.answered_at_once == len(REQUESTS) - 1
    far = app_with(**s3_variables(request)).test_client()
    assert isinstance(far, Client)
    url = put(far, "a.txt", b"some text of a file")["url"]
    etag = far.get(url).headers["ETag"]
    assert far.answered_at_once == 0
    assert far.get(url, headers={"If-None-Match": etag}).status_code == 304
    assert far.answered_at_once == 1


def test_what_is_kept_of_an_answer_follows_the_row(app_with: MakeApp) -> None:
    client = app_with().test_client()
    file = put(client, "a.txt", b"some text of a file")
    for name in ("a.txt", "b.txt", "a.txt"):
        changed = client.patch(f"/api/files/{file['id']}", json={"filename": name})
        for _ in range(3):
            first = client.get(changed.json["url"] if changed.json else "")
            assert name in first.headers["Content-Disposition"]
            assert client.get(file["url"]).headers["ETag"] == first.headers["ETag"]
    assert isinstance(client, Client)
    assert client.answered_at_once == 18


@pytest.mark.parametrize("name", ["/", "//", "//a.txt", "/%0A", "/a%0Ab", "/a//b", "/%00", "/a/"])
def test_both_ways_find_the_same_urls(app_with: MakeApp, name: str) -> None:
    client = app_with().test_client()
    file = put(client, "a.txt", b"some text of a file")
    front, framework = both(client, "GET", f"/uploads/{file['id']}{name}", {})
    assert front == framework


class Stopped(datetime):
    """A clock that stands still, as a redirect's lifetime is counted in seconds."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return cls(2026, 5, 17, 12, 0, 0, 500_000, tz)


@pytest.mark.parametrize("delivery", ["redirect", "x-accel"])
@pytest.mark.parametrize("storage", ["local", "s3"])
def test_both_ways_hand_off_alike(
    request: pytest.FixtureRequest,
    app_with: MakeApp,
    monkeypatch: pytest.MonkeyPatch,
    delivery: str,
    storage: str,
) -> None:
    backend = s3_variables(request) if storage == "s3" else {}
    app = app_with(TRUSTED_PROXIES="127.0.0.1", CORS_ORIGINS="https://app.example", **backend)
    deliver(app, delivery)
    client = app.test_client()
    file = put(client, "größe.txt", b"some text of a file")
    for module in (views.public, views.delivery):
        monkeypatch.setattr(module, "datetime", Stopped)
    seen = set()
    for headers in REQUESTS:
        for url in (file["url"], f"/uploads/{file['id']}", f"/uploads/{file['id']}/old name.txt"):
            announced = headers | {"X-Holdall-Accel": f"other {storage}"}
            front, framework = both(client, "GET", url, announced)
            assert front == framework
            seen |= front[1].keys() & {"Location", "X-Accel-Redirect"}
    expected = "X-Accel-Redirect" if delivery == "x-accel" else "Location"
    assert seen == (set() if (delivery, storage) == ("redirect", "local") else {expected})


@pytest.mark.parametrize("url", ["/uploads/", "/uploads//", "/uploads/x/", "/uploads/x/y"])
def test_what_is_not_there_is_answered_by_the_framework(
    local_client: FlaskClient, url: str
) -> None:
    front, framework = both(local_client, "GET", url, {})
    assert front == framework
    assert front[0] == 404


def test_a_private_file_is_not_for_the_front(app_with: MakeApp) -> None:
    from sqlalchemy import update

    from models import File, db

    app = app_with()
    client = app.test_client()
    file = put(client, "a.txt")
    with app.app_context():
        db.session.execute(update(File).values(visibility="private"))
        db.session.commit()
    response = client.get(file["url"])
    assert response.data == b"text"
    assert response.headers["Cache-Control"] == "private, no-store"


def test_an_error_ends_both_ways_at_once(
    local_app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = local_app.test_client()
    file = put(client, "a.txt")
    tries = []

    def broken(*arguments: object) -> None:
        tries.append(arguments)
        raise StorageUnavailable("down")

    monkeypatch.setattr(parts(local_app).storages["local"], "open", broken)
    assert client.get(file["url"]).status_code == 503
    assert len(tries) == 1


def test_a_file_that_is_deleted_while_it_is_asked_for_is_not_found(
    local_app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = local_app.test_client()
    url = put(client, "a.txt")["url"]

    def deleted(*arguments: object) -> None:
        monkeypatch.undo()
        assert client.delete(url.replace("/uploads/", "/api/files/").rpartition("/")[0])
        raise ObjectNotFound("gone")

    monkeypatch.setattr(parts(local_app).storages["local"], "open", deleted)
    assert client.get(url).status_code == 404
