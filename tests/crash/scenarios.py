"""What clients do while the service dies at a point, and what they may rely on when it is back.

Each function plays one scenario on a stage, with the crash in the middle of it.
"""

import base64
import json
from typing import Any, Final

import requests

from tests.crash.stage import Stage
from tests.support.crashing import VARIABLE
from tests.support.service import Answer

TUS: Final = {"Tus_Resumable": "1.0.0"}
OFFSET_TYPE: Final = {"Content_Type": "application/offset+octet-stream"}
JSON: Final = {"Content_Type": "application/json"}
PART: Final = 5 * 1024**2

IN_PARTS: Final = ("multipart-begun", "part-put", "multipart-completing", "multipart-completed")
AT_THE_END: Final = (
    "append-completed",
    "upload-finished",
    "ingest-inserted",
    "upload-published",
    "multipart-completed",
)


def whole(stage: Stage, point: str) -> None:
    """A PUT with an Idempotency-Key: repeated, it gives one file, whatever came of the first."""
    name, content = stage.name(), stage.content(PART + 500_000 if point in IN_PARTS else 20_000)
    key = {"Idempotency_Key": name}
    first = stage.crash(point, "PUT", f"/api/upload/{name}", content, **key)
    second = stage.ask("PUT", f"/api/upload/{name}", content, **key)
    assert second.status == 201
    assert first is None or first.json() == second.json()
    stage.keep(second.json(), content)
    assert [each["filename"] for each in stage.service.listing()["items"]].count(name) == 1


def form(stage: Stage, point: str) -> None:
    """A form with two files: both are there, or none."""
    names = [stage.name(), stage.name()]
    body = b"".join(_field(name, stage.content(9_000)) for name in names) + b"--b--\r\n"
    stage.crash(point, "POST", "/api/upload", body, Content_Type="multipart/form-data; boundary=b")
    listed = [each["filename"] for each in stage.service.listing()["items"]]
    assert [listed.count(name) for name in names] in ([0, 0], [1, 1])


def beginning(stage: Stage, point: str) -> None:
    """An upload that nobody was told of is collected."""
    length = {"Upload_Length": "1000"}
    assert stage.crash(point, "POST", "/api/tus", b"", **TUS, **length) is None


def appending(stage: Stage, point: str) -> None:
    """An append: HEAD tells no more than is durable, and the upload goes on to the right file."""
    content = stage.content(2 * PART + 700_000 if stage.on_s3 else 400_000)
    size = len(content)
    path = _begin(stage, size)
    first, second = size // 2 + 10, size - 1000
    assert _patch(stage, path, content, 0, first).status == 204
    ends = point in AT_THE_END
    stop = size if ends else second
    answer = stage.crash(
        point, "PATCH", path, content[first:stop], **TUS, **OFFSET_TYPE, Upload_Offset=str(first)
    )
    assert ends or answer is None or answer.headers["upload-offset"] == str(second)
    stage.release()
    told = stage.ask("HEAD", path, None, **TUS)
    assert told.status == 200
    offset = int(told.headers["upload-offset"])
    assert (second if answer else first) <= offset <= stop
    if offset < size:
        told = _patch(stage, path, content, offset, size)
        assert told.status == 204
    stage.keep(stage.ask("GET", f"/api/files/{told.headers['upload-file-id']}").json(), content)


def joining(stage: Stage, point: str) -> None:
    """Parts are joined: they are there for another try."""
    content = stage.content(30_000)
    pieces = (content[:10_000], content[10_000:])
    paths = [_begin(stage, len(piece), Upload_Concat="partial") for piece in pieces]
    for path, piece in zip(paths, pieces, strict=True):
        assert _patch(stage, path, piece, 0, len(piece)).status == 204
    final = {"Upload_Concat": "final;" + " ".join(paths)}
    stage.crash(point, "POST", "/api/tus", b"", **TUS, **final)
    made = stage.ask("POST", "/api/tus", b"", **TUS, **final)
    assert made.status == 201, made.body
    told = stage.ask("HEAD", made.headers["location"], None, **TUS)
    stage.keep(stage.ask("GET", f"/api/files/{told.headers['upload-file-id']}").json(), content)


def terminating(stage: Stage, point: str) -> None:
    """An upload is given up: it cannot be gone on with, and asking again is no error."""
    content = stage.content(PART + 300_000)
    path = _begin(stage, 2 * len(content))
    assert _patch(stage, path, content, 0, len(content)).status == 204
    stage.crash(point, "DELETE", path, None, **TUS)
    stage.release()
    assert stage.ask("DELETE", path, None, **TUS).status in (204, 404, 410)
    assert stage.ask("HEAD", path, None, **TUS).status in (404, 410)


