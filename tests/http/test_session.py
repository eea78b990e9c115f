"""Signing in with a browser: what the cookie is, what it opens, what it does not do by itself."""

import re
import time
from io import BytesIO
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import update
from werkzeug.test import TestResponse

from app import Holdall
from models import ApiKey, now
from services.caller import EVERYONE
from services.failures import MOST
from services.keys import NewKey
from services.sessions import LASTS, Sessions
from tests.conftest import SECRET, MakeApp, objects, parts
from tests.http.test_tus import OFFSET_TYPE, VERSION
from tests.services.test_keys import WRONG
from tests.services.uploading import database_of
from tests.support.keyed import PRIVATE, bearer, holder, keyed_app, new_key, rows

ALL = ("read", "write", "delete")
NAME = "holdall_session"
OPAQUE = {"Origin": "null", "Sec-Fetch-Site": "cross-site"}
"""What a browser sends for a sandboxed document."""


class Browser:
    """A client that has signed in, and keeps the cookie and the session's token."""

    def __init__(self, app: Holdall, secret: str) -> None:
        self.client = app.test_client()
        self.signed_in = self.client.post("/api/session", json={"key": secret})
        assert self.signed_in.status_code == 200, self.signed_in.text
        self.token: str = self.signed_in.get_json()["csrf_token"]

    @property
    def cookie(self) -> str:
        found = self.client.get_cookie(NAME)
        return "" if found is None else found.value

    def ask(self, method: str, url: str, **options: Any) -> TestResponse:
        """Send a request as our page does, with the token."""
        headers = {"X-CSRF-Token": self.token, **options.pop("headers", {})}
        return self.client.open(url, method=method, headers=headers, **options)


@pytest.fixture
def app(app_with: MakeApp) -> Holdall:
    return keyed_app(app_with)


@pytest.fixture
def key(app: Holdall) -> NewKey:
    return new_key(app, *ALL)


@pytest.fixture
def browser(app: Holdall, key: NewKey) -> Browser:
    return Browser(app, key.secret)


