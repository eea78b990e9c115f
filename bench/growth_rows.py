"""Files by the million, behind the service's back: as many uploads would take days.

Of what grows with a service, each share is the same at every size: most of what a collection, an
owner or a type has. What is to be rare is there as often at every size: SELDOM times. Indexes are
dropped before and made again after, as their definitions in the database say.

It must not know what is measured.
"""

import math
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from random import Random
from typing import Any, Final

from sqlalchemy import Engine

SELDOM: Final = 40
"""How many files the rare collection, owner, type and word have."""
TRASHED: Final = 100
EXPIRING: Final = 20
"""One of so many is in the trash, or has an end that is far off."""

_BATCH: Final = 20_000
_TO_BASE32: Final = str.maketrans("0189", "wxyz")
_WORDS: Final = (
    *("harbour", "ridge", "kitchen", "invoice", "report", "ferry", "market", "portrait"),
    *("garden", "summer", "contract", "draft", "holiday", "budget", "minutes", "sketch"),
)
_TYPES: Final = (
    *((45, "image/jpeg", "jpg"), (15, "image/png", "png"), (15, "application/pdf", "pdf")),
    *((10, "text/plain", "txt"), (8, "video/mp4", "mp4"), (5, "application/zip", "zip")),
    *((2, "audio/mpeg", "mp3"),),
)
_COLLECTIONS: Final = ((60, "default"), (25, "photos"), (10, "papers"))
COLUMNS: Final = (
    *("id", "collection", "owner", "visibility", "state", "backend", "key", "filename", "folded"),
    *("content_type", "family", "size", "etag", "sha256", "metadata", "media"),
    *("created_at", "updated_at", "expires_at", "deleted_at"),
)
OWNERS: Final = tuple(
    f"{name:a<26}" for name in ("seldom", *(f"key{chr(98 + n)}" for n in range(9)))
)
SMALL_COLLECTIONS: Final = tuple(f"team-{number:02}" for number in range(10))
_MOMENT: Final = "%Y-%m-%d %H:%M:%S.%f"


