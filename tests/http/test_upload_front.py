"""The short way for small forms says what the framework's way says, and leaves the rest to it."""

import io
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import views.upload_front
from app import Holdall
from tests.conftest import MakeApp, objects, parts
from tests.support.keyed import bearer, keyed_app, new_key

FRAMEWORKS = {"Sec-Fetch-Site": "none"}
"""What makes the front hand a request on."""
VARY = ("id", "url", "created_at", "updated_at")
FORM = "multipart/form-data; boundary=b"
FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\nabc\r\n--b'


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the forms that the front took, or tried to."""
    taken, take = list[str](), views.upload_front.UploadFront._taken

    def noted(self: Any, environ: dict[str, Any]) -> dict[str, Any]:
        taken.append(environ["PATH_INFO"])
        return take(self, environ)

    monkeypatch.setattr(views.upload_front.UploadFront, "_taken", noted)
    return taken


def form(*names: str, **fields: str) -> dict[str, Any]:
    return {"file": [(io.BytesIO(b"some text"), name) for name in names], **fields}


def comparable(answer: TestResponse) -> Any:
    """Return what two uploads of the same have in common: all but ids and moments."""
    shown = answer.get_json()
    for item in shown.get("items", [shown]):
        item.update((name, bool(item[name])) for name in VARY if name in item)
    headers = {name: value for name, value in answer.headers if name != "X-Request-ID"}
    if "Location" in headers:
        headers["Location"] = headers["Location"].rpartition("/")[2]
    return answer.status_code, headers, shown


def both(client: FlaskClient, headers: dict[str, str], **sent: Any) -> list[Any]:
    path = "/api/upload"
    return [
        comparable(client.post(path, headers=headers | more, **{n: v() for n, v in sent.items()}))
        for more in ({}, FRAMEWORKS)
    ]


@pytest.mark.parametrize("public_url", ("", "https://files.example"))
@pytest.mark.parametrize("names", (("größe.txt",), ("a.txt", "b.txt")))
def test_both_ways_answer_alike(
    app_with: MakeApp, ways: list[str], names: tuple[str, ...], public_url: str
) -> None:
    client = app_with(PUBLIC_URL=public_url, HOST="0.0.0.0").test_client()
    front, framework = both(client, {}, data=lambda: form(*names, note="ü"))
    assert front == framework
    assert (front[0], len(ways)) == (201, 1)


@pytest.mark.parametrize(
    ("content_type", "body"),
    (
        (FORM, FILE),
        (FORM, b"--b--\r\n"),
        (FORM, FILE.replace(b'name="file"', b"name") + b"--\r\n"),
        (FORM.replace("=b", "="), FILE),
    ),
    ids=("cut short", "empty", "malformed", "no boundary"),
)
def test_both_ways_refuse_alike_and_leave_nothing(
    local_app: Holdall, ways: list[str], content_type: str, body: bytes
) -> None:
    client = local_app.test_client()
    front, framework = both(client, {}, data=lambda: body, content_type=lambda: content_type)
    assert front == framework
    assert (front[0], len(ways)) == (400, 1)
    assert objects(local_app) == []


def test_a_key_is_asked_for_and_counted_once(app_with: MakeApp, ways: list[str]) -> None:
    app = keyed_app(app_with)
    client, good = app.test_client(), bearer(new_key(app, "write").secret)
    front, framework = both(client, good, data=lambda: form("a.txt"))
    assert (front, front[0], len(ways)) == (framework, 201, 1)
    front, framework = both(client, bearer(new_key(app, "read").secret), data=lambda: form("a.txt"))
    assert (front, front[0], len(ways)) == (framework, 403, 2)
    assert client.post("/api/upload", data=form("a.txt")).status_code == 401
    assert len(ways) == 2
    asked: list[Any] = []
    failures = parts(app).keys._failures
    failures.add = asked.append  # type: ignore[method-assign, assignment]
    wrong = client.post("/api/upload", data=form("a.txt"), headers=bearer("wrong"))
    assert (wrong.status_code, wrong.get_json()["code"]) == (401, "unauthorized")
    assert len(asked) == 1


@pytest.mark.parametrize(
    "headers",
    (
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "evil.example"},
        {"Content-Encoding": "gzip"},
        {"Idempotency-Key": "\x7f"},
    ),
)
def test_what_is_refused_before_a_view_is_none_of_its_business(
    local_app: Holdall, ways: list[str], headers: dict[str, str]
) -> None:
    answer = local_app.test_client().post("/api/upload", data=form("a.txt"), headers=headers)
    assert answer.status_code in (400, 403, 415)
    assert (ways, objects(local_app)) == ([], [])


def test_large_forms_and_listed_origins_go_the_usual_way(
    app_with: MakeApp, ways: list[str]
) -> None:
    large = {"file": (io.BytesIO(bytes(views.upload_front.SMALL)), "a.bin")}
    assert app_with().test_client().post("/api/upload", data=large).status_code == 201
    client = app_with(CORS_ORIGINS="*").test_client()
    answer = client.post("/api/upload", data=form("a.txt"))
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (201, "*")
    assert ways == []