def code(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["code"]


def private_file(app: Holdall, secret: str) -> dict[str, Any]:
    url = f"/api/upload/a.txt?collection={PRIVATE}"
    answer = app.test_client().put(url, data=b"mine", headers=bearer(secret))
    file: dict[str, Any] = answer.get_json()
    return file


# What is told


def test_in_open_mode_everyone_is_signed_in_and_gets_no_cookie(app_with: MakeApp) -> None:
    client = app_with(MAX_UPLOAD_SIZE="5MB", TRASH_EXPIRES_IN="60").test_client()
    told = client.get("/api/session")
    assert told.get_json() == {
        "auth_mode": "open",
        "signed_in": True,
        "name": None,
        "scopes": ["admin", "delete", "read", "write"],
        "collection": None,
        "csrf_token": None,
        "max_upload_size": 5_000_000,
        "version": "0.1.0",
        "trash_expires_in": 60,
    }
    again = client.post("/api/session", json={"key": "whatever"})
    assert (again.status_code, again.get_json()) == (200, told.get_json())
    assert "Set-Cookie" not in again.headers
    assert client.delete("/api/session").status_code == 204


def test_who_is_signed_in_is_told_and_who_is_not(app: Holdall) -> None:
    nobody = app.test_client().get("/api/session")
    assert nobody.status_code == 200
    assert nobody.get_json()["signed_in"] is False
    assert (nobody.get_json()["scopes"], nobody.get_json()["csrf_token"]) == ([], None)
    key = parts(app).keys.create(EVERYONE, name="laptop", scopes=["read"], collection=PRIVATE)
    browser = Browser(app, key.secret)
    told = browser.client.get("/api/session").get_json()
    assert told == browser.signed_in.get_json()
    assert (told["auth_mode"], told["signed_in"], told["name"]) == ("keys", True, "laptop")
    assert (told["scopes"], told["collection"]) == (["read"], PRIVATE)
    by_key = app.test_client().get("/api/session", headers=bearer(key.secret)).get_json()
    assert by_key == told | {"csrf_token": None}


def test_the_key_is_not_in_the_cookie_and_no_cache_keeps_an_answer(
    app: Holdall, key: NewKey, browser: Browser
) -> None:
    said = browser.signed_in.headers["Set-Cookie"]
    assert key.secret.removeprefix("holdall_") not in said
    assert said.startswith(f"{NAME}={browser.cookie};")
    for part in ("HttpOnly", "SameSite=Strict", "Path=/", f"Max-Age={LASTS}"):
        assert part in said
    assert "Secure" not in said and "Domain" not in said
    answers = [
        browser.signed_in,
        browser.client.get("/api/session"),
        browser.client.get("/api/files"),
        browser.ask("DELETE", "/api/session"),
        app.test_client().get("/api/session"),
    ]
    assert {answer.headers["Cache-Control"] for answer in answers} == {"private, no-store"}


def test_over_https_the_cookie_is_for_this_host_alone(app_with: MakeApp) -> None:
    for variables, headers in (
        ({"PUBLIC_URL": "https://files.example.org"}, {}),
        ({"TRUSTED_PROXIES": "127.0.0.0/8"}, {"X-Forwarded-Proto": "https"}),
    ):
        app = keyed_app(app_with, **variables)
        key = new_key(app, "read")
        client = app.test_client()
        answer = client.post("/api/session", json={"key": key.secret}, headers=headers)
        said = answer.headers["Set-Cookie"]
        assert said.startswith(f"__Host-{NAME}=") and "; Secure" in said and "Domain" not in said
        value = said.partition("=")[2].partition(";")[0]
        for name, signed_in in ((f"__Host-{NAME}", True), (NAME, False)):
            shown = headers | {"Cookie": f"{name}={value}"}
            told = app.test_client(use_cookies=False).get("/api/session", headers=shown)
            assert told.get_json()["signed_in"] is signed_in
    # A client that is no proxy cannot have it so.
    app = keyed_app(app_with)
    client = app.test_client()
    sent = {"X-Forwarded-Proto": "https"}
    answer = client.post("/api/session", json={"key": new_key(app, "read").secret}, headers=sent)
    assert "Secure" not in answer.headers["Set-Cookie"]


# Signing in and out


def test_a_wrong_key_is_answered_as_elsewhere_and_counted_with_the_others(app: Holdall) -> None:
    client = app.test_client()
    elsewhere = client.get("/api/files", headers={"Authorization": WRONG})
    wrong = WRONG.partition(" ")[2]
    for given in (wrong, "", "x", "é\0", f" {wrong}"):
        refused = client.post("/api/session", json={"key": given})
        assert (refused.status_code, refused.get_json()) == (401, elsewhere.get_json())
        assert refused.headers["WWW-Authenticate"] == elsewhere.headers["WWW-Authenticate"]
        assert "Set-Cookie" not in refused.headers
    for _ in range(MOST - 6):
        assert client.post("/api/session", json={"key": wrong}).status_code == 401
    refused = client.post("/api/session", json={"key": wrong})
    assert code(refused) == (429, "too_many_failures")
    assert int(refused.headers["Retry-After"]) > 0
    right = client.post("/api/session", json={"key": new_key(app, "read").secret})
    assert right.status_code == 200


@pytest.mark.parametrize("body", [{}, {"key": None}, {"key": "x" * 256}, {"key": "x", "a": 1}, []])
def test_a_body_that_is_no_sign_in_is_refused(app: Holdall, body: Any) -> None:
    assert app.test_client().post("/api/session", json=body).status_code == 400


def test_signing_out_takes_the_token_and_has_the_browser_forget(browser: Browser) -> None:
    assert code(browser.client.delete("/api/session")) == (403, "csrf_failed")
    assert browser.client.get("/api/session").get_json()["signed_in"] is True
    answer = browser.ask("DELETE", "/api/session")
    assert (answer.status_code, answer.data) == (204, b"")
    assert "Max-Age=0" in answer.headers["Set-Cookie"]
    assert browser.client.get("/api/session").get_json()["signed_in"] is False
    assert browser.client.get("/api/files").status_code == 401
    assert browser.client.delete("/api/session").status_code == 204


def test_signing_in_again_is_another_session(app: Holdall, key: NewKey, browser: Browser) -> None:
    first, token = browser.cookie, browser.token
    other = new_key(app, "read")
    again = browser.client.post("/api/session", json={"key": other.secret}).get_json()
    assert browser.cookie != first and again["csrf_token"] != token
    assert again["scopes"] == ["read"]


def test_no_page_elsewhere_signs_its_visitor_in_or_out(app: Holdall, key: NewKey) -> None:
    client = app.test_client(use_cookies=False)
    for headers in (OPAQUE, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "same-site"}):
        refused = client.post("/api/session", json={"key": key.secret}, headers=headers)
        assert code(refused) == (403, "cross_site")
        assert code(client.delete("/api/session", headers=headers)) == (403, "cross_site")
    form = client.post("/api/session", data=f'{{"key": "{key.secret}"}}', content_type="text/plain")
    assert form.status_code == 415


