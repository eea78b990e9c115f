"""A client that does not give up, and what has to hold of an application whatever broke.

Each of DOORS goes one way through the service, from its first request to the last; `ask` sends a
request and, when it failed, calls `on_failure` and sends it once more. Each returns the files that
it has made, as it was told of them.
"""

import hashlib
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from flask.testing import FlaskClient
from sqlalchemy import func, select, update
from werkzeug.test import TestResponse

from app import Holdall
from models import Counter, File, Reservation, Upload, now
from storage.keys import random_name
from tests.conftest import parts
from tests.http.test_tus import OFFSET_TYPE, VERSION
from tests.services.collecting import collect
from tests.services.uploading import database_of, storage_of
from tests.storage.material import get

FIRST, SECOND = hashlib.shake_128(b"1").digest(300_000), hashlib.shake_128(b"2").digest(20_000)
WHOLE = FIRST + SECOND


@dataclass
class Persistent:
    """One client; `failures` are the answers that made it send a request again."""

    client: FlaskClient
    on_failure: Callable[[TestResponse], None] = lambda answer: None
    failures: list[TestResponse] = field(default_factory=list)

    def ask(self, method: str, path: str, **options: Any) -> TestResponse:
        """Send a request, and once more when it failed. The answer to the last is a success."""
        return self.until_done(lambda: self.client.open(path, method=method, **options))

    def until_done(self, send: Callable[[], TestResponse], *, fine: int = 0) -> TestResponse:
        answer = send()
        if answer.status_code >= 400 and answer.status_code != fine:
            self.failures.append(answer)
            self.on_failure(answer)
            answer = send()
        assert answer.status_code < 400 or answer.status_code == fine, answer.data
        return answer


Made = dict[str, Any]
Door = Callable[[Persistent], list[Made]]


def put(sender: Persistent) -> list[Made]:
    named = {"Idempotency-Key": random_name()}
    made = sender.ask("PUT", "/api/upload/a.bin", data=WHOLE, headers=named)
    return [made.get_json()]


def form(sender: Persistent) -> list[Made]:
    named = {"Idempotency-Key": random_name()}

    def send() -> TestResponse:
        files = [(io.BytesIO(content), "a.bin") for content in (FIRST, SECOND)]
        return sender.client.post("/api/upload", data={"file": files}, headers=named)

    items: list[Made] = sender.until_done(send).get_json()["items"]
    return items


def tus(sender: Persistent) -> list[Made]:
    url = _begun(sender, len(WHOLE))
    _append(sender, url, WHOLE[: len(FIRST)])
    _append(sender, url, WHOLE)
    return [_of_upload(sender, url)]


def tus_at_once(sender: Persistent) -> list[Made]:
    said = VERSION | OFFSET_TYPE | {"Upload-Length": str(len(WHOLE))}
    begun = sender.ask("POST", "/api/tus", data=WHOLE, headers=said)
    return [_of_upload(sender, begun.headers["Location"])]


def joined(sender: Persistent) -> list[Made]:
    urls = []
    for piece in (FIRST, SECOND):
        urls.append(_begun(sender, len(piece), **{"Upload-Concat": "partial"}))
        _append(sender, urls[-1], piece)
    final = VERSION | {"Upload-Concat": "final;" + " ".join(urls)}
    made = sender.until_done(lambda: sender.client.post("/api/tus", headers=final), fine=400)
    if made.status_code == 400:
        # The parts are spent by a request whose answer was lost, and the file is there.
        assert sender.failures
        file: Made = sender.client.get("/api/files").get_json()["items"][0]
        return [file]
    return [_of_upload(sender, made.headers["Location"])]


def tus_given_up(sender: Persistent) -> list[Made]:
    url = _begun(sender, len(WHOLE))
    _append(sender, url, WHOLE[: len(FIRST)])
    _end(sender, url)
    return []


def direct(sender: Persistent) -> list[Made]:
    asked = {"filename": "a.bin", "size": len(WHOLE)}
    begun = sender.ask("POST", "/api/direct", json=asked).get_json()
    sender.ask("PUT", begun["url"], data=WHOLE, headers=begun["headers"])
    return [sender.ask("POST", begun["confirm_url"]).get_json()]


def direct_in_parts(sender: Persistent) -> list[Made]:
    base = "/api/direct/s3/multipart"
    begun = sender.ask("POST", base, json={"filename": "a.bin"}).get_json()
    url, key = f"{base}/{begun['uploadId']}", {"key": begun["key"]}
    named = []
    for number, piece in enumerate((FIRST, SECOND), start=1):
        signed = sender.ask("GET", f"{url}/{number}", query_string=key).get_json()["url"]
        tag = sender.ask("PUT", signed, data=piece).headers["ETag"]
        named.append({"PartNumber": number, "ETag": tag})
    done = sender.ask("POST", f"{url}/complete", query_string=key, json={"parts": named})
    return [done.get_json()]


def direct_given_up(sender: Persistent) -> list[Made]:
    asked = {"filename": "a.bin", "size": len(WHOLE)}
    begun = sender.ask("POST", "/api/direct", json=asked).get_json()
    sender.ask("PUT", begun["url"], data=WHOLE, headers=begun["headers"])
    _end(sender, f"/api/direct/{begun['id']}")
    return []


def renamed(sender: Persistent) -> list[Made]:
    file = _kept(sender)
    changed = sender.ask("PATCH", f"/api/files/{file['id']}", json={"filename": "b.txt"})
    assert changed.get_json()["filename"] == "b.txt"
    return [changed.get_json()]


