"""What is done with files on the page: rename, delete and undo, preview, links, download."""

import io
import struct
import zipfile
from pathlib import Path

from playwright.sync_api import Page, Request, expect

from services.policy import KNOWN_FOR as POLICY_KNOWN_FOR
from tests.browser.driving import MIB, Visit, slow_down
from tests.browser.film import film


def test_delete_is_undone_and_the_trash_restores_or_deletes_for_good(visit: Visit) -> None:
    page = visit.page
    visit.put("keep.txt", b"keep")
    visit.put("lose.txt", b"lose")
    visit.open()
    visit.menu("keep.txt", "Delete")
    expect(visit.row("keep.txt")).to_have_count(0)
    assert visit.names() == ["lose.txt"]
    visit.toast("moved to the trash").get_by_role("button", name="Undo").click()
    expect(visit.row("keep.txt")).to_be_visible()
    page.keyboard.press("Control+a")
    page.keyboard.press("Delete")
    expect(visit.toast("2 files moved to the trash")).to_be_visible()
    expect(page.get_by_role("heading", name="Room for everything")).to_be_visible()

    page.get_by_role("link", name="Trash").click()
    expect(visit.rows).to_have_count(2)
    expect(page.locator("#notice")).to_contain_text("deleted for good after 7 days")
    visit.row("keep.txt").get_by_role("button", name="Restore").click()
    expect(visit.rows).to_have_count(1)
    assert visit.names() == ["keep.txt"]
    visit.menu("lose.txt", "Delete for good")
    asked = page.get_by_role("dialog", name="Delete for good?")
    expect(asked.get_by_role("button", name="Keep")).to_be_focused()
    asked.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_role("heading", name="The trash is empty")).to_be_visible()
    assert len(visit.service.stored()) == 1
    visit.fine()


def test_a_name_is_changed_in_place_and_a_refused_one_says_why(visit: Visit) -> None:
    page = visit.page
    file = visit.put("draft.txt", b"draft")
    visit.open()
    visit.row("draft.txt").focus()
    page.keyboard.press("F2")
    field = page.get_by_label("New name of draft.txt")
    expect(field).to_be_focused()
    assert page.evaluate("getSelection().toString()") == "draft"
    page.keyboard.type("final")
    page.keyboard.press("Enter")
    expect(visit.row("final.txt")).to_be_focused()
    assert visit.names() == ["final.txt"]
    visit.service.request(
        "PATCH",
        "/api/collections/default",
        b'{"allowed_types": ["image/*"]}',
        Content_Type="application/json",
    )
    try:
        page.wait_for_timeout(POLICY_KNOWN_FOR * 1000)
        page.keyboard.press("F2")
        page.keyboard.press("Control+a")
        page.keyboard.type("other.csv")
        page.keyboard.press("Enter")
        expect(visit.toast("are not accepted here")).to_be_visible()
        page.keyboard.press("Escape")
        expect(visit.row("final.txt")).to_be_focused()
    finally:
        visit.service.request(
            "PATCH",
            "/api/collections/default",
            b'{"allowed_types": null}',
            Content_Type="application/json",
        )
    assert visit.service.request("GET", f"/api/files/{file['id']}").json()["size"] == 5


def test_a_video_is_sought_in_by_ranges(stored_visit: Visit) -> None:
    visit = stored_visit
    page = visit.page
    visit.put("film.webm", film(page, seconds=100))
    begun: list[int] = []

    def note(request: Request) -> None:
        if "/uploads/" in request.url and (wanted := request.headers.get("range")):
            begun.append(int(wanted.removeprefix("bytes=").partition("-")[0]))

    page.on("request", note)
    visit.open()
    slow_down(page, downloads=MIB)
    visit.row("film.webm").get_by_role("link").click()
    player = page.locator("dialog video")
    page.wait_for_function("(player) => player.readyState >= 1", arg=player.element_handle())
    assert player.evaluate("(player) => player.duration") == 100
    player.evaluate(
        "(player) => new Promise((done) => { player.onseeked = done; player.currentTime = 90; })"
    )
    assert player.evaluate("(player) => [player.currentTime, player.videoWidth]") == [90, 640]
    assert max(begun) > 0, "the bytes before were not fetched"
    visit.fine()


def test_pictures_text_and_pdf_are_shown_and_what_cannot_be_is_offered(visit: Visit) -> None:
    page = visit.page
    visit.put("unknown.bin", struct.pack("<40I", *range(1, 41)))
    visit.put("paper.pdf", b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>")
    visit.put(
        "dot.gif",
        b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\x00\x00\x00\x00\x00,\x00"
        b"\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;",
    )
    visit.put("long.txt", b"line\n" * 60_000)
    visit.open()
    visit.row("long.txt").get_by_role("link").click()
    expect(page.locator("dialog .hint")).to_have_text("The first 256 KB of 293 KB.")
    assert len(page.locator(".text-view").inner_text()) <= 256 * 1024
    page.get_by_role("button", name="Next file").click()
    picture = page.locator(".image-view")
    page.wait_for_function("(image) => image.naturalWidth === 1", arg=picture.element_handle())
    page.get_by_role("button", name="Next file").click()
    expect(page.locator("iframe.pdf-view")).to_have_attribute("title", "paper.pdf")
    page.get_by_role("button", name="Next file").click()
    expect(page.locator(".no-view")).to_contain_text("isn't shown here")
    expect(page.get_by_role("button", name="Next file")).to_be_disabled()
    visit.fine()


def test_links_are_copied_and_signed_ones_work(visit: Visit) -> None:
    page = visit.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    file = visit.put("shared.txt", b"shared")
    visit.open()
    visit.menu("shared.txt", "Copy link")
    expect(visit.toast("copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == visit.service.url + file["url"]
    visit.menu("shared.txt", "Signed link")
    dialog = page.get_by_role("dialog", name="Signed link")
    dialog.get_by_label("Works for").select_option("1 hour")
    dialog.get_by_role("button", name="Make the link").click()
    link = dialog.get_by_label("Signed link", exact=True).input_value()
    answer = visit.service.request("GET", link.removeprefix(visit.service.url))
    assert answer.body == b"shared"
    page.keyboard.press("Escape")
    expect(visit.row("shared.txt").get_by_role("button", name="More")).to_be_focused()


def test_several_files_are_downloaded_as_one_zip(visit: Visit, tmp_path: Path) -> None:
    page: Page = visit.page
    visit.put("one.txt", b"one")
    visit.put("two.txt", b"two")
    visit.open()
    page.get_by_label("Select all files").click()
    with page.expect_download() as download:
        page.locator("#selection").get_by_role("button", name="Download").click()
    download.value.save_as(tmp_path / "files.zip")
    with zipfile.ZipFile(io.BytesIO((tmp_path / "files.zip").read_bytes())) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            "one.txt": b"one",
            "two.txt": b"two",
        }
