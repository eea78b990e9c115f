"""Every URL and method of the service, walked: who is let in, who is not, and what that leaves.

docs/access.md says for each what it needs. A route that is not in its table fails here, and so
does one that answers a caller who has less.
"""

import itertools
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import routes
from app import Holdall
from tests.cli.test_doctor import flask
from tests.conftest import SECRET, Deployment, MakeApp
from tests.services.test_keys import WRONG
from tests.services.uploading import stored
from tests.support.keyed import PRIVATE, holder_of, keyed_app, new_key, rows
from tests.support.service import ROOT, Service, running
from views import files
from views.gate import Need

PUBLIC: Final = {
    "GET /",
    "GET /static/<version>/<name>",
    "GET /api/health",
    "GET /api/ready",
    "GET /api/session",
    "POST /api/session",
    "DELETE /api/session",
    "GET /api/openapi.json",
    "GET /api/docs",
    "GET /api/docs/start.js",
    "GET /api/docs/assets/<name>",
    "GET /uploads/<file_id>",
    "GET /uploads/<file_id>/<filename>",
    "GET /metrics",
    "PUT /api/direct/whole/<id>",
    "POST /api/direct/whole/<id>",
    "PUT /api/direct/parts/<id>/<number>",
}
"""What needs no key: public files, what is said of the service itself, and URLs that it signed."""

SECRET_BYTES: Final = b"nobody else's business"
SIGNED: Final = {each for each in PUBLIC if each.startswith(("PUT", "POST"))}
SCOPES: Final = ("read", "write", "delete", "admin")
ENOUGH: Final = {
    "nothing": set(SCOPES),
    "any scope": set(SCOPES),
    "write, or a signed upload link": {"write", "admin"},
    "admin, without a collection": {"admin"},
} | {scope: {scope, "admin"} for scope in SCOPES}
TABLE: Final = dict(
    re.findall(r"^\| `([A-Z]+ /[^`]*)` \| (.+) \|$", (ROOT / "docs/access.md").read_text(), re.M)
)
ONCE_EACH = pytest.mark.parametrize("deployment", ("local-sqlite", "s3-postgresql"), indirect=True)


def walked(app: Flask) -> Iterator[tuple[str, str]]:
    """Yield `METHOD /url` of every route, and its endpoint.

    OPTIONS is left out, and HEAD where it is GET without a body.
    """
    for rule in app.url_map.iter_rules():
        methods = set(rule.methods or ()) - {"OPTIONS"}
        for method in sorted(methods - ({"HEAD"} if "GET" in methods else set())):
            yield f"{method} {re.sub(r'<[a-z]+:', '<', rule.rule)}", rule.endpoint


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    from app import create_app
    from config import load_settings

    folder = str(tmp_path_factory.mktemp("walk"))
    app = create_app(load_settings({"DATA_DIR": folder, "AUTH_MODE": "open"}))
    return [route for route, _ in walked(app)]


@dataclass
class House:
    """An application with somebody's things in it, and callers who have less than they need."""

    app: Holdall
    owner: FlaskClient
    ids: dict[str, str]

    @classmethod
    def furnished(cls, app: Holdall) -> "House":
        owner = holder_of(app, "read", "write", "delete")
        file = owner.put(f"/api/upload/a.txt?collection={PRIVATE}", data=SECRET_BYTES).get_json()
        tus = {"Tus-Resumable": "1.0.0", "Upload-Length": "10"}
        upload = owner.post("/api/tus", headers=tus).headers["Location"].rpartition("/")[2]
        ids = {"file": file["id"], "upload": upload, "key": new_key(app, "read").info.id}
        return cls(app, owner, ids)

    def url(self, route: str) -> str:
        """Fill in the URL of a route: things that are there."""
        url = route.partition(" ")[2]
        if url.startswith("/api/keys"):
            url = url.replace("<id>", self.ids["key"])
        kind = "upload" if "/direct" in url else "file"
        given = {
            "id": self.ids[kind],
            "file_id": self.ids["file"],
            "upload_id": self.ids["upload"],
            "name": PRIVATE,
            "filename": "b.txt",
            "number": "1",
            "version": "1",
        }
        return re.sub(r"<(\w+)>", lambda found: given[found[1]], url)

    def ask(self, client: FlaskClient, route: str, **headers: str) -> TestResponse:
        """Send a request that would do something, were it let in."""
        method = route.partition(" ")[0]
        sent = {"Tus-Resumable": "1.0.0", "Upload-Length": "4", "Upload-Offset": "0", **headers}
        content_type = "application/offset+octet-stream"
        if "tus" not in route and method != "PUT":
            content_type = "application/json"
        data = b"" if method in ("GET", "HEAD", "DELETE") else b"{}  "
        return client.open(
            self.url(route), method=method, headers=sent, data=data, content_type=content_type
        )

    def kept(self) -> object:
        return rows(self.app), stored(self.app)


@pytest.fixture
def house(app_with: MakeApp, deployment: Deployment) -> House:
    return House.furnished(keyed_app(app_with, **deployment.variables))


def test_the_table_has_every_route_and_no_other(every: list[str]) -> None:
    assert sorted(TABLE) == sorted(set(every))
    assert set(TABLE) >= PUBLIC
    assert {route for route, need in TABLE.items() if need == "nothing"} == PUBLIC


