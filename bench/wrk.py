"""Small requests in great number: by wrk where it is installed, by our own driver elsewhere.

wrk is fed by a script in Lua that this writes; it sends the same bytes as our driver would.
"""

import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bench.clients import ClientFailed, Load, drive
from bench.driver import NUMBER
from bench.servers import Server

THREADS = 2
THREAD_NUMBERS = 10**11
"""How many numbers each of wrk's threads has for itself."""
GRACE_SECONDS = 60
PROBE_SECONDS = 5.0

SCRIPT = """
local started = 0
function setup(thread)
  thread:set("number", {first} + started * {span})
  started = started + 1
end
local requests = {{
{requests}
}}
local turn = 0
request = function()
  turn = turn % #requests + 1
  local parts = requests[turn]
  if not parts[2] then return parts[1] end
  number = number + 1
  return parts[1] .. string.format("%012d", number) .. parts[2]
end
"""


def has_wrk() -> bool:
    """Say whether wrk is installed."""
    return shutil.which("wrk") is not None


def fire(server: Server, load: Load, connections: int, seconds: int, first: int = 0) -> float:
    """Send `load` over `connections`; return right answers in a second, 0 where none came.

    wrk takes any status up to 399 for right, so that one request is looked at beforehand.
    Raises ClientFailed.
    """
    probe(server, load, first)
    if not has_wrk():
        return drive(server, load, connections, seconds, first)
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_script(load, first))
        script.flush()
        return _wrk(server, Path(script.name), connections, seconds)


def probe(server: Server, load: Load, first: int) -> None:
    """Send one request; raise ClientFailed for a wrong status. No answer in time is not one."""
    address = ("127.0.0.1", server.port)
    with suppress(TimeoutError), socket.create_connection(address, PROBE_SECONDS) as connection:
        connection.sendall(load.requests[0].replace(NUMBER, b"%012d" % first, 1))
        said = connection.recv(1000).partition(b"\r\n")[0]
        if int(said[9:12] or b"0") not in load.statuses:
            raise ClientFailed(f"{said!r} is not one of {load.statuses}")


def _script(load: Load, first: int) -> str:
    requests = ",\n".join(
        "  {" + ", ".join(_literal(part) for part in _parts(request, load.numbered)) + "}"
        for request in load.requests
    )
    return SCRIPT.format(first=first, span=THREAD_NUMBERS, requests=requests)


def _parts(request: bytes, numbered: bool) -> Sequence[bytes]:
    return request.split(NUMBER, 1) if numbered else [request]


def _literal(text: bytes) -> str:
    """Write bytes as Lua does, each by its number."""
    return '"' + "".join(f"\\{byte:03d}" for byte in text) + '"'


def _wrk(server: Server, script: Path, connections: int, seconds: int) -> float:
    options = [f"-t{THREADS}", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"]
    done = subprocess.run(
        ["wrk", *options, "-s", str(script), server.base],
        capture_output=True,
        text=True,
        timeout=seconds + GRACE_SECONDS,
    )
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    if done.returncode or not rate or "Non-2xx" in done.stdout:
        raise ClientFailed(f"wrk: {done.stdout}{done.stderr}")
    return float(rate[1])
