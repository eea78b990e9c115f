"""The short way for public files says exactly what the framework's way says."""

from typing import Any

import pytest
from flask.testing import FlaskClient

from app import Holdall
from storage.errors import StorageUnavailable
from tests.conftest import MakeApp, parts
from tests.http.test_files import put

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
