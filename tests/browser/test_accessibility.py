"""axe-core finds nothing to complain of, in each state and both themes; and what it cannot see."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.driving import Visit
from tests.support.service import Service

RUN = """async () => {
    const found = await axe.run(document, { resultTypes: ["violations"] });
    return found.violations.flatMap((violation) => violation.nodes.map(
        (node) => `${violation.id}: ${node.html.slice(0, 160)} ${node.failureSummary}`));
}"""
State = Callable[[Visit], None]


def listed(visit: Visit) -> None:
    visit.row("one.txt").hover()


def grid(visit: Visit) -> None:
    visit.page.get_by_role("button", name="Grid").click()
    expect(visit.page.locator(".card[data-id]").first).to_be_visible()


def selected(visit: Visit) -> None:
    visit.page.get_by_role("button", name="Table").click()
    visit.page.get_by_label("Select one.txt").click()


def menu(visit: Visit) -> None:
    visit.page.keyboard.press("Escape")
    visit.row("one.txt").get_by_role("button", name="More").click()


def link(visit: Visit) -> None:
    visit.page.get_by_role("menuitem", name="Signed link").click()
    visit.page.get_by_role("button", name="Make the link").click()
    expect(visit.page.get_by_role("textbox", name="Signed link")).to_be_visible()


def preview(visit: Visit) -> None:
    visit.page.keyboard.press("Escape")
    visit.row("one.txt").get_by_role("link").click()
    expect(visit.page.locator(".text-view")).to_have_text("one")


def uploads(visit: Visit) -> None:
    visit.page.keyboard.press("Escape")
    visit.page.route("**/api/tus", lambda route: route.abort())
    visit.drop({"late.txt": ("text/plain", b"late")})
    expect(visit.upload("late.txt")).to_contain_text("No connection")


def trash(visit: Visit) -> None:
    visit.upload("late.txt").get_by_role("button", name="Cancel").click()
    visit.menu("one.txt", "Delete")
    expect(visit.toast("moved")).to_be_visible()
    visit.page.get_by_role("link", name="Trash").click()
    expect(visit.rows).to_have_count(1)


def nothing(visit: Visit) -> None:
    visit.page.get_by_label("Search files by name").fill("nothing is called so")
    expect(visit.page.get_by_role("heading", name="Nothing matches")).to_be_visible()


STATES: tuple[State, ...] = (
    listed, grid, selected, menu, link, preview, uploads, trash, nothing
)  # fmt: skip


def violations(page: Page, axe: str) -> list[str]:
    page.evaluate(axe)
    found: list[str] = page.evaluate(RUN)
    return found


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_state_of_the_page_breaks_a_rule(visit: Visit, axe: str, theme: str) -> None:
    visit.page.emulate_media(color_scheme=theme, reduced_motion="reduce")  # type: ignore[arg-type]
    visit.put("one.txt", b"one")
    visit.put("two.txt", b"two")
    visit.open()
    for state in STATES:
        state(visit)
        assert violations(visit.page, axe) == [], state.__name__
    visit.fine()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_signing_in_breaks_no_rule(page: Page, keyed: Service, axe: str, theme: str) -> None:
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
    page.goto(keyed.url)
    page.get_by_label("API key").fill("wrong")
    page.keyboard.press("Enter")
    expect(page.locator("#key-problem")).not_to_be_empty()
    assert violations(page, axe) == []


def test_the_narrow_page_opens_its_places_by_key_and_gives_the_focus_back(visit: Visit) -> None:
    page = visit.page
    page.set_viewport_size({"width": 320, "height": 640})
    opener = page.get_by_role("button", name="Menu")
    opener.press("Enter")
    expect(page.get_by_role("link", name="All files", exact=True)).to_be_focused()
    page.keyboard.press("Escape")
    expect(opener).to_be_focused()
    expect(page.get_by_role("link", name="Trash")).to_be_hidden()


def test_what_happens_is_said_aloud(visit: Visit) -> None:
    visit.drop({"said.txt": ("text/plain", b"said")})
    expect(visit.page.locator("#polite")).to_have_text("1 file uploaded.")
    visit.menu("said.txt", "Delete")
    expect(visit.page.locator("#polite")).to_contain_text("moved to the trash. Undo is offered.")