# What ends a session


def test_a_revoked_key_ends_its_sessions_at_once(app: Holdall, key: NewKey) -> None:
    browser = Browser(app, key.secret)
    file = private_file(app, key.secret)
    assert browser.client.get(file["url"]).data == b"mine"
    parts(app).keys.revoke(EVERYONE, key.info.id)
    assert browser.client.get("/api/session").get_json()["signed_in"] is False
    assert code(browser.client.get("/api/files")) == (401, "unauthorized")
    assert browser.client.get(file["url"]).status_code == 404
    assert browser.ask("PUT", "/api/upload/b.txt", data=b"x").status_code == 401


def test_an_expired_key_ends_its_sessions_at_once(app: Holdall, key: NewKey) -> None:
    browser = Browser(app, key.secret)
    with database_of(app).write() as session:
        session.execute(update(ApiKey).values(expires_at=now()))
    assert browser.client.get("/api/files").status_code == 401


def test_a_session_may_do_what_its_key_may_do_now(app: Holdall) -> None:
    browser = Browser(app, new_key(app, "read").secret)
    assert code(browser.ask("PUT", "/api/upload/a.txt", data=b"x")) == (403, "forbidden")
    with database_of(app).write() as session:
        session.execute(update(ApiKey).values(scopes=["write"]))
    assert browser.ask("PUT", "/api/upload/a.txt", data=b"x").status_code == 201
    assert code(browser.client.get("/api/files")) == (403, "forbidden")


def test_a_session_ends_after_twelve_hours_used_or_not(app: Holdall, key: NewKey) -> None:
    moment = time.time()
    sessions = Sessions([SECRET], parts(app).keys, clock=lambda: moment)
    cookie = sessions.begin(key.secret, None).cookie
    moment += LASTS - 2
    assert sessions.find(cookie) is not None
    moment += 2
    assert sessions.find(cookie) is None


def test_a_cookie_that_we_have_not_signed_is_no_session(app: Holdall, browser: Browser) -> None:
    statement, _, signature = browser.cookie.rpartition(".")
    session_id, owner, issued, expires = statement.split(".")
    longer = f"{session_id}.{owner}.{issued}.{int(expires) + 1}"
    other = f"{session_id}.{new_key(app, 'admin').info.id}.{issued}.{expires}"
    forged = [
        "",
        "anything",
        statement,
        f"{longer}.{signature}",
        f"{other}.{signature}",
        f"{statement}.{browser.token}",
        f"{browser.cookie}A",
        f" {statement}..{signature}",
        f"{statement}.{signature[:-1]}{chr(ord(signature[-1]) ^ 1)}",
    ]
    for each in forged:
        client = app.test_client(use_cookies=False)
        told = client.get("/api/session", headers={"Cookie": f"{NAME}={each}"})
        assert told.get_json()["signed_in"] is False, each
    assert parts(app).sessions.find(browser.cookie) is not None


def test_an_earlier_secret_keeps_sessions_and_a_forgotten_one_ends_them(
    app: Holdall, key: NewKey, browser: Browser
) -> None:
    keys = parts(app).keys
    for secrets, good in ((["n" * 40, SECRET], True), (["n" * 40], False)):
        found = Sessions(secrets, keys).find(browser.cookie)
        assert (found is not None) is good
        if found is not None:
            Sessions(secrets, keys).require_token(found, browser.token)


# The cookie does not do by itself

