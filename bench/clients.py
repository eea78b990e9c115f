"""The clients that load a server: curl for large bodies, our own driver for ranges.

Each call is bounded in time and raises ClientFailed rather than report a figure for wrong answers.
"""

import http.client
import json
import os
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.servers import ROOT, Server

CURL_SECONDS = 600
LEAD_SECONDS = 0.5
"""How long our driver's processes have to start before they send together."""


PROCESS_NUMBERS = 10**11
"""How many numbers each of our driver's processes has for itself."""


class ClientFailed(Exception):
    """The client could not do its work, or an answer was not the expected one."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """One transfer: `seconds` in all, `size` bytes of body moved, `body` of the answer.

    `place` is the path that the server gave the upload, where it gave one.
    """

    seconds: float
    size: int
    body: bytes
    place: str = ""


def curl(url: str, arguments: Sequence[str], answer: Path, expected: int) -> Transfer:
    """Run one request; its answer's body goes to the file `answer`."""
    form = "%{time_total} %{http_code} %{size_upload} %{size_download}"
    command = ["curl", "-sS", "-o", str(answer), "-w", form, "-H", "Expect:", *arguments, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=CURL_SECONDS)
    body = answer.read_bytes() if answer.is_file() else b""
    if done.returncode:
        raise ClientFailed(f"curl: {done.stderr.strip()}")
    seconds, status, sent, received = done.stdout.split()
    if int(status) != expected:
        raise ClientFailed(f"status {status}, not {expected}: {body[:300]!r}")
    return Transfer(float(seconds), max(int(sent), int(received)), body)


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent: `requests` in turn, each answered with one of `statuses`.

    Each request that is sent of a `numbered` load has a number of its own in place of NUMBER.
    """

    requests: Sequence[bytes]
    statuses: Sequence[int]
    numbered: bool = False


def drive(
    server: Server, load: Load, connections: int, seconds: float, first: int = 0, processes: int = 2
) -> float:
    """Send `load` over `connections` in all, from several processes; return answers in a second.

    Numbered requests count from `first`, and no two processes use one number.
    """
    start = time.monotonic() + LEAD_SECONDS
    job = {
        "port": server.port,
        "connections": connections // processes,
        "start": start,
        "stop": start + seconds,
        "requests": [b64encode(request).decode() for request in load.requests],
        "statuses": list(load.statuses),
        "numbered": load.numbered,
    }
    with ExitStack() as stack:
        running = [
            stack.enter_context(_driver({**job, "first": first + index * PROCESS_NUMBERS}))
            for index in range(processes)
        ]
        return sum(_answers(process, seconds) for process in running) / seconds


@contextmanager
def _driver(job: dict[str, object]) -> Iterator[subprocess.Popen[str]]:
    """Start a process on `job`; it does not outlive the block."""
    command = [sys.executable, "-m", "bench.driver"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            assert process.stdin
            process.stdin.write(json.dumps(job))
            process.stdin.close()
            process.stdin = None
            yield process
        finally:
            process.kill()


def _answers(process: subprocess.Popen[str], seconds: float) -> int:
    said, _ = process.communicate(timeout=seconds + 60)
    if process.returncode:
        raise ClientFailed("the driver failed")
    count: dict[str, int] = json.loads(said)
    if count["faults"]:
        raise ClientFailed(f"wrong answers: {count['faults']}")
    return count["answers"]


def ask(server: Server, method: str, path: str, expected: Sequence[int]) -> dict[str, str]:
    """Send one request without a body; return the answer's headers, names in lower case."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        answer.read()
    finally:
        connection.close()
    if answer.status not in expected:
        raise ClientFailed(f"{method} {path}: status {answer.status}")
    return {name.lower(): value for name, value in answer.getheaders()}


def flush_disk() -> None:
    """Write out what earlier turns left in the page cache, lest this one pay for it."""
    os.sync()
