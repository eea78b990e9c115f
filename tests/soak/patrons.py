"""Clients of a deployment of many hosts, which try again what failed until it is done.

Each upload can be repeated: by form and PUT with an Idempotency-Key, by tus with HEAD and what is
missing. They go to nginx, and with tus to each instance in turn. What they were told is in a Model.
"""

import base64
import hashlib
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import requests

from deploy.scale.site import Site
from tests.soak.model import Kept, Model
from tests.soak.tally import Tally

PATIENCE: Final = 180.0
"""Seconds after which a client gives up, which is an error that no retry has cured."""
ANSWER_WITHIN: Final = 60
SIZES: Final = (0, 1, 700, 9_000, 60_000, 300_000, 1_500_000, 9_000_000)
WEIGHTS: Final = (1, 2, 6, 14, 10, 6, 2, 1)
OFFSET_TYPE: Final = "application/offset+octet-stream"
TRY_AGAIN: Final = frozenset({408, 423, 425, 429, 502, 503, 504})
T = TypeVar("T")

_NUMBERS: Final = itertools.count()


class Again(Exception):
    """A try failed in a way that another one may cure; the argument says how."""


class GaveUp(Exception):
    """No try was answered as it should be for PATIENCE seconds, or one was answered wrongly."""


class Patron:
    """A client with dice of its own, which rests up to `rest` seconds between two acts."""

    def __init__(
        self, site: Site, model: Model, tally: Tally, dice: random.Random, *, rest: float
    ) -> None:
        self._site = site
        self._model = model
        self._tally = tally
        self._dice = dice
        self._rest = rest
        self._turn = itertools.count(dice.randrange(10))
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {site.key}"
        self._acts: dict[Callable[[], object], int] = {
            self.put: 18,
            self.form: 10,
            self.tus: 12,
            self.read: 34,
            self.list: 8,
            self.delete: 18,
        }

    def work(self, over: threading.Event) -> None:
        """Act until it is over, whatever fails."""
        with self._session:
            while not over.is_set():
                (act,) = self._dice.choices([*self._acts], [*self._acts.values()])
                try:
                    act()
                except GaveUp as error:
                    self._tally.give_up(str(error))
                over.wait(self._dice.uniform(0, self._rest))

    def put(self) -> None:
        name, content = self._name(), self._content()

        def send() -> Any:
            key = {"Idempotency-Key": name}
            return self._ask("PUT", f"/api/upload/{name}", 201, data=content, headers=key).json()

        self._keep(self._until("put", send, len(content)), {name: content})

    def form(self) -> None:
        """Send one or two files, which come all or none."""
        contents = {self._name(): self._content() for _ in range(self._dice.randint(1, 2))}
        key = {"Idempotency-Key": next(iter(contents))}

        def send() -> Any:
            files = [("file", each) for each in contents.items()]
            return self._ask("POST", "/api/upload", 201, files=files, headers=key).json()

        self._keep(self._until("form", send, sum(map(len, contents.values()))), contents)

    def tus(self) -> None:
        """Send pieces, each to another instance than the one before."""
        name, content = self._name(), self._content()
        upload = Resumable(self, name, content, self._dice)
        told = self._until("tus", upload.go_on, len(content))
        self._keep(told, {name: content})

    def read(self) -> None:
        kept = self._model.pick(self._dice)
        if kept is not None:
            self.check(kept)

    def check(self, kept: Kept, at: str | None = None) -> None:
        """Read a file, here or `at` an instance, and complain unless it is whole.

        One that is being deleted may be gone.
        """

        def read() -> bytes | None:
            answer = self._ask("GET", kept.url, 200, 404, at=at)
            if answer.status_code == 404 and not self._model.may_be_gone(kept):
                raise Again("404")
            return answer.content if answer.status_code == 200 else None

        content = self._until("read", read, kept.size)
        if content is not None and hashlib.sha256(content).hexdigest() != kept.sha256:
            self._model.complain(f"{kept.url} has other bytes than were sent")

    def check_gone(self, kept: Kept, at: str | None = None) -> None:
        """See that a file that was deleted has not come back."""
        self._until("gone", lambda: self._ask("GET", kept.url, 404, at=at))

    def list(self) -> None:
        self._page("")

    def names(self) -> dict[str, str]:
        """Return every listed file's id by its name; complain of names that come twice."""
        found: dict[str, str] = {}
        cursor = ""
        while True:
            page = self._page(cursor)
            for item in page["items"]:
                if item["filename"] in found:
                    self._model.complain(f"{item['filename']} is there twice")
                found[item["filename"]] = item["id"]
            if not page.get("next_cursor"):
                return found
            cursor = f"&cursor={page['next_cursor']}"

    def delete(self) -> None:
        kept = self._model.pick(self._dice)
        if kept is None or not self._model.doubt(kept):
            return
        # nginx gives a DELETE to another instance when one dies over it, so 404 may be the first.
        self._until("delete", lambda: self._ask("DELETE", f"/api/files/{kept.id}", 204, 404))
        self._model.settle(kept, gone=True)

    def _page(self, cursor: str) -> Any:
        path = f"/api/files?limit=100{cursor}"
        return self._until("list", lambda: self._ask("GET", path, 200).json())

    def somewhere(self) -> str:
        """Return the address of an instance that nginx knows, another one each time."""
        instances = [*self._site.instances]
        return instances[next(self._turn) % len(instances)].url

    def _until(self, operation: str, attempt: Callable[[], T], size: int = 0) -> T:
        began = time.monotonic()
        for tries in itertools.count(1):
            try:
                result = attempt()
            except Again as error:
                self._tally.error(operation, str(error))
                if time.monotonic() - began > PATIENCE:
                    raise GaveUp(f"{operation}: {error} after {tries} tries") from error
                time.sleep(self._dice.uniform(0.5, 1) * min(2.0, 0.1 * 2**tries))
            else:
                self._tally.done(operation, time.monotonic() - began, tries=tries, size=size)
                return result
        raise AssertionError

    def _ask(
        self, method: str, path: str, *wanted: int, at: str | None = None, **options: Any
    ) -> requests.Response:
        """Send a request once. Raises Again for what may be cured, GaveUp for any other answer."""
        try:
            answer = self._session.request(
                method, (at or self._site.url) + path, timeout=ANSWER_WITHIN, **options
            )
        except requests.RequestException as error:
            raise Again(_kind(error)) from error
        if answer.status_code in wanted:
            return answer
        if answer.status_code in TRY_AGAIN:
            raise Again(f"{answer.status_code} {_code(answer)}")
        raise GaveUp(f"{method} {path}: {answer.status_code} {answer.text[:200]}")

    def _keep(self, told: Any, contents: dict[str, bytes]) -> None:
        kept = []
        for item in told.get("items", [told]):
            content = contents[item["filename"]]
            right = hashlib.sha256(content).hexdigest()
            if (item["size"], item["sha256"]) != (len(content), right):
                self._model.complain(f"{item['filename']} was answered as {item}")
            kept.append(Kept(item["id"], item["url"], item["filename"], len(content), right))
        if len(kept) != len(contents):
            self._model.complain(f"{[*contents]} became {len(kept)} files")
        self._model.keep(*kept)

    def _name(self) -> str:
        return f"{next(_NUMBERS)}.bin"

    def _content(self) -> bytes:
        (size,) = self._dice.choices(SIZES, WEIGHTS)
        return self._dice.randbytes(size)