def deleted(sender: Persistent) -> list[Made]:
    file = _kept(sender)
    sender.until_done(lambda: sender.client.delete(f"/api/files/{file['id']}"), fine=404)
    _is_gone(sender, file)
    return []


def deleted_in_batch(sender: Persistent) -> list[Made]:
    files = [_kept(sender) for _ in range(3)]
    ids = [file["id"] for file in files]
    answer = sender.ask("POST", "/api/files/delete", json={"ids": ids})
    assert answer.get_json()["total"] == 3 or sender.failures
    for file in files:
        _is_gone(sender, file)
    return []


DOORS: tuple[Door, ...] = (
    put,
    form,
    tus,
    tus_at_once,
    joined,
    tus_given_up,
    direct,
    direct_in_parts,
    direct_given_up,
    renamed,
    deleted,
    deleted_in_batch,
)


def _is_gone(sender: Persistent, file: Made) -> None:
    answer = sender.until_done(lambda: sender.client.get(file["url"]), fine=404)
    assert answer.status_code == 404


def _begun(sender: Persistent, length: int, **headers: str) -> str:
    said = VERSION | {"Upload-Length": str(length)} | headers
    return sender.ask("POST", "/api/tus", headers=said).headers["Location"]


def _append(sender: Persistent, url: str, so_far: bytes) -> None:
    """Send what is missing up to the end of `so_far`, from the offset that HEAD tells."""

    def send() -> TestResponse:
        told = sender.client.head(url, headers=VERSION)
        if told.status_code != 200:
            return told
        offset = int(told.headers["Upload-Offset"])
        said = VERSION | OFFSET_TYPE | {"Upload-Offset": str(offset)}
        return sender.client.patch(url, data=so_far[offset:], headers=said)

    sender.until_done(send)


def _end(sender: Persistent, url: str) -> None:
    """Give an upload up. What was ended by a request whose answer was lost may be gone by now."""
    answer = sender.client.delete(url, headers=VERSION)
    if answer.status_code >= 500:
        sender.failures.append(answer)
        sender.on_failure(answer)
        answer = sender.client.delete(url, headers=VERSION)
    fine = (204, 404, 410) if sender.failures else (204,)
    assert answer.status_code in fine, answer.data


def _of_upload(sender: Persistent, url: str) -> Made:
    told = sender.until_done(lambda: sender.client.head(url, headers=VERSION))
    file_id = told.headers["Upload-File-Id"]
    file: Made = sender.ask("GET", f"/api/files/{file_id}").get_json()
    return file


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _kept(sender: Persistent) -> Made:
    named = {"Idempotency-Key": random_name()}
    made = sender.ask("PUT", "/api/upload/a.txt", data=b"text", headers=named)
    file: Made = made.get_json()
    return file


def contents(door: Door) -> list[bytes]:
    """Return what the files are that a door makes."""
    if door in (deleted, deleted_in_batch, tus_given_up, direct_given_up):
        return []
    if door is form:
        return [FIRST, SECOND]
    return [b"text"] if door is renamed else [WHOLE]


def go_through(
    app: Holdall,
    door: Door,
    on_failure: Callable[[TestResponse], None],
    then: Callable[[], None] = lambda: None,
) -> None:
    """Go through a door, and check that all is well when it failed and at the end.

    `then` is called in between.
    """

    def failed(answer: TestResponse) -> None:
        on_failure(answer)
        require_rows_have_objects(app)
        let_leases_end(app)

    sender = Persistent(app.test_client(), failed)
    files = door(sender)
    then()
    assert [sender.client.get(file["url"]).data for file in files] == contents(door)
    require_rows_have_objects(app)
    require_counted(app)
    for file in files:
        assert sender.client.delete(f"/api/files/{file['id']}").status_code == 204


@contextmanager
def saying(where: str) -> Iterator[None]:
    """Add to an error where it came up."""
    try:
        yield
    except BaseException as error:
        error.add_note(where)
        raise


def require_rows_have_objects(app: Holdall) -> None:
    """Check that every row's object is there, whole, and the one that was sent."""
    with database_of(app).read() as session:
        rows = session.execute(select(File.key, File.size, File.sha256)).all()
    for key, size, sha256 in rows:
        content = get(storage_of(app), key)
        assert (len(content), _sha256(content)) == (size, sha256 or _sha256(content))


def require_counted(app: Holdall) -> None:
    """Check that the counters are the sums of the rows, and that nothing holds room for long."""
    with database_of(app).read() as session:
        sums = session.execute(select(func.count(), func.coalesce(func.sum(File.size), 0))).one()
        columns = (func.sum(Counter.files), func.sum(Counter.bytes))
        counted = session.execute(select(*(func.coalesce(each, 0) for each in columns))).one()
    assert tuple(counted) == tuple(sums)


def reserved(app: Holdall) -> list[Reservation]:
    with database_of(app).read() as session:
        return list(session.scalars(select(Reservation)))


def let_leases_end(app: Holdall) -> None:
    """Let so much time pass that nobody holds an upload any more who does not renew it."""
    with database_of(app).write() as session:
        session.execute(update(Upload).values(lock_until=now()))


def require_nothing_left(app: Holdall) -> None:
    """Let every upload expire, collect, and check that there is nothing but what files name."""
    with database_of(app).write() as session:
        session.execute(update(Upload).values(expires_at=now()))
    collect(app, force=True)
    with database_of(app).read() as session:
        keys = set(session.scalars(select(File.key)))
    assert {info.key for info in storage_of(app).scan()} == keys
    settings = parts(app).settings
    if settings.storage_backend == "local":
        found = [path for path in (settings.data_dir / "uploads").rglob("*") if path.is_file()]
        assert {path.name for path in found} == {key.rpartition("/")[2] for key in keys}
