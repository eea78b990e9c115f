"""What the page is made of, as it goes over the wire: small, typed, cached, and of one version."""

import gzip
import re
from pathlib import PurePosixPath

from flask.testing import FlaskClient
from playwright.sync_api import BrowserContext, Page

from tests.browser.driving import Visit
from tests.conftest import MakeApp
from tests.support.service import Service
from views.pages import ROOT, TYPES

FIRST_LOAD = 100_000
MAIN_THREAD = 0.2
GZIP = {"Accept-Encoding": "gzip"}


def parts_of(client: FlaskClient) -> list[str]:
    """Return the addresses of all that the page asks for, in order, each once."""
    page = client.get("/").text
    return list(dict.fromkeys(re.findall(r'(?:href|src)="(static/[^"]+)"', page)))


def test_the_first_load_is_small_with_all_that_it_asks_for(local_client: FlaskClient) -> None:
    sizes = {
        path: len(local_client.get(path, headers=GZIP).data)
        for path in ("/", *parts_of(local_client))
    }
    assert sum(sizes.values()) < FIRST_LOAD, sizes
    made_of = {path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.*")}
    asked = {path.split("/", 2)[2] for path in parts_of(local_client)}
    assert asked == made_of, "nothing lies there unused, and no module waits for another"


def test_each_part_has_its_type_and_is_kept_for_good(local_client: FlaskClient) -> None:
    for path in parts_of(local_client):
        answer = local_client.get(path)
        assert answer.content_type == TYPES[PurePosixPath(path).suffix]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "immutable" in answer.headers["Cache-Control"]
        again = local_client.get(path, headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")


def test_an_older_version_of_a_part_is_this_one_and_not_kept(local_client: FlaskClient) -> None:
    (path,) = (path for path in parts_of(local_client) if path.endswith("main.js"))
    older = local_client.get(re.sub("static/[^/]+/", "static/0123/", path))
    assert older.data == local_client.get(path).data
    assert older.headers["Cache-Control"] == "no-cache"


def test_what_is_no_part_is_not_found(local_client: FlaskClient) -> None:
    version = parts_of(local_client)[0].split("/")[1]
    for name in ("none.js", "../app.py", "%2e%2e/app.py", "js", "js/main.js/"):
        answer = local_client.get(f"/static/{version}/{name}")
        assert answer.status_code == 404
        assert answer.json == {"error": "Resource not found", "code": "not_found"}


def test_packed_and_plain_are_two_answers_of_one_part(local_client: FlaskClient) -> None:
    plain, packed = local_client.get("/"), local_client.get("/", headers=GZIP)
    assert gzip.decompress(packed.data) == plain.data
    assert plain.headers["ETag"] != packed.headers["ETag"]
    assert plain.headers["Vary"] == packed.headers["Vary"] == "Accept-Encoding"
    head = local_client.head("/", headers=GZIP)
    assert (head.data, head.headers["Content-Length"]) == (b"", str(len(packed.data)))


def test_the_policy_names_this_service_and_stores_that_links_lead_to(app_with: MakeApp) -> None:
    policy = app_with().test_client().get("/").headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
    assert "unsafe" not in policy and "http" not in policy
    store = app_with(
        STORAGE_S3_URL="s3://bucket?endpoint=http://minio:9000",
        STORAGE_S3_PUBLIC_ENDPOINT="https://files.example.org",
        STORAGE_S3_ACCESS_KEY_ID="id",
        STORAGE_S3_SECRET_ACCESS_KEY="secret",
    )
    policy = store.test_client().get("/").headers["Content-Security-Policy"]
    assert "img-src 'self' blob: https://files.example.org;" in policy
    assert "minio" not in policy and "script-src 'self';" in policy


def test_the_first_load_keeps_the_browser_busy_for_a_moment_only(
    context: BrowserContext, page: Page, local: Service
) -> None:
    session = context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    Visit.to(page, local)
    told = session.send("Performance.getMetrics")["metrics"]
    spent = {each["name"]: each["value"] for each in told}
    busy = sum(spent[name] for name in ("ScriptDuration", "LayoutDuration", "RecalcStyleDuration"))
    assert busy < MAIN_THREAD, spent