CHANGES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("POST", "/api/upload", {"data": {"file": (BytesIO(b"x"), "x.txt")}}),
    ("PUT", "/api/upload/x.txt", {"data": b"x"}),
    ("POST", "/api/tus", {"headers": VERSION | {"Upload-Length": "1"}}),
    ("PATCH", "/api/tus/{id}", {"headers": VERSION | OFFSET_TYPE | {"Upload-Offset": "0"}}),
    ("POST", "/api/tus/{id}", {"headers": VERSION | {"X-HTTP-Method-Override": "DELETE"}}),
    ("DELETE", "/api/tus/{id}", {"headers": VERSION}),
    ("POST", "/api/direct", {"json": {"filename": "a", "size": 1}}),
    ("GET", "/api/direct/s3/params?filename=x.txt", {}),
    ("POST", "/api/files/delete", {"json": {"ids": ["{id}"]}}),
    ("POST", "/api/files/trash", {"json": {"ids": ["{id}"]}}),
    ("PATCH", "/api/files/{id}", {"json": {"filename": "b"}}),
    ("DELETE", "/api/files/{id}", {}),
    ("POST", "/api/files/{id}/link", {"json": {}}),
    ("POST", "/api/upload-links", {"json": {}}),
    ("POST", "/api/keys", {"json": {"name": "a", "scopes": ["admin"]}}),
)


def sent(client: FlaskClient, file_id: str, change: Any, **more: str) -> TestResponse:
    """Send one of CHANGES, aimed at a file, with further headers."""
    method, url, options = change
    options = {**options, "headers": options.get("headers", {}) | more}
    if "data" in options and isinstance(options["data"], dict):
        options["data"] = {"file": (BytesIO(b"x"), "x.txt")}
    if "json" in options and "ids" in options["json"]:
        options["json"] = {"ids": [file_id]}
    return client.open(url.replace("{id}", file_id), method=method, **options)


def test_no_change_is_made_for_a_cookie_without_the_token_of_its_session(
    app: Holdall, key: NewKey, browser: Browser
) -> None:
    file, other = private_file(app, key.secret), Browser(app, new_key(app, "admin").secret)
    same_key = Browser(app, key.secret)
    before, kept = rows(app), objects(app)
    for change in CHANGES:
        for token in (None, "", "null", other.token, same_key.token, browser.token[:-1], "é"):
            given = {} if token is None else {"X-CSRF-Token": token}
            answer = sent(browser.client, file["id"], change, **given)
            assert code(answer) == (403, "csrf_failed"), (change, token)
    assert (rows(app), objects(app)) == (before, kept)


def test_a_sandboxed_upload_that_is_opened_cannot_use_the_session(
    app: Holdall, key: NewKey, browser: Browser
) -> None:
    """Were the cookie sent for it, and did it know the token: its origin alone ends it."""
    page = b"<!doctype html><script>fetch('/api/files')</script>"
    url = f"/api/upload/a.html?collection={PRIVATE}"
    file = browser.ask("PUT", url, data=page).get_json()
    opened = browser.client.get(file["url"])
    assert "sandbox;" in opened.headers["Content-Security-Policy"]
    assert "allow-" not in opened.headers["Content-Security-Policy"]
    assert opened.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    before, kept = rows(app), objects(app)
    for change in CHANGES:
        for origin in ("null", "https://evil.example"):
            more = {"X-CSRF-Token": browser.token, "Origin": origin}
            answer = sent(browser.client, file["id"], change, **more)
            assert code(answer) == (403, "cross_site"), change
    # An image or a stylesheet is asked for by GET, without Origin.
    as_image = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "image"}
    refused = browser.client.get("/api/direct/s3/params?filename=x", headers=as_image)
    assert refused.status_code == 403
    assert (rows(app), objects(app)) == (before, kept)


@pytest.mark.parametrize("origins", ["*", "https://app.example.org"])
def test_a_page_elsewhere_reads_no_token_even_if_it_is_listed(
    app_with: MakeApp, origins: str
) -> None:
    app = keyed_app(app_with, CORS_ORIGINS=origins)
    browser = Browser(app, new_key(app, *ALL).secret)
    for origin in ("null", "https://app.example.org"):
        told = browser.client.get("/api/session", headers={"Origin": origin})
        assert "Access-Control-Allow-Credentials" not in told.headers
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        asked["Access-Control-Request-Headers"] = "x-csrf-token"
        preflight = browser.client.options("/api/files/trash", headers=asked)
        allowed = preflight.headers.get("Access-Control-Allow-Headers", "").lower()
        assert "x-csrf-token" not in allowed
        answer = browser.client.put("/api/upload/x.txt", data=b"x", headers={"Origin": origin})
        assert answer.status_code == 403
    assert objects(app) == []


