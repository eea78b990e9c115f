"""Uploads from the page: dropped, cut off, reloaded, refused."""

import hashlib
from pathlib import Path

import pytest
from playwright.sync_api import Request, expect

from tests.browser.driving import MIB, Visit, slow_down
from tests.clients.conftest import kill
from tests.support.service import Service

SLOW = 3 * MIB
LARGE = hashlib.shake_256(b"large").digest(9 * MIB)


def choose(visit: Visit, *files: Path) -> None:
    visit.page.locator("#pick-files").set_input_files(files)


def large_file(folder: Path) -> Path:
    path = folder / "large.bin"
    path.write_bytes(LARGE)
    return path


def sha256_of(service: Service, name: str) -> str:
    item = next(item for item in service.listing()["items"] if item["filename"] == name)
    content = service.request("GET", f"/uploads/{item['id']}").body
    return hashlib.sha256(content).hexdigest()


def wait_for_part(visit: Visit, name: str) -> None:
    """Wait until a part of the file has gone out, but not all."""
    bar = visit.upload(name).get_by_role("progressbar")
    visit.page.wait_for_function(
        "(bar) => Number(bar.getAttribute('aria-valuenow')) >= 20", arg=bar.element_handle()
    )


def test_three_dropped_files_are_uploaded_and_listed(stored_visit: Visit) -> None:
    visit = stored_visit
    visit.drop(
        {
            "one.txt": ("text/plain", b"one"),
            "Grüße 🎉.txt": ("text/plain", b"two"),
            "empty.bin": ("", b""),
        }
    )
    expect(visit.uploads.get_by_role("heading")).to_have_text("3 files uploaded")
    expect(visit.rows).to_have_count(3)
    expect(visit.page.locator("#count")).to_have_text("3 files")
    assert sorted(visit.names()) == ["Grüße 🎉.txt", "empty.bin", "one.txt"]
    visit.fine()


def test_an_upload_goes_on_after_the_service_was_killed(
    stored_visit: Visit, tmp_path: Path
) -> None:
    visit = stored_visit
    slow_down(visit.page, uploads=SLOW)
    choose(visit, large_file(tmp_path))
    wait_for_part(visit, "large.bin")
    kill(visit.service)
    expect(visit.upload("large.bin")).to_contain_text("No connection")
    visit.service.start()
    slow_down(visit.page)
    visit.page.evaluate("dispatchEvent(new Event('online'))")
    expect(visit.uploads.get_by_role("heading")).to_have_text("1 file uploaded", timeout=30_000)
    assert sha256_of(visit.service, "large.bin") == hashlib.sha256(LARGE).hexdigest()


def test_an_upload_goes_on_by_itself_after_a_reload(visit: Visit, tmp_path: Path) -> None:
    slow_down(visit.page, uploads=SLOW)
    choose(visit, large_file(tmp_path))
    wait_for_part(visit, "large.bin")
    patches: list[int] = []

    def note(request: Request) -> None:
        if request.method == "PATCH":
            patches.append(int(request.headers["upload-offset"]))

    visit.page.on("request", note)
    visit.page.reload()
    expect(visit.uploads.get_by_role("heading")).to_have_text("1 file uploaded")
    assert patches and patches[0] > 64 * 1024, "it did not begin anew"
    assert visit.names() == ["large.bin"]
    assert sha256_of(visit.service, "large.bin") == hashlib.sha256(LARGE).hexdigest()
    visit.page.reload()
    visit.settled()
    expect(visit.uploads).to_be_hidden()


def test_a_file_that_is_gone_after_a_reload_is_asked_for_again(
    visit: Visit, tmp_path: Path
) -> None:
    slow_down(visit.page, uploads=SLOW)
    path = large_file(tmp_path)
    choose(visit, path)
    wait_for_part(visit, "large.bin")
    visit.upload("large.bin").get_by_role("button", name="Pause").click()
    expect(visit.upload("large.bin")).to_contain_text("Paused")
    visit.page.evaluate(
        """() => new Promise((done) => {
            const opening = indexedDB.open("holdall", 1);
            opening.onsuccess = () => {
                const change = opening.result.transaction("files", "readwrite");
                change.objectStore("files").clear();
                change.oncomplete = done;
            };
        })"""
    )
    visit.page.reload()
    row = visit.upload("large.bin")
    expect(row).to_contain_text("Choose it again, and it goes on")
    other = tmp_path / "other.bin"
    other.write_bytes(b"other")
    with visit.page.expect_file_chooser() as chooser:
        row.get_by_role("button", name="Choose").click()
    chooser.value.set_files(other)
    expect(row).to_contain_text("That is another file")
    with visit.page.expect_file_chooser() as chooser:
        row.get_by_role("button", name="Choose").click()
    chooser.value.set_files(path)
    expect(visit.uploads.get_by_role("heading")).to_have_text("1 file uploaded")
    assert sha256_of(visit.service, "large.bin") == hashlib.sha256(LARGE).hexdigest()


