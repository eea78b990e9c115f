"""Signing in with a key on the page, and what a session may and may not do."""

import json
import subprocess
import sys

import pytest
from playwright.sync_api import Page, expect

from tests.browser.driving import Visit
from tests.support.service import ROOT, Service


@pytest.fixture(scope="module")
def admin(keyed: Service) -> str:
    """The first key, made by the command, as whoever runs the service does."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "DATA_DIR": str(keyed.data),
        "PYTHONPATH": str(ROOT),
        **keyed.variables,
    }
    command = [sys.executable, "-m", "flask", "--app", "app", "keys", "create", "--name", "admin"]
    done = subprocess.run(
        [*command, "--scopes", "admin", "--json"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["key"])


def make_key(service: Service, admin: str, *scopes: str) -> str:
    """Make a further key."""
    answer = service.request(
        "POST",
        "/api/keys",
        json.dumps({"name": "page", "scopes": scopes}).encode(),
        Content_Type="application/json",
        Authorization=f"Bearer {admin}",
    )
    assert answer.status == 201, answer.body
    return str(answer.json()["key"])


@pytest.fixture(scope="module")
def key(keyed: Service, admin: str) -> str:
    return make_key(keyed, admin, "read", "write", "delete")


def enter(page: Page, service: Service, key: str) -> Visit:
    """Open the page and sign in."""
    page.goto(service.url)
    page.get_by_label("API key").fill(key)
    page.keyboard.press("Enter")
    visit = Visit(page, service)
    visit.settled()
    return visit


def test_a_key_signs_in_and_is_not_kept_in_the_browser(
    page: Page, keyed: Service, key: str
) -> None:
    page.goto(keyed.url)
    expect(page.get_by_label("API key")).to_be_focused()
    page.get_by_label("API key").fill("holdall_wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert").filter(has_text="This key isn't good here")).to_be_visible()
    visit = enter(page, keyed, key)
    visit.drop({"mine.txt": ("text/plain", b"mine")})
    expect(visit.row("mine.txt")).to_be_visible()
    kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
    assert key not in kept and page.evaluate("document.cookie") == ""
    cookie = page.context.cookies()[0]
    assert cookie["httpOnly"] and cookie["sameSite"] in ("Lax", "Strict")
    assert key not in cookie["value"]
    page.reload()
    expect(visit.row("mine.txt")).to_be_visible()
    page.get_by_role("button", name="Account").click()
    page.get_by_role("menuitem", name="Sign out").click()
    expect(page.get_by_label("API key")).to_be_visible()
    assert page.evaluate("fetch('api/files').then((answer) => answer.status)") == 401


def test_a_change_without_the_token_of_the_session_is_refused(
    page: Page, keyed: Service, key: str
) -> None:
    visit = enter(page, keyed, key)
    visit.drop({"guarded.txt": ("text/plain", b"guarded")})
    expect(visit.row("guarded.txt")).to_be_visible()
    told = page.evaluate(
        """async () => {
            const { items } = await (await fetch("api/files")).json();
            const asked = (headers) => fetch("api/files/trash", {
                method: "POST",
                headers: { "Content-Type": "application/json", ...headers },
                body: JSON.stringify({ ids: items.map((item) => item.id) }),
            });
            const bare = await asked({});
            const wrong = await asked({ "X-CSRF-Token": "made-up" });
            return [bare.status, (await bare.json()).code, wrong.status];
        }"""
    )
    assert told == [403, "csrf_failed", 403]
    expect(visit.row("guarded.txt")).to_be_visible()
    visit.menu("guarded.txt", "Delete")
    expect(visit.toast("moved to the trash")).to_be_visible()


def test_a_key_that_may_only_read_is_offered_nothing_else(
    page: Page, keyed: Service, admin: str
) -> None:
    visit = enter(page, keyed, make_key(keyed, admin, "read"))
    expect(page.get_by_role("heading", name="Room for everything")).to_be_visible()
    expect(page.get_by_role("button", name="Upload")).to_be_hidden()
    visit.drop({"not.txt": ("text/plain", b"not")})
    expect(visit.uploads).to_be_hidden()


def test_an_ended_session_asks_again_and_the_upload_goes_on(
    page: Page, keyed: Service, key: str
) -> None:
    visit = enter(page, keyed, key)
    page.context.clear_cookies()
    visit.drop({"later.txt": ("text/plain", b"later")})
    expect(page.get_by_text("Your session has ended")).to_be_visible()
    page.get_by_label("API key").fill(key)
    page.keyboard.press("Enter")
    expect(visit.row("later.txt")).to_be_visible()