def direct(stage: Stage, point: str) -> None:
    """A file that went to the store itself: asked again, it is looked at again."""
    content = stage.content(20_000)
    body = json.dumps({"filename": stage.name(), "size": len(content)}).encode()
    if point == "direct-begun":
        assert stage.crash(point, "POST", "/api/direct", body, **JSON) is None
        return
    begun = stage.ask("POST", "/api/direct", body, **JSON).json()
    _send(begun["method"], begun["url"], content, begun["headers"])
    confirm = f"/api/direct/{begun['id']}/confirm"
    first = stage.crash(point, "POST", confirm, b"")
    stage.release()
    second = stage.ask("POST", confirm, b"")
    assert second.status in (200, 201), second.body
    assert first is None or first.json() == second.json()
    stage.keep(second.json(), content)


def direct_parts(stage: Stage, point: str) -> None:
    """The same in parts, which are put together again."""
    content = stage.content(PART + 9_000)
    asked = json.dumps({"filename": stage.name(), "type": "text/plain"}).encode()
    where = "/api/direct/s3/multipart"
    if point in ("multipart-begun", "direct-begun"):
        assert stage.crash(point, "POST", where, asked, **JSON) is None
        return
    begun = stage.ask("POST", where, asked, **JSON).json()
    mine, key = f"{where}/{begun['uploadId']}", f"?key={begun['key']}"
    named = []
    for number, piece in enumerate((content[:PART], content[PART:]), 1):
        url = stage.ask("GET", f"{mine}/{number}{key}").json()["url"]
        named.append({"PartNumber": number, "ETag": _send("PUT", url, piece, {})})
    body = json.dumps({"parts": named}).encode()
    stage.crash(point, "POST", f"{mine}/complete{key}", body, **JSON)
    stage.release()
    done = stage.ask("POST", f"{mine}/complete{key}", body, **JSON)
    assert done.status == 200, done.body
    stage.keep(done.json(), content)


def deleting(stage: Stage, point: str) -> None:
    """A file is deleted: from the commit on it never comes back."""
    made = _put(stage, stage.content(9_000))
    stage.crash(point, "DELETE", f"/api/files/{made['id']}")
    stage.lose(made["url"])


def moving(stage: Stage, point: str) -> None:
    """Files move to another backend: each is readable throughout, and the next run goes on."""
    for _ in range(3):
        _put(stage, stage.content(15_000))
    options = ("--from", "s3", "--to", "local", "--delete-source", "--linger", "0", "--json")
    words = ("migrate-storage", *options, "--workers", "2")
    printed = stage.service.flask(*words, **{VARIABLE: point})
    assert "summary" not in printed, f"{point} was not reached: {printed}"
    stage.release()
    summary = json.loads(stage.service.flask(*words, **{VARIABLE: ""}).splitlines()[-1])
    assert (summary["summary"], summary["failed"], summary["left"]) == ("moved", 0, 0)


def _put(stage: Stage, content: bytes) -> dict[str, Any]:
    made: dict[str, Any] = stage.ask("PUT", f"/api/upload/{stage.name()}", content).json()
    stage.keep(made, content)
    return made


def _begin(stage: Stage, size: int, **headers: str) -> str:
    name = base64.b64encode(stage.name().encode()).decode()
    named = {"Upload_Length": str(size), "Upload_Metadata": f"filename {name}"}
    answer = stage.ask("POST", "/api/tus", b"", **TUS, **named, **headers)
    assert answer.status == 201, answer.body
    return answer.headers["location"]


def _patch(stage: Stage, path: str, content: bytes, start: int, stop: int) -> Answer:
    headers = TUS | OFFSET_TYPE | {"Upload_Offset": str(start)}
    return stage.ask("PATCH", path, content[start:stop], **headers)


def _send(method: str, url: str, content: bytes, headers: dict[str, str]) -> str:
    """Send bytes to a signed URL, and return their entity tag."""
    answer = requests.request(method, url, data=content, headers=headers, timeout=30)
    assert answer.ok, answer.text
    return answer.headers.get("ETag", "")


def _field(name: str, content: bytes) -> bytes:
    disposition = f'Content-Disposition: form-data; name="file"; filename="{name}"'
    return f"--b\r\n{disposition}\r\n\r\n".encode() + content + b"\r\n"
