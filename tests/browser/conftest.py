"""One browser for the session, services for it to visit, and a fresh profile for each test."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.browser.driving import Visit
from tests.conftest import SECRET, s3_variables
from tests.support.service import Service, running

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
SECONDS = 20


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """A browser without a window.

    It goes when the tests of the page end: its driver has an event loop in the very thread that
    tests run in, where no other could run.
    """
    found = [path for name in BROWSERS if (path := shutil.which(name))]
    if not found:
        raise FileNotFoundError(f"none of {', '.join(BROWSERS)} is installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found[0], args=list(OPTIONS))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service on local disk, open to all."""
    with running(tmp_path_factory.mktemp("page"), WEB_CONCURRENCY="1") as service:
        yield service


@pytest.fixture(scope="session")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that asks for keys."""
    folder = tmp_path_factory.mktemp("keyed")
    variables = {"AUTH_MODE": "keys", "SECRET_KEY": SECRET, "WEB_CONCURRENCY": "1"}
    with running(folder, **variables) as service:
        yield service


@pytest.fixture(scope="session", params=["local", "s3"])
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Service:
    """A service on local disk, and one on S3."""
    if request.param == "local":
        service: Service = request.getfixturevalue("local")
        return service
    folder = tmp_path_factory.mktemp("page-s3")
    with_s3 = running(folder, WEB_CONCURRENCY="1", **s3_variables(request))
    service = with_s3.__enter__()
    request.addfinalizer(lambda: with_s3.__exit__(None, None, None))
    return service


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A profile of its own: no cookies, nothing remembered."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 800}, locale="en-GB", timezone_id="Europe/London"
    )
    context.set_default_timeout(SECONDS * 1000)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    """An empty page."""
    return context.new_page()


@pytest.fixture
def visit(page: Page, local: Service) -> Visit:
    """The page of a service with nothing in it."""
    return Visit.to(page, cleared(local))


@pytest.fixture
def stored_visit(page: Page, stored: Service) -> Visit:
    """The same on each store."""
    return Visit.to(page, cleared(stored))


@pytest.fixture(scope="session")
def axe() -> str:
    """The accessibility checker, as npm brings it."""
    script = Path(__file__).parents[1] / "clients" / "node_modules" / "axe-core" / "axe.min.js"
    if not script.exists():
        raise FileNotFoundError("axe-core is not installed: `make clients` does that")
    return script.read_text()


def cleared(service: Service) -> Service:
    """Delete every file and collection of a service that other tests have used."""
    for trashed in ("false", "true"):
        while items := service.request("GET", f"/api/files?limit=1000&trashed={trashed}").json()[
            "items"
        ]:
            ids = ",".join(f'"{item["id"]}"' for item in items)
            body = f'{{"ids": [{ids}]}}'.encode()
            answer = service.request(
                "POST", "/api/files/delete", body, Content_Type="application/json"
            )
            assert answer.status == 200
    for collection in service.request("GET", "/api/collections").json()["items"]:
        if collection["name"] != "default":
            service.request("DELETE", f"/api/collections/{collection['name']}")
    return service