def test_the_table_says_what_the_url_map_says(app_with: MakeApp) -> None:
    needs = {f"{view.__module__}.{view.__name__}": need for view, need in routes.NEEDS.items()}
    assert {need.value for need in Need} == set(ENOUGH)
    for route, endpoint in walked(app_with()):
        assert TABLE[route] == needs[endpoint].value, route


def test_a_view_of_which_nothing_is_said_keeps_the_service_from_starting(
    app_with: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(routes.NEEDS, files.index)
    with pytest.raises(KeyError):
        app_with()


@ONCE_EACH
def test_nobody_gets_in_without_a_key_and_nothing_is_left_behind(
    house: House, every: list[str]
) -> None:
    before = house.kept()
    for route in set(every) - PUBLIC:
        client = house.app.test_client()
        for headers in ({}, {"Authorization": "Basic eDp5"}):
            answer = house.ask(client, route, **headers)
            assert answer.status_code == 401, route
            assert answer.headers["WWW-Authenticate"] == 'Bearer realm="holdall"'
        # After some of these, it is one of too many wrong keys.
        assert house.ask(client, route, Authorization=WRONG).status_code in (401, 429), route
    assert house.kept() == before


@ONCE_EACH
def test_what_is_public_shows_nothing_private_and_changes_nothing(house: House) -> None:
    before = house.kept()
    for route in PUBLIC:
        answer = house.ask(house.app.test_client(), route)
        if route in SIGNED:
            assert answer.status_code in (400, 403), route
        assert SECRET_BYTES not in answer.data
        if "/uploads/" in route:
            assert answer.status_code == 404
    assert house.kept() == before


@ONCE_EACH
def test_a_key_without_the_scope_is_refused_and_nothing_is_left_behind(
    house: House, every: list[str]
) -> None:
    holders = {scope: holder_of(house.app, scope) for scope in SCOPES}
    before = house.kept()
    for route in set(every) - PUBLIC:
        for scope in set(SCOPES) - ENOUGH[TABLE[route]]:
            answer = house.ask(holders[scope], route)
            assert answer.status_code == 403, (route, scope)
    assert house.kept() == before


def test_a_key_with_the_scope_and_nothing_more_is_let_in(
    app_with: MakeApp, every: list[str]
) -> None:
    house = House.furnished(keyed_app(app_with))
    for route in every:
        for scope in sorted(ENOUGH[TABLE[route]] - {"admin"}):
            if route not in PUBLIC:
                answer = house.ask(holder_of(house.app, scope), route)
                assert answer.status_code not in (401, 403, 429), (route, scope)
                assert answer.status_code < 500, (route, scope)


def test_no_cache_keeps_what_a_caller_is_answered(app_with: MakeApp, every: list[str]) -> None:
    house = House.furnished(keyed_app(app_with))
    for route in set(every) - PUBLIC:
        for client in (house.app.test_client(), house.owner, holder_of(house.app, "admin")):
            answer = house.ask(client, route)
            assert "no-store" in answer.headers.get("Cache-Control", ""), route


def test_an_admin_of_one_collection_does_not_get_at_the_whole(
    app_with: MakeApp, every: list[str]
) -> None:
    house = House.furnished(keyed_app(app_with))
    admin = holder_of(house.app, "admin", collection=PRIVATE)
    before = house.kept()
    whole = [route for route in every if TABLE[route] == "admin, without a collection"]
    assert whole
    for route in whole:
        assert house.ask(admin, route).status_code == 403, route
    assert house.kept() == before


# Before the body


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Holdall under gunicorn in `keys` mode."""
    folder = tmp_path_factory.mktemp("walked")
    with running(folder, AUTH_MODE="keys", SECRET_KEY=SECRET) as started:
        yield started


@pytest.fixture(scope="module")
def readers_key(service: Service) -> str:
    options = ("--name", "reader", "--scopes", "read")
    made = flask("keys", "create", *options, DATA_DIR=str(service.data), SECRET_KEY=SECRET)
    return made.stdout.strip()


def status_before_the_body(service: Service, method: str, url: str, *lines: str) -> int:
    """Announce 64 MiB, send one of them, and return the status of the answer to that."""
    head = "\r\n".join(
        (f"{method} {url} HTTP/1.1", "Host: x", f"Content-Length: {64 * 1024**2}", *lines)
    )
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as connection:
        connection.sendall(head.encode() + b"\r\n\r\n" + b"x" * 65536)
        connection.settimeout(10)
        return int(connection.recv(65536).split(b" ")[1])


def test_a_refusal_comes_before_the_body_is_read(
    service: Service, readers_key: str, every: list[str]
) -> None:
    ids = {"name": "default", "filename": "a.txt", "number": "1", "version": "1"}
    sending = [route for route in every if route.split(" ")[0] in ("POST", "PUT", "PATCH")]
    types = ("application/json", "multipart/form-data; boundary=x")
    for route, content_type in itertools.product(set(sending) - PUBLIC, types):
        method, path = route.split(" ")
        url = re.sub(r"<(\w+)>", lambda found: ids.get(found[1], "a" * 26), path)
        shown = ("Tus-Resumable: 1.0.0", f"Content-Type: {content_type}")
        assert status_before_the_body(service, method, url, *shown) == 401, route
        key = f"Authorization: Bearer {readers_key}"
        if "read" not in ENOUGH[TABLE[route]]:
            assert status_before_the_body(service, method, url, key, *shown) == 403, route
    assert service.stored() == service.temporary() == []
