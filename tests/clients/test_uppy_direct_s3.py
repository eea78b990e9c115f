"""Uppy's S3 plugin in a real browser, on a page of another origin, in `keys` mode.

The page has a signed upload link, or a key for the way in which Uppy lets the page sign. With S3
the bytes go from the browser to the real store, by the rules of its bucket; with local disk the
same plugin sends them to the service.
"""

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import boto3.session
import pytest
import requests
from botocore.config import Config

from tests.clients.driving import HERE, content_of
from tests.clients.test_uppy import MIB, Page, _PageHandler, browsing
from tests.conftest import SECRET, s3_variables
from tests.support.service import ROOT, Service, running

PICTURE: Final = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\6\0\0\0"
LARGE: Final = 150 * MIB
CHUNK: Final = 16 * MIB
NAME: Final = "Grüße 🎉.png"


def content(size: int, *, picture: bool) -> bytes:
    """Return `size` bytes, which begin as a picture does or as nothing known."""
    rest = content_of(size, seed="direct")
    return (PICTURE + rest)[:size] if picture else b"\0" * 64 + rest[64:]


class DirectHandler(_PageHandler):
    """Gives the page, the plugin, and content of the size that is asked for."""

    files: ClassVar = _PageHandler.files | {"/": ("text/html", HERE / "direct_page.html")}

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path != "/content":
            super().do_GET()
            return
        asked = parse_qs(parts.query)
        body = content(int(asked["size"][0]), picture="nothing" not in asked)
        self._answer("application/octet-stream", body)