# What it does


def test_a_session_uses_every_door_with_its_token(app: Holdall, browser: Browser) -> None:
    file = browser.ask("PUT", "/api/upload/a.txt", data=b"12").get_json()
    made = browser.ask("POST", "/api/tus", headers=VERSION | {"Upload-Length": "2"})
    where = re.sub(r"^https?://[^/]+", "", made.headers["Location"])
    offset = VERSION | OFFSET_TYPE | {"Upload-Offset": "0"}
    done = browser.ask("PATCH", where, data=b"12", headers=offset)
    assert (made.status_code, done.status_code) == (201, 204)
    assert browser.client.head(where, headers=VERSION).status_code == 200
    page = browser.client.get("/api/files").get_json()
    assert page["total"] == 2
    ids = {"ids": [item["id"] for item in page["items"]]}
    assert browser.ask("POST", "/api/files/trash", json=ids).get_json()["total"] == 2
    assert browser.ask("GET", "/api/direct/s3/params?filename=x.txt").status_code == 200
    assert browser.ask("DELETE", f"/api/files/{file['id']}").status_code == 204


def test_a_key_wins_over_a_cookie_and_a_link_over_both(app: Holdall, browser: Browser) -> None:
    reader = new_key(app, "read", collection=PRIVATE)
    told = browser.client.get("/api/session", headers=bearer(reader.secret)).get_json()
    assert (told["scopes"], told["csrf_token"]) == (["read"], None)
    refused = browser.ask("PUT", "/api/upload/a.txt", data=b"x", headers=bearer(reader.secret))
    assert code(refused) == (403, "forbidden")
    wrong = browser.client.get("/api/files", headers={"Authorization": WRONG})
    assert code(wrong) == (401, "unauthorized")
    writer = new_key(app, "write")
    put = browser.client.put("/api/upload/a.txt", data=b"x", headers=bearer(writer.secret))
    assert put.status_code == 201
    token = browser.ask("POST", "/api/upload-links", json={}).get_json()["token"]
    assert browser.client.put(f"/api/upload/b.txt?link={token}", data=b"x").status_code == 201


def test_a_private_file_with_a_cookie_is_for_this_browser_alone(
    app: Holdall, key: NewKey, browser: Browser
) -> None:
    file = private_file(app, key.secret)
    by_cookie = browser.client.get(file["url"], headers={"Range": "bytes=1-2"})
    by_key = holder(app, key.secret).get(file["url"], headers={"Range": "bytes=1-2"})
    assert (by_cookie.status_code, by_cookie.data) == (206, b"in")
    unlike = {"Date", "X-Request-ID"}
    headers = [
        {name: value for name, value in answer.headers.items() if name not in unlike}
        for answer in (by_cookie, by_key)
    ]
    assert headers[0] == headers[1]
    assert headers[0]["Cache-Control"] == "private, no-store"
    assert browser.client.head(file["url"]).status_code == 200
    stranger = Browser(app, new_key(app, *ALL).secret)
    for client in (stranger.client, app.test_client()):
        refused = client.get(file["url"])
        assert (refused.status_code, refused.headers["Cache-Control"]) == (404, "no-store")


def test_a_public_file_is_answered_the_same_with_a_cookie(app: Holdall, browser: Browser) -> None:
    file = browser.ask("PUT", "/api/upload/a.txt", data=b"everyone's").get_json()
    for url in (file["url"], f"/uploads/{file['id']}", file["url"] + "?download=1"):
        with_cookie, without = browser.client.get(url), app.test_client().get(url)
        assert with_cookie.headers["Cache-Control"].startswith("public")
        unlike = {"Date", "X-Request-ID"}
        seen = [
            (a.status_code, a.data, {n: v for n, v in a.headers.items() if n not in unlike})
            for a in (with_cookie, without)
        ]
        assert seen[0] == seen[1]
