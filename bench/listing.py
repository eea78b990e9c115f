"""A page of 50 files among a million against one among a thousand: `python -m bench listing`.

Rows go into SQLite behind the service's back, since a million uploads would take hours. Pages are
asked for in turns, through the service's own WSGI application and no socket.
"""

import argparse
import itertools
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from statistics import median
from typing import Final

from flask.testing import FlaskClient

from app import create_app
from config import load_settings
from storage.keys import new_key, random_name

FEW: Final = 1_000
MOST_RATIO: Final = 1.5
BATCH: Final = 10_000
WORDS: Final = ("harbour", "ridge", "kitchen", "invoice", "report", "ferry", "market", "portrait")
TYPES: Final = (("image", "image/jpeg", "jpg"), ("text", "text/plain", "txt"))
INSERT: Final = (
    "INSERT INTO files (id, collection, visibility, state, backend, key, filename, folded,"
    " content_type, family, size, etag, sha256, metadata, created_at, updated_at) VALUES"
    " (?, 'default', 'public', 'ready', 'local', ?, ?, ?, ?, ?, ?, '', NULL, '{}',"
    " '2026-01-01 00:00:00.000000', '2026-01-01 00:00:00.000000')"
)
PAGES: Final = {
    "the newest": "",
    "by name": "&sort=name",
    "the largest": "&sort=-size",
    "of a type": "&type=text/plain",
    "of a family, by name": "&type=image/*&sort=name",
    "of a collection, by size": "&collection=default&sort=size",
    "searched, one match": "&q=needle",
    "searched, few matches": "&q=000042",
    "searched, an eighth matches": "&q=harbour",
}
"""What is asked for. The last is counted up to 10,000 matches, which a thousand files have not."""


def main(arguments: Sequence[str]) -> int:
    """Measure, print a table, and return 0 when the promise is kept, 1 when not."""
    parser = argparse.ArgumentParser(prog="python -m bench listing", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="how many files (1000000)")
    parser.add_argument("--rounds", type=int, default=40, help="how often each is asked (40)")
    parser.add_argument("--folder", type=Path, help="where to make them, in a folder of its own")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="holdall-listing-", dir=options.folder) as folder:
        few = client_of(Path(folder) / "few", FEW)
        many = client_of(Path(folder) / "many", options.rows)
        measured = {
            name: compare(few, many, query, options.rounds) for name, query in PAGES.items()
        }
        # A second page begins where the first ended.
        following = (follow(few), follow(many))
        measured["the second by name"] = compare_each(few, many, *following, options.rounds)
    return report(measured, options.rows)


def client_of(data: Path, rows: int) -> FlaskClient:
    """Return a client of a service that has `rows` files."""
    settings = {"AUTH_MODE": "open", "DATA_DIR": str(data), "DURABILITY": "os"}
    app = create_app(load_settings(settings))
    began = time.monotonic()
    with sqlite3.connect(data / "app.db") as database:
        database.execute("PRAGMA synchronous = OFF")
        made = values(rows)
        while batch := list(itertools.islice(made, BATCH)):
            database.executemany(INSERT, batch)
        size = "SELECT count(*), sum(size) FROM files"
        database.execute(
            "INSERT INTO counters (collection, owner, files, bytes)"
            f" SELECT 'default', '', counted.* FROM ({size}) AS counted"
        )
    database.close()
    print(f"{rows:,} files made in {time.monotonic() - began:.0f} s", file=sys.stderr)
    return app.test_client()


def values(rows: int) -> Iterator[tuple[str | int, ...]]:
    """Yield what differs from row to row: one name in a thousand files has `needle` in it once."""
    dice = Random(0)
    for number in range(rows):
        family, content_type, extension = TYPES[number % 10 == 0]
        word = "needle" if number == rows // 2 else WORDS[number % len(WORDS)]
        name = f"{word} {dice.choice(WORDS)[:3]} {number:06}.{extension}"
        size = dice.randrange(1, 10_000_000)
        yield random_name(), new_key(), name, name, content_type, family, size


def follow(client: FlaskClient) -> str:
    """Return the query of the second page by name."""
    page = client.get("/api/files?limit=50&sort=name").get_json()
    return f"&sort=name&cursor={page['next_cursor']}"


def compare(
    few: FlaskClient, many: FlaskClient, query: str, rounds: int
) -> tuple[float, float, float]:
    """Return the median milliseconds among few files, among many, and their median ratio."""
    return compare_each(few, many, query, query, rounds)


def compare_each(
    few: FlaskClient, many: FlaskClient, of_few: str, of_many: str, rounds: int
) -> tuple[float, float, float]:
    """Ask in turns, each with a query of its own."""
    taken = [(ask(few, of_few), ask(many, of_many)) for _ in range(rounds)]
    return (
        median(one for one, _ in taken) * 1000,
        median(other for _, other in taken) * 1000,
        median(other / one for one, other in taken),
    )


def ask(client: FlaskClient, query: str) -> float:
    """Return the seconds that a page takes."""
    began = time.perf_counter()
    answer = client.get(f"/api/files?limit=50{query}")
    seconds = time.perf_counter() - began
    if answer.status_code != 200 or not answer.get_json()["items"]:
        raise SystemExit(f"bench: no page for {query!r}: {answer.data!r}")
    return seconds


def report(measured: dict[str, tuple[float, float, float]], rows: int) -> int:
    """Print what was measured and whether it is what is promised."""
    print(f"| 50 files | ms among {FEW:,} | ms among {rows:,} | ratio | ≤ {MOST_RATIO} |")
    print("| --- | --- | --- | --- | --- |")
    for name, (few, many, ratio) in measured.items():
        kept = "met" if ratio <= MOST_RATIO else "**not met**"
        print(f"| {name} | {few:.1f} | {many:.1f} | {ratio:.2f} | {kept} |")
    return 0 if all(ratio <= MOST_RATIO for _, _, ratio in measured.values()) else 1
