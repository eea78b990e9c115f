"""Hostile files, hostile names and hostile sites: the page runs nothing of them."""

from playwright.sync_api import Page, expect

from tests.browser.driving import Visit
from tests.support.service import Service

MARK = "window.__ran = (window.__ran || 0) + 1"
NAME = f"<img src=x onerror='{MARK}'><script>{MARK}<!--script>.txt"
SVG = (
    f'<svg xmlns="http://www.w3.org/2000/svg" onload="{MARK};parent.{MARK}" width="40" height="40">'
    f"<script>{MARK};parent.{MARK}</script><rect width='40' height='40' fill='green'/></svg>"
).encode()
HTML = f"<!doctype html><script>{MARK};parent.{MARK}</script>".encode()


def test_a_name_that_is_a_script_is_text_wherever_it_stands(visit: Visit) -> None:
    page = visit.page
    visit.drop({NAME: ("text/plain", b"harmless")})
    expect(visit.row(NAME)).to_be_visible()
    expect(visit.upload(NAME)).to_be_visible()
    page.get_by_role("button", name="Grid").click()
    expect(page.locator(".card[data-id]")).to_contain_text(NAME)
    page.get_by_role("button", name="Table").click()
    visit.row(NAME).get_by_role("link").click()
    expect(page.get_by_role("dialog").get_by_role("heading")).to_have_text(NAME)
    page.keyboard.press("Escape")
    visit.menu(NAME, "Delete")
    expect(page.locator(".toast")).to_contain_text("<img src=x")
    page.get_by_role("link", name="Trash").click()
    visit.menu(NAME, "Delete for good")
    expect(page.get_by_role("dialog")).to_contain_text(NAME)
    assert page.evaluate("window.__ran") is None
    assert page.locator("img[src=x]").count() == 0
    visit.fine()


def test_scripts_in_files_do_not_run_in_the_preview(visit: Visit) -> None:
    page = visit.page
    visit.put("page.html", HTML)
    visit.put("drawing.svg", SVG)
    visit.put("fake.pdf", HTML)
    visit.open()
    for name in ("page.html", "drawing.svg", "fake.pdf"):
        visit.row(name).get_by_role("link").click()
        dialog = page.get_by_role("dialog", name=name)
        expect(dialog.locator(".text-view, .image-view")).to_be_visible()
        page.wait_for_timeout(150)
        page.keyboard.press("Escape")
    assert page.evaluate("window.__ran") is None
    visit.fine()


def test_the_policy_lets_no_script_in_and_no_other_host(page: Page, local: Service) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    visit = Visit.to(page, local)
    assert all(url.startswith(local.url) for url in asked)
    page.evaluate(
        f"""() => {{
            const script = document.createElement("script");
            script.textContent = "{MARK}";
            document.body.append(script);
            const holder = document.createElement("div");
            holder.innerHTML = `<img src=x onerror="{MARK}">`;
            document.body.append(holder);
        }}"""
    )
    page.wait_for_timeout(150)
    assert page.evaluate("window.__ran") is None
    assert any("Content Security Policy" in fault for fault in visit.faults)
