"""How long `flask fsck` takes over a million files, and how much memory: `python -m bench fsck`.

Rows go into SQLite and objects onto the disk behind the service's back, since a million uploads
would take hours; the objects are holes. Some of each are missing, and must be found.
"""

import argparse
import itertools
import json
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

from storage.keys import new_key, random_name

ROOT = Path(__file__).parents[1]
MIB = 1024 * 1024
DAMAGE = 10
"""How many objects have no row, and how many rows no object."""
MOST_SECONDS = 60
MOST_MEMORY = 200 * MIB
BATCH = 10_000
LONG_AGO = "2026-01-01 00:00:00.000000"
INSERT = (
    "INSERT INTO files (id, collection, visibility, state, backend, key, filename, folded,"
    " content_type, family, size, etag, sha256, metadata, created_at, updated_at) VALUES"
    " (?, 'default', 'public', 'ready', 'local', ?, 'a', 'a', 'text/plain', 'text', ?, '', ?, '{}',"
    f" '{LONG_AGO}', '{LONG_AGO}')"
)


@dataclass(frozen=True, slots=True)
class Run:
    """What one check said, how many seconds it took, and its peak of resident memory in bytes."""

    summary: dict[str, Any]
    status: int
    seconds: float
    memory: int


def main(arguments: Sequence[str]) -> int:
    """Measure, print a table, and return 0 when the promises are kept, 1 when not."""
    parser = argparse.ArgumentParser(prog="python -m bench fsck", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="how many files (1000000)")
    parser.add_argument("--rounds", type=int, default=2, help="how often it is run (2)")
    parser.add_argument("--folder", type=Path, help="where to make them, in a folder of its own")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="holdall-fsck-", dir=options.folder) as folder:
        data = Path(folder)
        check(data)
        began = time.monotonic()
        fill(data, options.rows)
        print(f"made in {time.monotonic() - began:.0f} s", file=sys.stderr)
        runs = [check(data) for _ in range(options.rounds)]
        print("deleting what was made", file=sys.stderr)
    for run in runs:
        require_right(run, options.rows)
    return report(runs, options.rows)


def fill(data: Path, rows: int) -> None:
    """Make `rows` files, and the damage."""
    uploads = data / "uploads"
    keys = itertools.islice(iter(new_key, None), rows)
    made: set[str] = set()
    with sqlite3.connect(data / "app.db") as database:
        database.execute("PRAGMA synchronous = OFF")
        for start in range(0, rows, BATCH):
            batch = list(itertools.islice(keys, BATCH))
            database.executemany(INSERT, values(batch))
            objects = batch[DAMAGE:] if start == 0 else batch
            make(uploads, objects, made)
    database.close()
    orphans = [new_key() for _ in range(DAMAGE)]
    make(uploads, orphans, made)
    for key in orphans:
        os.utime(uploads / key, (0, 0))


def values(keys: Sequence[str]) -> Iterator[tuple[str, str, int, str]]:
    """Return what differs from row to row."""
    return ((random_name(), key, size_of(key), key.ljust(64, "0")) for key in keys)


def make(uploads: Path, keys: Sequence[str], made: set[str]) -> None:
    """Make objects that are holes."""
    for key in keys:
        if key[:2] not in made:
            made.add(key[:2])
            (uploads / key[:2]).mkdir(parents=True, exist_ok=True)
        opened = os.open(uploads / key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
        os.ftruncate(opened, size_of(key))
        os.close(opened)


def size_of(key: str) -> int:
    """Return a size that differs from file to file."""
    return sum(key.encode()[-4:])


def check(data: Path) -> Run:
    """Run the command as operators do."""
    environment = {
        "PATH": os.environ["PATH"],
        "AUTH_MODE": "open",
        "DATA_DIR": str(data),
        "DURABILITY": "os",
    }
    command = [sys.executable, "-m", "flask", "--app", "app", "fsck", "--json"]
    began = time.monotonic()
    with Popen(command, stdout=PIPE, env=environment, cwd=ROOT) as process:
        assert process.stdout is not None
        lines = process.stdout.read().splitlines()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - began
    return Run(json.loads(lines[-1]), process.returncode, seconds, usage.ru_maxrss * 1024)


def require_right(run: Run, rows: int) -> None:
    """Raise SystemExit when a run did not find what was to be found: it measured nothing."""
    found = run.summary["backends"]["local"]
    expected = {"missing": DAMAGE, "orphan": DAMAGE}
    if (run.status, found["rows"], found["objects"]) != (1, rows, rows) or (
        found["findings"] != expected
    ):
        raise SystemExit(f"bench: fsck found something else: {run.summary}")


def report(runs: Sequence[Run], rows: int) -> int:
    """Print what was measured and whether it is what is promised."""
    seconds, memory = max(run.seconds for run in runs), max(run.memory for run in runs)
    promises = (
        (f"fsck of {rows:,} files: seconds ≤ {MOST_SECONDS}", seconds, seconds <= MOST_SECONDS),
        ("fsck: MiB of memory ≤ 200", memory / MIB, memory <= MOST_MEMORY),
    )
    print("| promise | worst of the rounds | |\n| --- | --- | --- |")
    for promise, measured, kept in promises:
        print(f"| {promise} | {measured:,.1f} | {'met' if kept else '**not met**'} |")
    return 0 if all(kept for _, _, kept in promises) else 1
