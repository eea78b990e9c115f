"""Links behind a proxy: built on PUBLIC_URL or relative, and never on what a request says."""

import re
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.conftest import MakeApp

TUS = {"Tus-Resumable": "1.0.0", "Upload-Length": "4"}
OFFSET = "application/offset+octet-stream"
LIES = {
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Prefix": "/evil.example",
    "X-Forwarded-For": "192.0.2.1",
    "X-Original-URL": "https://evil.example/",
    "Forwarded": "host=evil.example",
}


def links(client: FlaskClient, headers: dict[str, str]) -> dict[str, str]:
    """Return each link that the service gives out, by what gives it."""
    made: Any = client.put("/api/upload/a.txt", data=b"text", headers=headers)
    assert made.status_code == 201, made.data
    client.put("/api/upload/b.txt", data=b"text")
    listed: Any = client.get("/api/files?limit=1", headers=headers)
    begun = client.post("/api/tus", headers=TUS | headers)
    told = TUS | headers | {"Upload-Offset": "0", "Content-Type": OFFSET}
    own = begun.location[begun.location.index("/api/tus/") :]
    ended = client.patch(own, data=b"text", headers=told)
    draft = {"Upload-Complete": "?0", "Upload-Draft-Interop-Version": "6"} | headers
    signed: Any = client.post(
        f"/api/files/{made.get_json()['id']}/link", json={"expires_in": 60}, headers=headers
    )
    upload: Any = client.post("/api/upload-links", json={"expires_in": 60}, headers=headers)
    following = re.fullmatch(r'<([^>]+)>; rel="next"', listed.headers["Link"])
    assert following
    return {
        "a file": made.get_json()["url"],
        "an upload": made.location,
        "a list": listed.get_json()["items"][0]["url"],
        "the next page": following[1],
        "a tus upload": begun.location,
        "its file": ended.headers["Upload-File-Url"],
        "a draft's upload": client.post("/api/tus", headers=draft).location,
        "a signed link": signed.get_json()["url"],
        "a link to upload": upload.get_json()["url"],
        "a link to upload by tus": upload.get_json()["tus_url"],
    }


@pytest.mark.parametrize("lies", [{}, LIES])
@pytest.mark.parametrize(
    "public_url", ["", "https://files.example", "https://example.org:8443/our/files"]
)
def test_every_link_is_of_the_public_url_or_relative(
    app_with: MakeApp, public_url: str, lies: dict[str, str]
) -> None:
    variables = {"PUBLIC_URL": public_url} if public_url else {}
    client = app_with(TRUSTED_PROXIES="127.0.0.1,192.0.2.0/24", HOST="0.0.0.0", **variables)
    for giver, link in links(client.test_client(), lies).items():
        assert link.startswith((f"{public_url}/uploads/", f"{public_url}/api/")), (giver, link)
        assert "evil" not in link
