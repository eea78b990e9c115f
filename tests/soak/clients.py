"""Clients that use a service by every door while it is killed, and remember what it acknowledged.

What was answered counts; a request whose answer did not come is tried again where its protocol
says how (tus, an Idempotency-Key, confirming), and otherwise may or may not have taken effect.
"""

import base64
import hashlib
import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from itertools import count
from typing import Any, Final

import requests

from tests.soak.model import Kept, Model, Open
from tests.support.service import Answer, Service

SIZES: Final = (0, 1, 700, 9_000, 60_000, 300_000, 1_500_000)
LARGE: Final = 6_500_000
"""More than a part of the S3 storage."""

LEASE: Final = 4.5
"""Seconds after which the lease of a killed worker on an upload has ended."""

OFFSET_TYPE: Final = "application/offset+octet-stream"
TUS: Final = {"Tus_Resumable": "1.0.0"}
UNAVAILABLE: Final = 503

_NUMBERS: Final = count()


class Broken(Exception):
    """No answer came, or one that says to try again."""


class Client:
    """A client with dice of its own."""

    def __init__(self, service: Service, model: Model, dice: random.Random) -> None:
        self._service = service
        self._model = model
        self._dice = dice
        self._acts: Sequence[tuple[int, Callable[[], None]]] = (
            (20, self.put),
            (8, self.put_by_key),
            (12, self.form),
            (16, self.tus),
            (8, self.direct),
            (25, self.go_on),
            (12, self.delete),
            (12, self.read),
            (6, self.annotate),
        )

    def act(self) -> None:
        """Do one thing."""
        weights = [weight for weight, _ in self._acts]
        (chosen,) = self._dice.choices(self._acts, weights)
        chosen[1]()
        self._model.count(chosen[1].__name__)

    def put(self) -> None:
        name, content = self._name(), self._content()
        self._model.attempt(name)
        self._keep(self._ask("PUT", f"/api/upload/{name}", content), {name: content})

    def put_by_key(self) -> None:
        """Send a PUT that can be repeated."""
        name, content = self._name(), self._content()
        self._model.attempt(name)
        self._try(Open("put", name, content, f"/api/upload/{name}"))

    def form(self) -> None:
        """Send two files, which come both or not at all."""
        files = {self._name(): self._content() for _ in range(2)}
        self._model.attempt(*files)
        body = b"".join(_field(name, content) for name, content in files.items()) + b"--b--\r\n"
        kind = {"Content_Type": "multipart/form-data; boundary=b"}
        self._keep(self._ask("POST", "/api/upload", body, **kind), files)

    def tus(self) -> None:
        name, content = self._name(), self._content()
        named = {"Upload_Metadata": "filename " + base64.b64encode(name.encode()).decode()}
        length = {"Upload_Length": str(len(content))}
        # One of no bytes is whole as soon as it has begun.
        self._model.attempt(name)
        answer = self._ask("POST", "/api/tus", b"", **TUS, **named, **length)
        self._require(answer, 201)
        self._try(Open("tus", name, content, answer.headers["location"]))

    def direct(self) -> None:
        """Send the bytes to where the service says; what remains is to have it look at them."""
        name, content = self._name(), self._content()
        asked = json.dumps({"filename": name, "size": len(content)}).encode()
        begun = self._ask("POST", "/api/direct", asked, Content_Type="application/json")
        self._require(begun, 201)
        told = begun.json()
        with _broken():
            sent = requests.request(
                told["method"], told["url"], data=content, headers=told["headers"], timeout=60
            )
        if sent.status_code not in (200, 201, 204):
            raise Broken
        self._model.attempt(name)
        self._try(Open("direct", name, content, f"/api/direct/{told['id']}/confirm"))

    def go_on(self) -> None:
        """Go on with some upload."""
        upload = self._model.lend(self._dice, time.monotonic())
        if upload is not None:
            self._try(upload)

    def finish(self) -> bool:
        """Go on with an upload to its end, and say whether there was one."""
        upload = self._model.lend(self._dice, float("inf"))
        while upload is not None and not self._step(upload, pause=0):
            pass
        return upload is not None

    def _try(self, upload: Open) -> None:
        ended = False
        try:
            ended = self._step(upload, pause=0.3)
        except Broken:
            upload.rests_until = time.monotonic() + (0 if upload.kind == "put" else LEASE)
            raise
        finally:
            if not ended:
                self._model.give_back(upload)

    def _step(self, upload: Open, *, pause: float) -> bool:
        """Do what an upload wants next, and say whether it has ended."""
        if upload.kind == "tus":
            return self._append(upload, pause)
        if upload.kind == "put":
            key = {"Idempotency_Key": upload.name}
            answer = self._ask("PUT", upload.path, upload.content, **key)
        else:
            answer = self._ask("POST", upload.path, b"")
        self._keep(answer, {upload.name: upload.content})
        return True

    def _append(self, upload: Open, pause: float) -> bool:
        """Ask how far it is, send pieces, and stop between two of them with a chance of `pause`."""
        told = self._ask("HEAD", upload.path, None, **TUS)
        self._require(told, 200)
        offset, size = int(told.headers["upload-offset"]), len(upload.content)
        if not upload.offset <= offset <= upload.sent:
            expected = f"{upload.offset} to {upload.sent}"
            self._model.complain(f"{upload.path} is at {offset}, not at {expected}")
        while offset < size:
            stop = min(size, offset + self._dice.choice((1, 20_000, 400_000, 2_000_000, LARGE)))
            upload.sent, piece = max(upload.sent, stop), upload.content[offset:stop]
            at = {"Upload_Offset": str(offset), "Content_Type": OFFSET_TYPE}
            told = self._ask("PATCH", upload.path, piece, **TUS, **at)
            self._require(told, 204)
            upload.offset = offset = int(told.headers["upload-offset"])
            if offset < size and self._dice.random() < pause:
                return False
        answer = self._ask("GET", f"/api/files/{told.headers['upload-file-id']}")
        self._keep(answer, {upload.name: upload.content})
        return True

    def delete(self) -> None:
        kept = self._model.pick(self._dice)
        if kept is None or not self._model.doubt(kept):
            return
        answer = self._ask("DELETE", f"/api/files/{kept.id}")
        self._require(answer, 204)
        self._model.settle(kept, gone=True)

    def read(self) -> None:
        kept = self._model.pick(self._dice)
        if kept is not None:
            self.check(kept)

    def annotate(self) -> None:
        kept = self._model.pick(self._dice)
        if kept is None:
            return
        body, kind = b'{"metadata": {"seen": true}}', {"Content_Type": "application/json"}
        answer = self._ask("PATCH", f"/api/files/{kept.id}", body, **kind)
        if answer.status != 200 and not self._model.may_be_gone(kept):
            self._model.complain(f"PATCH of {kept.name}: {answer.status}")

    def check(self, kept: Kept) -> None:
        """Read a file, and complain unless it is whole; one that is being deleted may be gone."""
        answer = self._ask("GET", kept.url)
        if is_whole(answer, kept) or (answer.status == 404 and self._model.may_be_gone(kept)):
            return
        self._model.complain(f"GET {kept.url}: {answer.status}, {len(answer.body)} of {kept.size}")

    def check_gone(self, kept: Kept) -> None:
        """See that a file that was deleted has not come back."""
        if (status := self._ask("GET", kept.url).status) != 404:
            self._model.complain(f"GET {kept.url}: {status}, and it was deleted")

    def settle(self, kept: Kept) -> None:
        """Find out what became of a file whose delete was not answered."""
        answer = self._ask("GET", kept.url)
        if answer.status != 404 and not is_whole(answer, kept):
            self._model.complain(f"GET {kept.url}: {answer.status} after a delete")
        self._model.settle(kept, gone=answer.status == 404)

    def _keep(self, answer: Answer, contents: dict[str, bytes]) -> None:
        self._require(answer, 201, 200)
        made = answer.json()
        items = made.get("items", [made])
        kept = [_kept(each, contents[each["filename"]]) for each in items]
        for each, told in zip(kept, items, strict=True):
            if (told["size"], told["sha256"]) not in ((each.size, each.sha256), (each.size, None)):
                self._model.complain(f"{each.name} was answered as {told}")
        if len(kept) != len(contents):
            self._model.complain(f"{[*contents]} became {len(kept)} files")
        self._model.keep(*kept)

    def _ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        with _broken():
            answer = self._service.request(method, path, body, **headers)
        if answer.status == UNAVAILABLE or answer.status == 423:
            self._model.count(str(answer.status))
            raise Broken
        return answer

    def _require(self, answer: Answer, *statuses: int) -> None:
        if answer.status not in statuses:
            self._model.complain(f"{answer.status} in place of {statuses}: {answer.body[:300]!r}")
            raise Broken

    def _name(self) -> str:
        return f"{next(_NUMBERS)}.bin"

    def _content(self) -> bytes:
        weights = (2, 2, 8, 10, 8, 4, 2, 1)
        (size,) = self._dice.choices((*SIZES, LARGE), weights)
        return self._dice.randbytes(size)


@contextmanager
def at_work(clients: Sequence[Client]) -> Iterator[None]:
    """Have each client act in a thread of its own, until it is told no more."""
    over = threading.Event()

    def work(client: Client) -> None:
        while not over.is_set():
            try:
                client.act()
            except Broken:
                over.wait(0.02)
            except Exception as error:
                client._model.complain(repr(error))
                raise

    threads = [threading.Thread(target=work, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(120)


def is_whole(answer: Answer, kept: Kept) -> bool:
    return answer.status == 200 and hashlib.sha256(answer.body).hexdigest() == kept.sha256


@contextmanager
def _broken() -> Iterator[None]:
    """Turn what a connection that breaks raises into Broken."""
    try:
        yield
    except (OSError, HTTPException) as error:
        raise Broken from error


def _kept(told: dict[str, Any], content: bytes) -> Kept:
    right = hashlib.sha256(content).hexdigest()
    return Kept(told["id"], told["url"], told["filename"], len(content), right)


def _field(name: str, content: bytes) -> bytes:
    disposition = f'Content-Disposition: form-data; name="file"; filename="{name}"'
    return f"--b\r\n{disposition}\r\n\r\n".encode() + content + b"\r\n"
