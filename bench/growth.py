"""Whether ten million files are as quick as ten thousand: `python -m bench growth`.

Files are made behind the service's back (`bench.growth_rows`), in SQLite or in PostgreSQL. Then
the same is asked of both services (`bench.growth_turns`), in turns since the machine's pace
changes, and medians are told: of the time that passed, and of the CPU time of this process and of
the database's.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Final

from app import create_app
from bench.growth_rows import fill
from bench.growth_turns import LISTS, Grown
from config import load_settings
from models import db
from services.caller import Caller
from services.listing import Query

MOST_RATIO: Final = 1.5
FINDS: Final = "a sweep that finds 5"
DEEP: Final = {"the newest": Query(), "by name": Query(sort="name")}
WARM: Final = 2
"""Turns before those that count."""

Turn = Callable[[Grown], object]
STEPS: Final[dict[str, Turn]] = {
    "insert 20 rows": Grown.publish,
    "read 20 rows, anywhere": Grown.read,
    "trash 20 and restore them": Grown.trash,
    "usage of a key, of a collection": Grown.use,
    "room of a quota": Grown.reserve,
    "a sweep that finds none": Grown.sweep,
    FINDS: Grown.sweep,
    "gc's look at the rows": Grown.collect,
    "the look for unhashed and unmeasured": Grown.look_for_work,
    "delete 20 rows, anywhere": Grown.delete,
}


@dataclass(frozen=True, slots=True)
class Measured:
    """Medians: milliseconds and CPU milliseconds of few and of many files, and of the ratios."""

    few: float
    many: float
    ratio: float
    few_cpu: float
    many_cpu: float
    cpu_ratio: float


def main(arguments: Sequence[str]) -> int:
    """Measure, print a table, and return 0 when the promise is kept, 1 when not."""
    options = _options(arguments)
    with _services(options) as (few, many):
        measured = {}
        for name, turn in _turns(options.only).items():
            measured[name] = _compare(name, few, many, turn, options.rounds)
            print(f"{name}: {measured[name].ratio:.2f}", file=sys.stderr)
    return report(measured, options)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench growth", description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000, help="how many files (10000000)")
    parser.add_argument("--against", type=int, default=10_000, help="how many, to compare (10000)")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--rounds", type=int, default=40, help="how often each is asked (40)")
    parser.add_argument("--only", default="", metavar="WORD", help="what has this in its name")
    parser.add_argument("--folder", type=Path, help="where to make them, in a folder of its own")
    parser.add_argument("--keep", type=Path, help="where to make them, or find them made, and stay")
    return parser.parse_args(arguments)


@contextmanager
def _services(options: argparse.Namespace) -> Iterator[tuple[Grown, Grown]]:
    """Make the files, or find them, and run the service with few and that with many."""
    with tempfile.TemporaryDirectory(prefix="holdall-growth-", dir=options.folder) as folder:
        place = options.keep or Path(folder)
        if options.database == "sqlite":
            yield _grown(place, options.against, None), _grown(place, options.rows, None)
            return
        from tests.support.servers import postgres  # which PyPI has for tests alone

        place.mkdir(parents=True, exist_ok=True)
        with postgres(place, durable=True) as server:
            few, many = (
                server.url.replace("/postgres?", f"/files_{rows}?")
                if (place / str(rows)).exists()
                else server.fresh_database(f"files_{rows}")
                for rows in (options.against, options.rows)
            )
            yield _grown(place, options.against, few), _grown(place, options.rows, many)


def _grown(place: Path, rows: int, url: str | None) -> Grown:
    """Run a service of `rows` files in a folder of its own, made before unless it is there."""
    data = place / str(rows)
    there = data.exists()
    settings = {"AUTH_MODE": "open", "DATA_DIR": str(data), "DURABILITY": "os"}
    app = create_app(load_settings(settings | ({"DATABASE_URL": url} if url else {})))
    if not there:
        began = time.monotonic()
        with app.app_context():
            fill(db.engine, rows)
        print(f"{rows:,} files made in {time.monotonic() - began:.0f} s", file=sys.stderr)
    return Grown(app)


def _turns(only: str) -> dict[str, Turn]:
    """Return what is measured, by name."""
    pages = {name: partial(_page, caller=who, query=query) for name, (who, query) in LISTS.items()}
    pages |= {f"{name}, page 2": partial(_next, query=query) for name, query in DEEP.items()}
    every: dict[str, Turn] = STEPS | pages
    return {name: turn for name, turn in every.items() if only in name}


def _page(grown: Grown, caller: Caller, query: Query) -> object:
    return grown.page(caller, query)


def _next(grown: Grown, query: Query) -> object:
    return grown.follow(query)


def _compare(name: str, few: Grown, many: Grown, turn: Turn, rounds: int) -> Measured:
    """Let both take turns. What has to be prepared for one is not measured."""
    taken = []
    for _ in range(WARM + rounds):
        both = []
        for each in (few, many):
            if name in STEPS:
                each.prepare()
            if name == FINDS:
                each.let_expire()
            both.append(_timed(each, turn))
        taken.append(both)
    pairs = taken[WARM:]
    times = [(a[0], b[0], b[0] / a[0], a[1], b[1], b[1] / a[1]) for a, b in pairs]
    return Measured(*(median(column) for column in zip(*times, strict=True)))


def _timed(grown: Grown, turn: Turn) -> tuple[float, float]:
    """Return the milliseconds that a turn takes, and those of CPU time."""
    cpu, began = grown.cpu_seconds(), time.perf_counter()
    turn(grown)
    seconds = time.perf_counter() - began
    return seconds * 1000, (grown.cpu_seconds() - cpu) * 1000


def report(measured: dict[str, Measured], options: argparse.Namespace) -> int:
    """Print what was measured and whether it is what is promised."""
    few, many = f"{options.against:,}", f"{options.rows:,}"
    print(f"| {options.database} | ms of {few} | ms of {many} | ratio | CPU ms | CPU ms | ratio |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, each in measured.items():
        kept = "" if min(each.ratio, each.cpu_ratio) <= MOST_RATIO else " **not met**"
        print(
            f"| {name} | {each.few:.1f} | {each.many:.1f} | {each.ratio:.2f} |"
            f" {each.few_cpu:.1f} | {each.many_cpu:.1f} | {each.cpu_ratio:.2f}{kept} |"
        )
    return int(any(min(each.ratio, each.cpu_ratio) > MOST_RATIO for each in measured.values()))
