"""An instance is killed while tus-js-client uploads to it, and another one ends the upload.

HOLDALL_TEST_SIZE=200MiB does it with a file of that size.
"""

import threading
from pathlib import Path

from tests.clients.conftest import Pair, kill
from tests.clients.driving import bytes_asked_for, check_served, content_of, file_of, tus_js
from tests.clients.gate import Gate

MIB = 1024**2


def test_a_client_goes_on_at_another_instance(pair: Pair, tmp_path: Path) -> None:
    size = bytes_asked_for(24 * MIB)
    content = content_of(size)
    killed = threading.Event()

    def fail_over() -> None:
        kill(pair.first)
        gate.target = pair.second.port
        killed.set()

    with Gate(pair.first.port) as gate:
        gate.after(size // 2, fail_over)
        options = {"chunkSize": size // 10, "metadata": {"filename": "long.bin"}}
        told = tus_js(gate.url, file_of(tmp_path, content), seconds=600, options=options)
    assert killed.is_set()
    assert told.ended == "done", told.failed
    resumed = [int(request["to"]) for request in told.sent("HEAD") if request["status"] == 200]
    print(f"{size} bytes, resumed at {resumed}")
    assert len(told.sent("POST")) == 1
    assert size // 10 * 4 <= resumed[-1] <= size // 2, "what was acknowledged is kept"
    file = check_served(pair.second, told.url, content)
    assert file["filename"] == "long.bin"
