"""The list on the page: ten thousand rows, search, filters, keys, the table and the grid."""

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.driving import Visit
from tests.support.service import Service, running

MANY = 10_000
DRAWN = 80


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with ten thousand files, that are rows alone."""
    with running(tmp_path_factory.mktemp("full"), WEB_CONCURRENCY="1") as service:
        model = service.request("PUT", "/api/upload/model.txt", b"model").json()
        fill(service.data / "app.db", model["id"])
        yield service


def fill(database: Path, model: str) -> None:
    """Copy the row of one file, with other ids and names."""
    with sqlite3.connect(database) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(files)")]
        kept = [column for column in columns if column != "number"]
        values = {
            "id": "replace(substr('aaaaaaaaaaaaaaaaaaaaaaaaaa' || replace(replace(replace(replace("
            "n, '0', 'z'), '1', 'y'), '8', 'x'), '9', 'w'), -26), ' ', '')",
            "key": "key || n",
            "filename": "printf('file %05d.txt', n)",
            "folded": "printf('file %05d.txt', n)",
            "size": "n",
        }
        chosen = ", ".join(values.get(column, f'"{column}"') for column in kept)
        named = ", ".join(f'"{column}"' for column in kept)
        connection.execute(
            f"WITH RECURSIVE numbers(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM numbers"
            f" WHERE n < {MANY}) INSERT INTO files ({named}) SELECT {chosen} FROM numbers, files"
            " WHERE files.id = ?",
            (model,),
        )
        connection.execute("UPDATE counters SET files = ?", (MANY,))
    connection.close()


def test_ten_thousand_rows_are_scrolled_and_few_are_elements(page: Page, full: Service) -> None:
    visit = Visit.to(page, full)
    expect(page.locator("#count")).to_have_text("10,000 files")
    assert visit.row("file 10000.txt").is_visible()
    page.locator("#files").evaluate("(files) => { files.scrollTop = files.scrollHeight; }")
    expect(visit.row("model.txt")).to_be_visible()
    assert visit.rows.count() < DRAWN
    page.locator("#files").evaluate("(files) => { files.scrollTop = files.scrollHeight / 2; }")
    expect(visit.row("file 05000.txt")).to_be_visible()
    assert visit.rows.count() < DRAWN
    assert page.evaluate("document.querySelectorAll('*').length") < 2500
    page.get_by_role("button", name="Grid").click()
    expect(page.locator(".card[data-id]").first).to_be_visible()
    assert page.locator(".card[data-id]").count() < 2 * DRAWN
    visit.fine()


def test_search_while_typing_shows_what_was_typed_last(page: Page, full: Service) -> None:
    visit = Visit.to(page, full)

    def dawdle(route: object) -> None:
        """Hold back the answer to what was typed first, until after the second."""
        time.sleep(0.4)
        route.continue_()  # type: ignore[attr-defined]

    page.route("**/api/files?*q=file+0123&*", dawdle)
    page.keyboard.press("/")
    page.keyboard.type("file 0123")
    page.wait_for_timeout(250)
    page.keyboard.type("4")
    expect(page.locator("#count")).to_have_text("1 file")
    expect(visit.row("file 01234.txt")).to_be_visible()
    page.wait_for_timeout(500)
    expect(page.locator("#count")).to_have_text("1 file")
    assert "q=file+01234" in page.url
    page.keyboard.press("Escape")
    expect(page.locator("#count")).to_have_text("10,000 files")
    visit.fine()


def test_orders_and_filters_are_in_the_address_and_back_goes_back(visit: Visit) -> None:
    visit.put("b.txt", b"small")
    visit.put("a.txt", b"larger than the other")
    visit.put("c.gif", b"GIF89a\x01\x00\x01\x00\x00\x00\x00;")
    visit.open()
    page = visit.page
    page.get_by_role("columnheader", name="Name").get_by_role("button").click()
    expect(visit.rows.first).to_contain_text("a.txt")
    expect(page.get_by_role("columnheader", name="Name")).to_have_attribute(
        "aria-sort", "ascending"
    )
    page.get_by_label("Type").select_option("Images")
    expect(visit.rows).to_have_count(1)
    page.reload()
    expect(visit.rows).to_have_count(1)
    page.go_back()
    expect(visit.rows).to_have_count(3)
    expect(visit.rows.first).to_contain_text("a.txt")
    page.get_by_label("Type").select_option("Video")
    expect(page.get_by_role("heading", name="Nothing matches")).to_be_visible()


def test_keys_move_select_and_open(visit: Visit) -> None:
    for name in ("three.txt", "two.txt", "one.txt"):
        visit.put(name, name.encode())
    visit.open()
    page = visit.page
    visit.row("one.txt").focus()
    page.keyboard.press("ArrowDown")
    expect(visit.row("two.txt")).to_be_focused()
    page.keyboard.press("Shift+ArrowDown")
    expect(page.locator("#selection")).to_contain_text("2 files selected")
    page.keyboard.press("Control+a")
    expect(page.locator("#selection")).to_contain_text("3 files selected")
    page.keyboard.press("Escape")
    expect(page.locator("#selection")).to_be_hidden()
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="one.txt")
    expect(dialog.locator(".text-view")).to_have_text("one.txt")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("dialog", name="two.txt")).to_be_visible()
    page.keyboard.press("Escape")
    expect(visit.row("two.txt")).to_be_focused()
    visit.fine()


def test_a_list_that_cannot_be_had_says_so_and_can_be_asked_for_again(visit: Visit) -> None:
    visit.put("one.txt", b"one")
    visit.page.route("**/api/files?*", lambda route: route.abort())
    visit.page.get_by_label("Sort by").select_option("Largest")
    expect(visit.page.get_by_role("heading", name="The files can't be listed")).to_be_visible()
    visit.page.unroute("**/api/files?*")
    visit.page.get_by_role("button", name="Try again").click()
    expect(visit.row("one.txt")).to_be_visible()
