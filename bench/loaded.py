"""Turns that show what is left for others while a thousand slow clients are connected.

The figure is a share: the rate with 500 slow uploaders and 500 slow readers over that without.
"""

import json
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bench.clients import ClientFailed, flush_disk
from bench.meter import metered
from bench.samples import Fixture, Sample
from bench.servers import ROOT
from bench.subjects import Subject, get_request

UPLOADERS = READERS = 500
SLOW_SECONDS = 120.0
"""How long the slow clients stay at most."""
PROMISED = 64 * 1024 * 1024
"""How many bytes a slow uploader says it will send."""
MARK = b"the bytes of a slow upload"


def get(subject: Subject, fixture: Fixture) -> Sample:
    """GET small files beside slow clients."""
    paths = fixture.small[subject.name]
    return _share(subject, fixture, lambda: subject.read_rate(paths, fixture.seconds))


def upload(subject: Subject, fixture: Fixture) -> Sample:
    """Upload small files beside slow clients."""
    body = fixture.small_files[0].read_bytes()
    flush_disk()
    return _share(
        subject,
        fixture,
        lambda: subject.upload_rate(body, fixture.seconds, fixture.numbers()),
    )


def _share(subject: Subject, fixture: Fixture, rate: Callable[[], float]) -> Sample:
    before = rate()
    with metered(subject.server) as usage, _slow_clients(subject, fixture) as held:
        loaded = rate()
    subject.server.settle()
    # The better of two, since a shared machine may have stood still in one of them.
    unloaded = max(before, rate())
    if not unloaded:
        raise ClientFailed("no answers even without slow clients")
    done = max(1.0, loaded * fixture.seconds)
    return Sample(loaded / unloaded, done, usage, held=held[0], unloaded=unloaded)


@contextmanager
def _slow_clients(subject: Subject, fixture: Fixture) -> Iterator[list[int]]:
    """Keep the slow clients connected; what is lent holds their number once they are gone."""
    upload, download = slow_upload(subject), get_request(fixture.big[subject.name])
    job = {
        "port": subject.server.port,
        "upload": b64encode(upload).decode(),
        "download": b64encode(download).decode(),
        "uploads": UPLOADERS,
        "downloads": READERS,
        "seconds": SLOW_SECONDS,
    }
    command = [sys.executable, "-m", "bench.slow"]
    held: list[int] = []
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdin and process.stdout
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            if process.stdout.readline() != "ready\n":
                raise ClientFailed("the slow clients did not connect")
            # A server first fills each reader's socket, which is work that ends.
            subject.server.settle()
            yield held
            said, _ = process.communicate(timeout=SLOW_SECONDS)
            held.append(int(said))
        finally:
            process.kill()


def slow_upload(subject: Subject) -> bytes:
    """Return the beginning of an upload that says it is large, by the door of small ones."""
    whole = subject.small_upload(MARK).requests[0]
    begun = whole[: whole.index(MARK) + len(MARK)]
    return re.sub(rb"(Content-Length|Upload-Length): \d+", rb"\1: %d" % PROMISED, begun, count=2)
