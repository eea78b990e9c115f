"""The service in the process of the test, which dies and is made anew, beside what is known of it.

`files` are those that must be there, by URL, and nothing else may be; `uploads` can be gone on
with. An upload or a delete that died took effect or did not: what it did is found out at once, and
the model follows it.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from flask.testing import FlaskClient
from sqlalchemy import delete, func, select, update
from werkzeug.test import TestResponse

from app import create_app
from config import load_settings
from models import Counter, File, Lease, Upload, db, now
from services.gc import Collected
from services.gc_items import Options
from tests.conftest import Client, parts
from tests.http.test_direct import send
from tests.http.test_tus import OFFSET_TYPE, VERSION
from tests.services.checking import check
from tests.services.uploading import database_of, stored
from tests.support.dying import Died, dying

Act = Callable[[FlaskClient], TestResponse]
AT_ONCE: Final = Options(grace=timedelta(seconds=-5), patience=timedelta(0), force=True)


@dataclass
class Sending:
    """A tus upload. `offset` was acknowledged, and no more than `sent` bytes were sent."""

    path: str
    name: str
    content: bytes
    offset: int = 0
    sent: int = 0


@dataclass
class World:
    """An application on `folder`, that may die."""

    folder: Path
    variables: dict[str, str]
    files: dict[str, bytes] = field(default_factory=dict)
    uploads: list[Sending] = field(default_factory=list)
    deaths: int = 0
    places: int = 0
    _number: int = 0

    def __post_init__(self) -> None:
        self.open()

    def open(self) -> None:
        settings = {"AUTH_MODE": "open", "DATA_DIR": str(self.folder), "DURABILITY": "fsync"}
        self.app = create_app(load_settings(settings | self.variables))
        self.app.test_client_class = Client

    def close(self) -> None:
        parts(self.app).loop.close()
        parts(self.app).keys.close()
        for storage in parts(self.app).storages.values():
            storage.close()
        with self.app.app_context():
            db.engine.dispose()

    def do(self, act: Act, dies: int | None) -> TestResponse | None:
        """Do something, and return the answer, or None where the service died: it is back then."""
        answer: TestResponse | None = self._mortal(lambda: act(self.app.test_client()), dies)
        return answer

    def name(self) -> str:
        self._number += 1
        return f"{self._number}.bin"

    def put(self, content: bytes, dies: int | None = None) -> None:
        name = self.name()
        length = {"CONTENT_LENGTH": str(len(content))}
        answer = self.do(
            lambda client: client.put(
                f"/api/upload/{name}", data=content, environ_overrides=length
            ),
            dies,
        )
        self._made(answer, {name: content})

    def form(self, contents: list[bytes], dies: int | None = None) -> None:
        files = {self.name(): content for content in contents}
        body = b"".join(_field(*each) for each in files.items()) + b"--b--\r\n"
        kind = "multipart/form-data; boundary=b"
        answer = self.do(
            lambda client: client.post("/api/upload", data=body, content_type=kind), dies
        )
        self._made(answer, files)

    def begin(self, content: bytes, dies: int | None = None) -> None:
        length = VERSION | {"Upload-Length": str(len(content))}
        answer = self.do(lambda client: client.post("/api/tus", headers=length), dies)
        if answer is not None:
            assert answer.status_code == 201
            self.uploads.append(Sending(answer.headers["Location"], "file", content))

    def append(self, upload: Sending, size: int, dies: int | None = None) -> None:
        """Send some bytes at the offset that was acknowledged; they may be there already."""
        start, stop = upload.offset, min(len(upload.content), upload.offset + size)
        upload.sent = max(upload.sent, stop)
        headers = VERSION | OFFSET_TYPE | {"Upload-Offset": str(start)}
        piece = upload.content[start:stop]
        length = {"CONTENT_LENGTH": str(len(piece))}
        answer = self.do(
            lambda client: client.patch(
                upload.path, data=piece, headers=headers, environ_overrides=length
            ),
            dies,
        )
        if answer is not None:
            assert answer.status_code == 204, answer.data
            assert answer.headers["Upload-Offset"] == str(stop)
        self.look(upload)

    def look(self, upload: Sending) -> None:
        """Ask how far an upload is: it is a file once all has come."""
        told = self.do(lambda client: client.head(upload.path, headers=VERSION), None)
        assert told is not None and told.status_code == 200
        offset = int(told.headers["Upload-Offset"])
        assert upload.offset <= offset <= upload.sent
        upload.offset = offset
        if offset == len(upload.content):
            self.uploads.remove(upload)
            self.files[told.headers["Upload-File-Url"]] = upload.content

    def direct(self, content: bytes, dies: int | None = None) -> None:
        """Have the service look at what was sent to it apart; asked again, it answers the same."""
        client, name = self.app.test_client(), self.name()
        asked = {"filename": name, "size": len(content)}
        begun = client.post("/api/direct", json=asked).get_json()
        sent = send(client, begun, content)
        assert sent.status in (200, 204), sent.status
        confirm = f"/api/direct/{begun['id']}/confirm"
        answer = self.do(lambda client: client.post(confirm), dies)
        if answer is None:
            answer = self.do(lambda client: client.post(confirm), None)
        self._made(answer, {name: content})

    def rename(self, url: str, dies: int | None = None) -> None:
        """Give a file another name; its old link goes on to work."""
        content, name = self.files[url], self.name()
        api = "/api/files/" + url.split("/")[2]
        answer = self.do(lambda client: client.patch(api, json={"filename": name}), dies)
        found = self.app.test_client().get(api).get_json()
        assert answer is None or found["filename"] == name
        del self.files[url]
        self.files[found["url"]] = content

    def delete(self, url: str, dies: int | None = None) -> None:
        api = "/api/files/" + url.split("/")[2]
        answer = self.do(lambda client: client.delete(api), dies)
        there = self.app.test_client().get(url).status_code
        assert there in ((404,) if answer else (200, 404))
        if there == 404:
            del self.files[url]

    def read(self, url: str, start: int, stop: int) -> None:
        """Read a file, or the bytes from `start` to before `stop` of it."""
        content, client = self.files[url], self.app.test_client()
        assert client.get(url).data == content
        if start < min(stop, len(content)):
            part = client.get(url, headers={"Range": f"bytes={start}-{stop - 1}"})
            assert (part.status_code, part.data) == (206, content[start:stop])

    def collect(self, dies: int | None = None) -> None:
        """Collect all that nothing names, however young."""
        collected = Collected()
        self._mortal(lambda: list(parts(self.app).collector.collect(AT_ONCE, collected)), dies)
        assert collected.problems == {}

    def expire(self) -> None:
        """Let all uploads end."""
        with database_of(self.app).write() as session:
            session.execute(update(Upload).values(expires_at=now()))
        self.uploads.clear()

    def require_sound(self) -> None:
        """See that the files are those that are known, whole, and that all figures agree."""
        client = self.app.test_client()
        listed = client.get("/api/files?limit=1000").get_json()
        assert {each["url"] for each in listed["items"]} == self.files.keys()
        assert listed["total"] == len(self.files)
        for each in listed["items"]:
            content = self.files[each["url"]]
            assert each["size"] == len(content)
            assert each["sha256"] in (hashlib.sha256(content).hexdigest(), None)
        with database_of(self.app).read() as session:
            size = session.scalar(select(func.coalesce(func.sum(File.size), 0)))
            counted = session.scalar(select(func.coalesce(func.sum(Counter.bytes), 0)))
        assert size == counted
        found = {str(each.kind) for each in check(self.app, verify=True).findings}
        assert found <= {"orphan"}, "what a death leaves is an orphan, and never a row alone"

    def require_clean(self) -> None:
        """End all uploads, collect, and see that nothing is left but the files."""
        self.expire()
        self.collect()
        self.require_sound()
        assert check(self.app, verify=True).findings == []
        assert len(stored(self.app)) == len(self.files)

    def _mortal(self, act: Callable[[], Any], dies: int | None) -> Any:
        with dying(dies) as death:
            try:
                result = act()
            except (Died, Exception):
                if not death.came:
                    raise
        self.places = death.places
        if not death.came:
            return result
        self.deaths += 1
        self.close()
        self.open()
        # Leases of the dead end by themselves, in some seconds.
        with database_of(self.app).write() as session:
            session.execute(update(Upload).values(lock_until=now()))
            session.execute(delete(Lease))
        return None

    def _made(self, answer: TestResponse | None, contents: dict[str, bytes]) -> None:
        """Learn what came of an upload: of one that died, all of its files are there, or none."""
        if answer is not None:
            assert answer.status_code in (200, 201), answer.data
            told = answer.get_json()
            items = told.get("items", [told])
            assert len(items) == len(contents)
        else:
            listed = self.app.test_client().get("/api/files?limit=1000").get_json()["items"]
            items = [each for each in listed if each["filename"] in contents]
            assert len(items) in (0, len(contents))
        for each in items:
            self.files[each["url"]] = contents[each["filename"]]


def _field(name: str, content: bytes) -> bytes:
    disposition = f'Content-Disposition: form-data; name="file"; filename="{name}"'
    return f"--b\r\n{disposition}\r\n\r\n".encode() + content + b"\r\n"
