"""How the page looks at each width and in both themes: nothing sticks out, and pictures of it.

The pictures in `docs/pictures` are made here, with HOLDALL_PICTURES set to the folder.
"""

import base64
import os
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.driving import Visit

WIDTHS = {320: 640, 768: 900, 1440: 900}
PICTURES = os.environ.get("HOLDALL_PICTURES", "")
SHOWN = ("table-light-1440", "grid-dark-768", "table-light-320")
LARGEST = 150 * 1024
LONG = "A name that is much longer than the place that there is for it on any screen, in full.txt"
DRAW = """([title, from, to]) => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 480, height: 340 });
    const context = canvas.getContext("2d");
    const sky = context.createLinearGradient(0, 0, 0, 340);
    sky.addColorStop(0, from);
    sky.addColorStop(1, to);
    context.fillStyle = sky;
    context.fillRect(0, 0, 480, 340);
    context.fillStyle = "rgb(0 0 0 / 18%)";
    for (let ridge = 0; ridge < 3; ridge += 1) {
        context.beginPath();
        context.moveTo(0, 340);
        for (let x = 0; x <= 480; x += 8) {
            const wave = Math.sin(x / (60 + ridge * 25) + title.length + ridge * 2);
            context.lineTo(x, 190 + ridge * 45 + wave * 26);
        }
        context.lineTo(480, 340);
        context.fill();
    }
    return canvas.toDataURL("image/jpeg", 0.8).split(",")[1];
}"""
SKIES = {
    "Harbour at dawn.jpg": ("#f6b26b", "#5b4b8a"),
    "North ridge, second day.jpg": ("#a9d6e5", "#2c6e7f"),
    "Market street.jpg": ("#efe3bf", "#7f9f6b"),
    "Night ferry.jpg": ("#27335c", "#c9724b"),
    "Kitchen plan v2.jpg": ("#f4c6cf", "#8a4f6d"),
}
OTHERS = {
    "Minutes of the annual meeting.txt": b"Present: everybody.\n" * 60,
    "budget 2027.csv": b"what,how much\nrent,1200\npaper,80\n" * 400,
    "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "import.json": b'{"rows": []}' * 900,
    LONG: b"long",
}


def fill(visit: Visit) -> None:
    """Upload what a household might have."""
    for collection in ("paperwork", "photos"):
        path = f"/api/collections/{collection}"
        visit.service.request("PUT", path, b"{}", Content_Type="application/json")
    for name, content in OTHERS.items():
        visit.put(name, content, "paperwork")
    for name, colours in SKIES.items():
        visit.put(name, base64.b64decode(visit.page.evaluate(DRAW, [name, *colours])), "photos")


def sticks_out(page: Page) -> list[str]:
    """Return what is wider than the window, and buttons that lie outside of it."""
    found: list[str] = page.evaluate(
        """() => {
            const out = [];
            if (document.documentElement.scrollWidth > innerWidth) out.push("the page");
            for (const element of document.querySelectorAll("button, input, select, h1, .row")) {
                const { left, right, width } = element.getBoundingClientRect();
                const shown = element.checkVisibility({ visibilityProperty: true });
                const quiet = element.closest(".quiet, .skip");
                if (shown && !quiet && width && (left < -1 || right > innerWidth + 1)) {
                    out.push(element.outerHTML.slice(0, 120));
                }
            }
            return out;
        }"""
    )
    return found


def picture(visit: Visit, name: str, folder: Path) -> None:
    """Take a picture, and keep it with the documents where that is asked for."""
    page = visit.page
    page.wait_for_function(
        "() => [...document.images].every((image) =>"
        " image.closest('.seen') || image.getBoundingClientRect().top > innerHeight)"
    )
    kept = PICTURES and name in SHOWN
    path = (Path(PICTURES) if kept else folder) / f"{name}.png"
    page.screenshot(path=path, animations="disabled")
    assert path.stat().st_size < LARGEST
    assert sticks_out(page) == [], name


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nothing_sticks_out_at_any_width(visit: Visit, tmp_path: Path, theme: str) -> None:
    page = visit.page
    fill(visit)
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")  # type: ignore[arg-type]
    for width, height in WIDTHS.items():
        page.set_viewport_size({"width": width, "height": height})
        visit.open()
        expect(visit.rows).to_have_count(10)
        picture(visit, f"table-{theme}-{width}", tmp_path)
        page.get_by_role("button", name="Grid").click()
        expect(page.locator(".card[data-id]").first).to_be_visible()
        picture(visit, f"grid-{theme}-{width}", tmp_path)
        page.get_by_role("button", name="Table").click()


def test_uploads_and_dialogs_fit_the_smallest_screen(visit: Visit, tmp_path: Path) -> None:
    page = visit.page
    fill(visit)
    page.set_viewport_size({"width": 320, "height": 640})
    visit.open()
    page.get_by_label("Select all files").click()
    picture(visit, "selected-320", tmp_path)
    page.keyboard.press("Escape")
    visit.menu("Night ferry.jpg", "Signed link")
    page.get_by_role("button", name="Make the link").click()
    expect(page.get_by_role("textbox", name="Signed link")).to_be_visible()
    picture(visit, "link-320", tmp_path)
    page.keyboard.press("Escape")
    page.route("**/api/tus", lambda route: route.abort())
    visit.drop({"late.txt": ("text/plain", b"late")})
    expect(visit.upload("late.txt")).to_contain_text("No connection")
    picture(visit, "uploads-320", tmp_path)