class DirectPage(Page):
    def __init__(self) -> None:
        super().__init__()
        self.RequestHandlerClass = DirectHandler


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """The page, of an origin that the services list."""
    with DirectPage() as page:
        thread = threading.Thread(target=page.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield page
        finally:
            page.shutdown()
            thread.join()


@dataclass(frozen=True, slots=True)
class Site:
    """A service in `keys` mode with a key that may do anything, and its bucket where it has one."""

    service: Service
    key: str
    bucket: Any = None

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.key}"}
        return requests.request(
            method, self.service.url + path, headers=headers, timeout=60, **options
        )

    def link(self, **asked: Any) -> str:
        """Return where a client with a signed upload link and nothing else begins."""
        answer = self.ask("POST", "/api/upload-links", json=asked)
        assert answer.status_code == 201, answer.text
        return f"{self.service.url}/api/direct/by/{answer.json()['token']}"

    def stored(self) -> list[str]:
        """Return all that is stored, unfinished uploads too."""
        if self.bucket is None:
            return [path.name for path in self.service.stored()]
        objects = [each.key for each in self.bucket.objects.all()]
        return objects + [each.object_key for each in self.bucket.multipart_uploads.all()]

    def file_at(self, url: str) -> Any:
        """Return what the API says of the file that a link leads to."""
        answer = self.ask("GET", "/api/files/" + urlsplit(url).path.split("/")[2])
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def on_s3(
    request: pytest.FixtureRequest, page: Page, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """A service whose bucket takes requests of the page's origin."""
    variables = s3_variables(request)
    url = urlsplit(variables["STORAGE_S3_URL"])
    session = boto3.session.Session(
        variables["STORAGE_S3_ACCESS_KEY_ID"], variables["STORAGE_S3_SECRET_ACCESS_KEY"]
    )
    resource = session.resource(
        "s3",
        endpoint_url=parse_qs(url.query)["endpoint"][0],
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )
    folder = tmp_path_factory.mktemp("uppy-s3")
    with closing(resource.meta.client), site(folder, page, **variables) as on_s3:
        bucket = resource.Bucket(url.netloc)
        rule: Any = {
            "AllowedOrigins": [page.origin],
            "AllowedMethods": ["PUT", "POST"],
            "AllowedHeaders": ["*"],
            "ExposeHeaders": ["ETag"],
            "MaxAgeSeconds": 3600,
        }
        bucket.Cors().put(CORSConfiguration={"CORSRules": [rule]})
        yield Site(on_s3.service, on_s3.key, bucket)


@pytest.fixture(scope="module")
def on_disk(page: Page, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A service on local disk."""
    with site(tmp_path_factory.mktemp("uppy-disk"), page) as on_disk:
        yield on_disk


@contextmanager
def site(folder: Path, page: Page, **variables: str) -> Iterator[Site]:
    """Run a service in `keys` mode that lists the page's origin, and make its first key."""
    chosen = {"AUTH_MODE": "keys", "SECRET_KEY": SECRET, "CORS_ORIGINS": page.origin}
    with running(folder, **chosen, **variables, WEB_CONCURRENCY="1") as service:
        made = subprocess.run(
            [
                sys.executable,
                "-m",
                *("flask", "--app", "app", "keys", "create"),
                *("--name", "first", "--scopes", "admin"),
            ],
            cwd=ROOT,
            env=os.environ | chosen | variables | {"DATA_DIR": str(service.data)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert made.returncode == 0, made.stderr
        yield Site(service, made.stdout.strip())


def upload(page: Page, profile: Path, how: str, endpoint: str, size: int, **asked: Any) -> Any:
    """Have the page upload content of `size` bytes, and return what it tells."""
    query = {"how": how, "endpoint": endpoint, "size": size, "name": NAME, "chunk": CHUNK} | asked
    with browsing(f"{page.origin}/?{urlencode(query)}", profile):
        told = page.told.get(timeout=180)
    assert "error" not in told, told
    return told


def check_served(site: Site, url: str, size: int) -> None:
    """Check that a file's link gives the right bytes, and the API tells the right things."""
    digest = hashlib.sha256()
    with requests.get(url, stream=True, timeout=60) as answer:
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "image/png"
        for chunk in answer.iter_content(MIB):
            digest.update(chunk)
    assert digest.hexdigest() == hashlib.sha256(content(size, picture=True)).hexdigest()
    file = site.file_at(url)
    assert (file["filename"], file["size"]) == (NAME, size)


def test_150_mib_go_in_parts_straight_to_the_store(on_s3: Site, page: Page, tmp_path: Path) -> None:
    told = upload(page, tmp_path / "profile", "parts", on_s3.link(), LARGE)
    assert told["failed"] == [] and told["sent"] == 10, told
    (url,) = told["urls"]
    check_served(on_s3, url, LARGE)


def test_the_store_takes_nothing_from_a_page_that_is_not_listed(on_s3: Site, page: Page) -> None:
    """The rules of the bucket are what lets the page through."""
    begun = on_s3.ask("POST", "/api/direct", json={"filename": "a", "size": 1}).json()
    allowed = []
    for origin in (page.origin, "http://elsewhere.example"):
        headers = {"Origin": origin, "Access-Control-Request-Method": "PUT"}
        answer = requests.options(begun["url"], headers=headers, timeout=30)
        allowed.append(answer.headers.get("Access-Control-Allow-Origin"))
    assert allowed == [page.origin, None]


@pytest.mark.parametrize("how", ("parts", "form"))
def test_a_wrong_type_is_refused_in_the_end_with_its_bytes_gone(
    on_s3: Site, page: Page, tmp_path: Path, how: str
) -> None:
    pictures = {"allowed_types": ["image/*"]}
    on_s3.ask("PUT", "/api/collections/pictures", json=pictures).raise_for_status()
    before = on_s3.stored()
    link = on_s3.link(collection="pictures")
    told = upload(page, tmp_path / "profile", how, link, 20 * MIB, nothing="1")
    assert told["sent"] == (2 if how == "parts" else 0)
    if how == "parts":
        assert told["urls"] == [] and "UNSUPPORTED MEDIA TYPE" in told["failed"][0].upper()
    else:
        assert [answer["status"] for answer in told["confirmed"]] == [415]
    assert on_s3.stored() == before
    assert on_s3.ask("GET", "/api/files?collection=pictures").json()["total"] == 0


def test_a_form_goes_straight_to_the_store(on_s3: Site, page: Page, tmp_path: Path) -> None:
    told = upload(page, tmp_path / "profile", "form", on_s3.link(), 6 * MIB)
    check_confirmed(on_s3, told, 6 * MIB)


def test_one_put_that_the_page_has_signed_goes_straight_to_the_store(
    on_s3: Site, page: Page, tmp_path: Path
) -> None:
    endpoint = f"{on_s3.service.url}/api/direct"
    told = upload(page, tmp_path / "profile", "put", endpoint, 6 * MIB, key=on_s3.key)
    check_confirmed(on_s3, told, 6 * MIB)


def test_the_same_plugin_sends_to_local_disk(on_disk: Site, page: Page, tmp_path: Path) -> None:
    told = upload(page, tmp_path / "parts", "parts", on_disk.link(), 40 * MIB)
    assert told["failed"] == [] and told["sent"] == 3, told
    check_served(on_disk, told["urls"][0], 40 * MIB)
    told = upload(page, tmp_path / "form", "form", on_disk.link(), 6 * MIB)
    check_confirmed(on_disk, told, 6 * MIB)
    endpoint = f"{on_disk.service.url}/api/direct"
    told = upload(page, tmp_path / "put", "put", endpoint, 6 * MIB, key=on_disk.key)
    check_confirmed(on_disk, told, 6 * MIB)


def check_confirmed(site: Site, told: Any, size: int) -> None:
    """Check that an upload which the page has confirmed is served."""
    assert told["failed"] == [], told
    (answer,) = told["confirmed"]
    assert answer["status"] == 201, answer
    check_served(site, site.service.url + answer["url"], size)
