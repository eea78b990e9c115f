"""What the tests do on the page, and what they look for: one Visit is one open page."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import quote

from playwright.sync_api import Locator, Page, expect

from tests.support.service import Service

MIB = 1024**2
DROP = """([files, selector]) => {
    const transfer = new DataTransfer();
    for (const [name, type, content] of files) {
        const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
        transfer.items.add(new File([bytes], name, { type }));
    }
    const target = document.querySelector(selector);
    for (const kind of ["dragenter", "dragover", "drop"]) {
        const about = { dataTransfer: transfer, bubbles: true, cancelable: true };
        target.dispatchEvent(new DragEvent(kind, about));
    }
}"""


def slow_down(page: Page, *, uploads: float = -1, downloads: float = -1) -> None:
    """Have the page send and receive no faster, in bytes a second; -1 for as fast as it can."""
    page.context.new_cdp_session(page).send(
        "Network.emulateNetworkConditions",
        {
            "offline": False,
            "latency": 0,
            "downloadThroughput": downloads,
            "uploadThroughput": uploads,
        },
    )


@dataclass
class Visit:
    """An open page of a service. `faults` are what its scripts, or its policy, complained of."""

    page: Page
    service: Service
    faults: list[str] = field(default_factory=list)

    @classmethod
    def to(cls, page: Page, service: Service, query: str = "") -> Self:
        """Open the page and wait until it has asked for the files."""
        visit = cls(page, service)
        page.on("pageerror", lambda error: visit.faults.append(str(error)))
        page.on("console", lambda message: visit.note(message.type, message.text))
        visit.open(query)
        return visit

    def note(self, kind: str, text: str) -> None:
        if kind == "error" and "Failed to load resource" not in text:
            self.faults.append(text)

    def open(self, query: str = "") -> None:
        self.page.goto(f"{self.service.url}/{query}")
        self.settled()

    def settled(self) -> None:
        """Wait until the list is shown, be it empty."""
        expect(
            self.page.locator(".row[data-id], .card[data-id], .blank:visible").first
        ).to_be_visible()

    @property
    def rows(self) -> Locator:
        return self.page.locator(".canvas > [data-id]")

    def row(self, name: str) -> Locator:
        return self.page.get_by_role("row").filter(has=self.page.get_by_title(name, exact=True))

    @property
    def uploads(self) -> Locator:
        return self.page.locator("#uploads")

    def upload(self, name: str) -> Locator:
        """Return what the panel shows of one upload."""
        return self.uploads.get_by_role("listitem").filter(has_text=name)

    def toast(self, text: str) -> Locator:
        return self.page.locator(".toast").filter(has_text=text)

    def drop(self, files: Mapping[str, tuple[str, bytes]]) -> None:
        """Drop files: by their names, a type and their bytes."""
        given = [
            [name, kind, base64.b64encode(content).decode()]
            for name, (kind, content) in files.items()
        ]
        self.page.evaluate(DROP, [given, "#files"])

    def put(self, name: str, content: bytes, collection: str = "default") -> Any:
        """Upload a file past the page."""
        path = f"/api/upload/{quote(name)}?collection={collection}"
        answer = self.service.request("PUT", path, content)
        assert answer.status == 201, answer.body
        return answer.json()

    def names(self) -> list[str]:
        """Return what the service has, the newest first."""
        return [item["filename"] for item in self.service.listing()["items"]]

    def menu(self, name: str, entry: str) -> None:
        """Choose an entry of a file's menu."""
        self.row(name).get_by_role("button", name="More").click()
        self.page.get_by_role("menuitem", name=entry).click()

    def fine(self) -> None:
        """Assert that no script failed and no policy was broken."""
        assert self.faults == []