def rows(number: int) -> Iterator[tuple[Any, ...]]:
    """Yield `number` files in the order of COLUMNS, the oldest first, one a minute."""
    dice = Random(number)
    types = [each for share, *each in _TYPES for _ in range(share)]
    collections = [name for share, name in _COLLECTIONS for _ in range(share)]
    today = datetime.now(UTC)
    seldom = {(place + 1) * number // (SELDOM + 1) for place in range(SELDOM)}
    moment = later = lately = ""
    for place in range(number):
        if place % 60 == 0:
            moment = (today - timedelta(minutes=number - place + 60)).strftime(_MOMENT)
            lately = (today - timedelta(minutes=place // 60 % 4_000)).strftime(_MOMENT)
            later = (today + timedelta(days=30 + place % 1000)).strftime(_MOMENT)
        share = int(dice.random() * 1_000_000)
        content_type, extension = types[share % 100]
        small = SMALL_COLLECTIONS[share % len(SMALL_COLLECTIONS)]
        collection = (collections[share // 100 % 100 :] or [small])[0]
        owner = OWNERS[1 + min(share // 7 % 12, 8)]
        word = _WORDS[share // 11 % 8] if share % 2 else _WORDS[share // 13 % 16]
        if share < 5_000:
            word = "lantern"
        if place == number // 2:
            word = "needle"
        rare = place in seldom
        if rare:
            collection, owner, word = "seldom", OWNERS[0], "quicksilver"
            content_type, extension = "model/stl", "stl"
        serial = dice.randbytes(5).hex()
        name = f"{word} {share // 17 % 10_000:04} {serial[:6]}.{extension}"
        file_id = dice.randbytes(13).hex().translate(_TO_BASE32)
        digest = dice.randbytes(32).hex()
        family = content_type.partition("/")[0]
        yield (
            *(file_id, collection, owner, "public", "ready", "local"),
            *(f"{file_id[:2]}/{file_id}", name, name, content_type, family),
            int(math.exp(8 + dice.random() * 10)),
            *(
                digest,
                digest,
                "{}",
                '{"width": 640, "height": 480}' if family == "image" else "null",
            ),
            *(moment, moment),
            later if share % EXPIRING == 7 and not rare else None,
            lately if share // 23 % TRASHED == 7 and not rare else None,
        )


def fill(engine: Engine, number: int) -> None:
    """Make `number` files in an empty database of the service, and their counters."""
    with engine.connect() as connection:
        raw: Any = connection.connection.driver_connection
        (_fill_sqlite if engine.dialect.name == "sqlite" else _fill_postgresql)(raw, number)


def _parents(later: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield statements for what the files refer to."""
    for name in ("photos", "papers", "seldom", *SMALL_COLLECTIONS):
        yield (
            "INSERT INTO collections (name, visibility, on_mismatch, delivery, cache_max_age,"
            f" created_at, updated_at) VALUES ({later}, 'public', 'correct', 'proxy', 3600,"
            " CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)",
            (name,),
        )
    for owner in OWNERS:
        yield (
            "INSERT INTO api_keys (id, name, hash, hint, scopes, created_at) VALUES"
            f" ({later}, 'bench', {later}, '', '[\"read\", \"write\", \"delete\"]',"
            " CURRENT_TIMESTAMP)",
            (owner, owner),
        )


_COUNTERS: Final = (
    "INSERT INTO counters (collection, owner, files, bytes, trashed_files, trashed_bytes)"
    " SELECT collection, coalesce(owner, ''), count(*), sum(size), count(deleted_at),"
    " coalesce(sum(CASE WHEN deleted_at IS NULL THEN 0 ELSE size END), 0)"
    " FROM files GROUP BY collection, coalesce(owner, '')"
)


def _fill_sqlite(database: sqlite3.Connection, number: int) -> None:
    run = database.execute
    for pragma in ("synchronous = OFF", "journal_mode = OFF", "cache_size = -1500000"):
        run(f"PRAGMA {pragma}").fetchall()
    kept = run(
        "SELECT name, sql, type FROM sqlite_schema WHERE tbl_name = 'files' AND sql IS NOT NULL"
        " AND type IN ('index', 'trigger')"
    ).fetchall()
    figures = run("SELECT tbl, idx, stat FROM sqlite_stat1").fetchall()
    run("BEGIN")
    for statement, values in _parents("?"):
        run(statement, values)
    for name, _, kind in kept:
        run(f"DROP {kind} {name}")
    places = ", ".join("?" * len(COLUMNS))
    insert = f"INSERT INTO files ({', '.join(COLUMNS)}) VALUES ({places})"
    made = rows(number)
    while batch := list(islice(made, _BATCH)):
        database.executemany(insert, batch)
    for _, definition, _ in kept:
        run(definition)
    run("DELETE FROM sqlite_stat1")
    database.executemany("INSERT INTO sqlite_stat1 VALUES (?, ?, ?)", figures)
    run("INSERT INTO file_search (file_search) VALUES ('rebuild')")
    run(_COUNTERS)
    run("COMMIT")
    run("ANALYZE sqlite_schema")
    run("PRAGMA journal_mode = WAL").fetchall()


def _fill_postgresql(database: Any, number: int) -> None:
    run = database.execute
    run("SET maintenance_work_mem = '1GB'")
    run("SET synchronous_commit = off")
    kept = run(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'files'"
        " AND indexname LIKE 'ix%'"
    ).fetchall()
    for name, _ in kept:
        run(f"DROP INDEX {name}")
    for statement, values in _parents("%s"):
        run(statement.replace("'bench', %s,", "'bench', convert_to(%s, 'utf8'),"), values)
    with (
        database.cursor() as cursor,
        cursor.copy(f"COPY files ({', '.join(COLUMNS)}) FROM STDIN") as copy,
    ):
        for row in rows(number):
            copy.write_row(row)
    for _, definition in kept:
        run(definition)
    run(_COUNTERS)
    database.commit()
    database.autocommit = True
    run("VACUUM (ANALYZE) files")
    database.autocommit = False
