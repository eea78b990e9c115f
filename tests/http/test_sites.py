"""A page of another site writes nothing through its visitor's browser, and no name leads here.

What a real browser sends is in `tests/clients/test_browser_safety.py`.
"""

from io import BytesIO
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.conftest import SECRET, MakeApp, objects

APP = "https://app.example.org"
EVIL = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
WRITES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("POST", "/api/upload", {"data": {"file": (BytesIO(b"x"), "x.txt")}}),
    ("PUT", "/api/upload/x.txt", {"data": b"x"}),
    ("POST", "/api/tus", {"headers": {"Tus-Resumable": "1.0.0", "Upload-Length": "1"}}),
    ("POST", "/api/files/delete", {"json": {"ids": ["a" * 26]}}),
    ("PATCH", "/api/files/" + "a" * 26, {"json": {"filename": "b"}}),
    ("DELETE", "/api/files/" + "a" * 26, {}),
    ("GET", "/api/direct/s3/params?filename=x.txt", {}),
    ("DELETE", "/api/tus/" + "a" * 26, {"headers": {"Tus-Resumable": "1.0.0"}}),
)


def sent(client: FlaskClient, method: str, url: str, options: dict[str, Any], **more: str) -> Any:
    """Send one of WRITES with further headers."""
    again = dict(options)
    if "data" in again and isinstance(again["data"], dict):
        again["data"] = {"file": (BytesIO(b"x"), "x.txt")}
    headers = again.pop("headers", {}) | {n.replace("_", "-"): value for n, value in more.items()}
    return client.open(url, method=method, headers=headers, **again)


@pytest.mark.parametrize(("method", "url", "options"), WRITES)
@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:3000"])
def test_a_page_of_another_site_writes_nothing_in_open_mode(
    app_with: MakeApp, method: str, url: str, options: dict[str, Any], origin: str
) -> None:
    app = app_with(CORS_ORIGINS=APP)
    response = sent(app.test_client(), method, url, options, Origin=origin)
    assert response.status_code == 403
    assert response.json["code"] == "cross_site"
    assert "Access-Control-Allow-Origin" not in response.headers
    assert objects(app) == []


@pytest.mark.parametrize(("method", "url", "options"), WRITES)
def test_programs_own_pages_and_listed_pages_are_not_hindered(
    app_with: MakeApp, method: str, url: str, options: dict[str, Any]
) -> None:
    client = app_with(CORS_ORIGINS=APP, PUBLIC_URL="https://files.example.org").test_client()
    for headers in (
        {},
        {"Origin": "http://localhost"},
        {"Origin": "http://localhost", "Sec_Fetch_Site": "same-origin"},
        {"Origin": "https://files.example.org", "Host": "files.example.org"},
        {"Origin": APP, "Sec_Fetch_Site": "cross-site"},
    ):
        answer = sent(client, method, url, options, **headers)
        assert answer.status_code in (201, 200, 204, 404), headers


def test_the_refusal_comes_before_the_body(app_with: MakeApp) -> None:
    client = app_with().test_client()

    class Untouched(BytesIO):
        def read(self, *_: Any) -> bytes:
            raise AssertionError("the body was read")

    response = client.put(
        "/api/upload/x.txt", input_stream=Untouched(), content_length=10, headers=EVIL
    )
    assert response.status_code == 403


def test_a_method_in_a_header_does_not_get_around_it(local_client: FlaskClient) -> None:
    headers = {"X-HTTP-Method-Override": "DELETE", "Tus-Resumable": "1.0.0", **EVIL}
    response = local_client.post("/api/tus/" + "a" * 26, headers=headers)
    assert response.status_code == 403


def test_a_key_or_a_signed_link_is_not_ambient_and_a_cookie_is(app_with: MakeApp) -> None:
    client = app_with(AUTH_MODE="keys", SECRET_KEY=SECRET).test_client()
    refused = client.put("/api/upload/x.txt", data=b"x", headers=EVIL)
    assert (refused.status_code, refused.get_json()["code"]) == (401, "unauthorized")
    client.set_cookie("session", "anything")
    for origin in ("https://evil.example", "null"):
        refused = client.put("/api/upload/x.txt", data=b"x", headers={"Origin": origin})
        assert (refused.status_code, refused.get_json()["code"]) == (403, "cross_site")


class TestHosts:
    @pytest.mark.parametrize(
        "host", ["evil.example", "evil.example:5000", "127.0.0.1.nip.io", "10.0.0.1", "[::2]"]
    )
    @pytest.mark.parametrize("url", ["/api/files", "/api/health", "/uploads/x", "/metrics"])
    def test_a_name_that_was_made_to_lead_here_gets_nothing(
        self, local_client: FlaskClient, host: str, url: str
    ) -> None:
        response = local_client.get(url, headers={"Host": host})
        assert response.status_code == 403
        assert response.get_json()["code"] == "foreign_host"

    @pytest.mark.parametrize(
        "host", ["localhost:5000", "127.0.0.1", "[::1]:5000", "LOCALHOST", "files.example.org"]
    )
    def test_this_machine_and_the_public_url_are_answered(
        self, app_with: MakeApp, host: str
    ) -> None:
        client = app_with(PUBLIC_URL="https://Files.example.org/").test_client()
        assert client.get("/api/files", headers={"Host": host}).status_code == 200

    def test_where_keys_decide_or_the_network_is_meant_any_name_will_do(
        self, app_with: MakeApp
    ) -> None:
        for variables in ({"AUTH_MODE": "keys", "SECRET_KEY": SECRET}, {"HOST": "0.0.0.0"}):
            client = app_with(**variables).test_client()
            answer = client.get("/api/health", headers={"Host": "nas.lan"})
            assert answer.status_code == 200

    def test_figures_for_this_machine_are_for_its_own_names_in_every_mode(
        self, app_with: MakeApp
    ) -> None:
        client = app_with(AUTH_MODE="keys", SECRET_KEY=SECRET).test_client()
        assert client.get("/metrics").status_code == 200
        assert client.get("/metrics", headers={"Host": "evil.example"}).status_code == 403


def test_answers_of_the_api_are_taken_for_what_they_are_and_kept_from_pages_elsewhere(
    local_client: FlaskClient,
) -> None:
    for url in ("/api/files", "/api/health", "/api/no-such-thing"):
        headers = local_client.get(url).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


@pytest.mark.parametrize(
    "listed", ["http://[::1]:3000", "https://app.example.org", "HTTPS://APP.example.org"]
)
def test_an_origin_is_listed_as_it_stands_and_not_as_a_pattern(
    app_with: MakeApp, listed: str
) -> None:
    client = app_with(CORS_ORIGINS=f"{listed},https://other.example").test_client()
    exact = client.get("/api/files", headers={"Origin": listed.lower()})
    assert exact.headers["Access-Control-Allow-Origin"] == listed.lower()
    for origin in (
        f"{listed.lower()}.evil.example",
        listed.lower().replace("app.", "appx"),
        "null",
    ):
        if origin != listed.lower():
            other = client.get("/api/files", headers={"Origin": origin})
            assert "Access-Control-Allow-Origin" not in other.headers
    assert "Access-Control-Allow-Origin" not in client.get("/api/files").headers