def test_a_paused_upload_waits_and_a_cancelled_one_leaves_nothing(
    visit: Visit, tmp_path: Path
) -> None:
    slow_down(visit.page, uploads=SLOW)
    choose(visit, large_file(tmp_path))
    wait_for_part(visit, "large.bin")
    row = visit.upload("large.bin")
    row.get_by_role("button", name="Pause").click()
    expect(row).to_contain_text("Paused")
    expect(visit.uploads.get_by_role("heading")).to_contain_text("Paused")
    row.get_by_role("button", name="Resume").click()
    expect(row).to_contain_text("of 9 MB")
    with visit.page.expect_response(lambda answer: answer.request.method == "DELETE") as ended:
        row.get_by_role("button", name="Cancel").click()
    assert ended.value.status == 204
    expect(visit.uploads).to_be_hidden()
    assert visit.names() == []
    assert visit.service.stored() == []


def test_a_folder_of_two_hundred_files_is_all_there(visit: Visit, tmp_path: Path) -> None:
    folder = tmp_path / "holiday"
    for number in range(200):
        path = folder / f"day {number % 10}" / f"picture {number:03}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"This is picture {number}.\n")
    visit.page.locator("#pick-folder").set_input_files(folder)
    expect(visit.uploads.get_by_role("heading")).to_have_text("200 files uploaded", timeout=60_000)
    expect(visit.page.locator("#count")).to_have_text("200 files")
    listed = visit.service.request("GET", "/api/files?limit=1000").json()["items"]
    paths = {item["metadata"]["relativePath"] for item in listed}
    assert paths == {str(path.relative_to(tmp_path)) for path in folder.rglob("*.txt")}
    visit.fine()


REFUSALS = {
    "notes.pdf": (b"%PDF-1.4", "This looks like application/pdf. “strict” takes images."),
    "huge.png": (b"\x89PNG" + bytes(300_000), "Too large: a file may have 200 KB at most"),
}


def test_what_the_rules_refuse_is_refused_before_a_byte_is_sent(visit: Visit) -> None:
    rules = b'{"allowed_types": ["image/*"], "max_size": 204800}'
    visit.service.request("PUT", "/api/collections/strict", rules, Content_Type="application/json")
    visit.open("?collection=strict")
    sent: list[str] = []
    visit.page.on("request", lambda request: sent.append(f"{request.method} {request.url}"))
    types = {"notes.pdf": "application/pdf", "huge.png": "image/png"}
    visit.drop({name: (types[name], content) for name, (content, _) in REFUSALS.items()})
    for name, (_, reason) in REFUSALS.items():
        expect(visit.upload(name)).to_contain_text(reason)
    assert not [each for each in sent if "/api/tus" in each]
    visit.upload("notes.pdf").get_by_role("button", name="Send anyway").click()
    expect(visit.upload("notes.pdf")).to_contain_text("Its content is")
    assert visit.names() == []


def test_a_collection_that_is_full_says_so_before_and_a_disk_that_is_full_after(
    visit: Visit,
) -> None:
    visit.service.request(
        "PUT", "/api/collections/small", b'{"max_bytes": 1000}', Content_Type="application/json"
    )
    visit.open("?collection=small")
    visit.drop({"large.txt": ("text/plain", b"x" * 2000)})
    expect(visit.upload("large.txt")).to_contain_text("has room for 1000 B")
    visit.page.route(
        "**/api/tus",
        lambda route: route.fulfill(
            status=507, json={"error": "There is no room", "code": "storage_full"}
        ),
    )
    visit.drop({"small.txt": ("text/plain", b"x")})
    expect(visit.upload("small.txt")).to_contain_text("The service's disk is full")
    visit.page.unroute("**/api/tus")
    visit.upload("small.txt").get_by_role("button", name="Retry").click()
    expect(visit.row("small.txt")).to_be_visible()


ANSWERS = {
    413: ("too_large", "Too large: a file may have"),
    410: ("gone", "waited too long. Retry sends it from the beginning"),
    403: ("forbidden", "Your key may not do this"),
    401: ("unauthorized", "You are signed out. Sign in again, and this goes on"),
}


@pytest.mark.parametrize("status", ANSWERS)
def test_each_refusal_of_the_service_is_a_sentence_that_helps(visit: Visit, status: int) -> None:
    code, sentence = ANSWERS[status]
    visit.page.route(
        "**/api/tus",
        lambda route: route.fulfill(status=status, json={"error": "It may not", "code": code}),
    )
    visit.drop({"one.txt": ("text/plain", b"one")})
    expect(visit.upload("one.txt")).to_contain_text(sentence)
