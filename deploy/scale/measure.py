"""What one operation costs each part of a deployment: `python -m deploy.scale.measure`.

It counts processor time, which holds on a busy machine where a rate does not, and divides it by
the operations that were done meanwhile. Clients are threads of this process, and not counted.
docs/scaling.md has the figures and what they come to.
"""

import argparse
import http.client
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psutil
from sqlalchemy import create_engine, text

from deploy.scale.site import Site, site

AT_ONCE = 8
SMALL = os.urandom(4096)
LARGE = os.urandom(32 * 1024**2)
_NUMBERS = count()

Ask = Callable[[http.client.HTTPConnection, Mapping[str, str]], None]
_SIZES = """SELECT (SELECT count(*) FROM files), pg_total_relation_size('files'),
    (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()) - 1"""


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds of a processor for one operation, by part."""

    operation: str
    done: int
    parts: dict[str, float]

    def row(self) -> str:
        cells = [f"{self.parts[name]:.2f}" for name in self.parts]
        return f"| {self.operation} | {self.done:,} | " + " | ".join(cells) + " |"


class Meter:
    """Operations on a site, each done many times by AT_ONCE clients, through nginx."""

    def __init__(self, running: Site, *, times: int) -> None:
        self._site = running
        self._times = times
        self._host = running.url.removeprefix("http://")

    def costs(self) -> Iterator[Cost]:
        """Do everything in turn, and yield what each of it cost."""
        url, etag = self._published(SMALL)
        few = max(AT_ONCE, self._times // 50)
        # nginx gives each small PUT an Idempotency-Key, so that it is committed by itself.
        past = self._site.instances[0].url.removeprefix("http://")
        yield self._cost("PUT of 4 KiB", self._times, _put(SMALL))
        yield self._cost("PUT of 4 KiB, past nginx", self._times, _put(SMALL), past)
        yield self._cost("GET of 4 KiB", self._times, _get(url))
        yield self._cost("GET of 4 KiB, past nginx", self._times, _get(url), past)
        yield self._cost("GET answered by 304", self._times, _get(url, etag))
        yield self._cost("list of 50 files", self._times // 4, _get("/api/files?limit=50"))
        yield self._cost("PUT of 32 MiB", few, _put(LARGE))
        large, _ = self._published(LARGE)
        yield self._cost("GET of 32 MiB", few, _get(large))

    def sizes(self) -> Iterator[str]:
        """Yield what a file takes in rows, and what each part takes in memory."""
        engine = create_engine(self._site.variables["DATABASE_URL"])
        with engine.connect() as connection:
            number, size, clients = connection.execute(text(_SIZES)).one()
        engine.dispose()
        yield f"{number:,} rows of files take {size / number:,.0f} bytes each, indexes included"
        yield f"{clients} connections to PostgreSQL from {len(self._site.instances)} instances"
        for name, processes in self._parts().items():
            resident = sum(process.memory_info().rss for process in processes)
            yield f"{name}: {len(processes)} processes, {resident / 1024**2:,.0f} MiB resident"

    def _cost(self, operation: str, times: int, ask: Ask, host: str = "") -> Cost:
        def work(number: int) -> None:
            there = http.client.HTTPConnection(host or self._host, timeout=120)
            with closing(there) as connection:
                for _ in range(number):
                    ask(connection, headers)

        headers = self._key()
        work(min(50, times // AT_ONCE))
        each = max(1, times // AT_ONCE)
        before = self._spent()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(work, [each] * AT_ONCE))
        after, done = self._spent(), each * AT_ONCE
        return Cost(operation, done, {n: 1000 * (after[n] - before[n]) / done for n in before})

    def _spent(self) -> dict[str, float]:
        """Return the seconds of a processor that each part has used so far."""
        return {name: sum(map(_seconds, processes)) for name, processes in self._parts().items()}

    def _parts(self) -> dict[str, list[psutil.Process]]:
        site = self._site
        return {
            "nginx": site.front.processes(),
            "Holdall": [process for each in site.instances for process in each.processes()],
            "PostgreSQL": site.database_processes(),
            **site.store.processes(),
        }

    def _published(self, content: bytes) -> tuple[str, str]:
        with closing(http.client.HTTPConnection(self._host, timeout=120)) as connection:
            path = f"/api/upload/{next(_NUMBERS)}.bin"
            connection.request("PUT", path, content, self._key())
            told = json.load(connection.getresponse())
            return told["url"], f'"{told["sha256"]}"'

    def _key(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._site.key}"}


def _put(content: bytes) -> Ask:
    def ask(connection: http.client.HTTPConnection, headers: Mapping[str, str]) -> None:
        connection.request("PUT", f"/api/upload/{next(_NUMBERS)}.bin", content, headers)
        _read(connection, 201)

    return ask


def _get(path: str, etag: str = "") -> Ask:
    def ask(connection: http.client.HTTPConnection, headers: Mapping[str, str]) -> None:
        condition = {"If-None-Match": etag} if etag else {}
        connection.request("GET", path, headers={**headers, **condition})
        _read(connection, 304 if etag else 200)

    return ask


def _read(connection: http.client.HTTPConnection, wanted: int) -> None:
    answer = connection.getresponse()
    told = answer.read(1024)
    while answer.read(1024**2):
        pass
    if answer.status != wanted:
        raise RuntimeError(f"{answer.status} in place of {wanted}: {told!r}")


def _seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("python -m deploy.scale.measure", description=__doc__)
    parser.add_argument("--times", type=int, default=2000, help="how often the small ones are done")
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory(prefix="holdall-scale-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)
        with site(folder, instances=1, volumes=2) as running:
            meter = Meter(running, times=options.times)
            for number, cost in enumerate(meter.costs()):
                if not number:
                    print(f"| milliseconds of | times | {' | '.join(cost.parts)} |")
                    print("|---|---|" + "---|" * len(cost.parts))
                print(cost.row(), flush=True)
            print("", *meter.sizes(), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