class Resumable:
    """One upload by tus: where it is, and what it still lacks."""

    def __init__(self, patron: Patron, name: str, content: bytes, dice: random.Random) -> None:
        self._patron = patron
        self._content = content
        self._piece = max(1, len(content) // dice.randint(1, 4) + 1)
        self._path = ""
        self._offset: int | None = None
        self._named = "filename " + base64.b64encode(name.encode()).decode()
        self._file_id = ""

    def go_on(self) -> Any:
        """Send what is missing and return the file. Raises Again where it stopped."""
        if not self._path:
            headers = {"Upload-Length": str(len(self._content)), "Upload-Metadata": self._named}
            self._note(self._ask("POST", "/api/tus", 201, headers=headers), 0)
        if self._offset is None:
            told = self._ask("HEAD", self._path, 200)
            self._note(told, int(told.headers["Upload-Offset"]))
        while not self._file_id:
            self._append()
        return self._ask("GET", f"/api/files/{self._file_id}", 200).json()

    def _append(self) -> None:
        assert self._offset is not None
        at, self._offset = self._offset, None
        piece = self._content[at : at + self._piece]
        headers = {"Upload-Offset": str(at), "Content-Type": OFFSET_TYPE}
        told = self._ask("PATCH", self._path, 204, 409, data=piece, headers=headers)
        if told.status_code == 409:
            raise Again("409 another offset")
        self._note(told, int(told.headers["Upload-Offset"]))

    def _note(self, told: requests.Response, offset: int) -> None:
        self._path = self._path or urlsplit(told.headers["Location"]).path
        self._offset = offset
        self._file_id = told.headers.get("Upload-File-Id", "")

    def _ask(self, method: str, path: str, *wanted: int, **options: Any) -> requests.Response:
        headers = {"Tus-Resumable": "1.0.0"} | options.pop("headers", {})
        at = self._patron.somewhere()
        return self._patron._ask(method, path, *wanted, at=at, headers=headers, **options)


@contextmanager
def at_work(patrons: list[Patron]) -> Iterator[None]:
    """Have each client act in a thread of its own, and see each end what it has begun."""
    over = threading.Event()
    threads = [threading.Thread(target=patron.work, args=(over,)) for patron in patrons]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(PATIENCE + ANSWER_WITHIN)


def _kind(error: requests.RequestException) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    return "cut short" if isinstance(error, requests.exceptions.ChunkedEncodingError) else "broken"


def _code(answer: requests.Response) -> str:
    """Return the stable code of an error of ours, and who else has answered."""
    try:
        return str(answer.json()["code"])
    except (ValueError, KeyError, TypeError):
        return answer.headers.get("Server", "")
