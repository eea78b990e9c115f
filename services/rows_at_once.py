"""Look files up where nothing may wait: by one prepared statement on a connection of its own.

Only SQLite can promise that. In WAL mode a reader waits for no writer, and where it would have to
(its file is being recovered or replaced) it says so at once. A server across a network may take any
time, so with another database nothing is found here, and whoever asks takes the other way.
"""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from services.database import Database
from services.files import DELIVERED
from services.stored import StoredFile
from storage.keys import is_random_name

_STATEMENTS: Final = 8

Decode = Callable[[Any], Any]
Row = tuple[Any, ...]


class RowsAtOnce:
    """Files by id, for one thread: the one that asks first."""

    def __init__(self, database: Database) -> None:
        self._file = database.engine.url.database if database.dialect == "sqlite" else None
        compiled = DELIVERED.compile(dialect=database.engine.dialect)
        names = compiled.positiontup or []
        self._statement = compiled.string
        self._given = [compiled.params[name] for name in names]
        self._place = names.index("id") if names else 0
        self._decoders = _decoders(database)
        self._open: sqlite3.Connection | None = None

    def find(self, file_id: str) -> Row | None:
        """Return the row of a ready file as SQLite has it, None where that is not known at once."""
        if self._file is None or not is_random_name(file_id):
            return None
        given = self._given.copy()
        given[self._place] = file_id
        try:
            rows = self._connection().execute(self._statement, given)
            row: Row | None = rows.fetchone()
            # A statement that is not at its end keeps the log from being emptied.
            rows.close()
        except sqlite3.Error:
            self.close()
            return None
        return row

    def file(self, row: Row) -> StoredFile:
        """Return what a row says."""
        values = list(row)
        for place, decode in self._decoders:
            values[place] = decode(values[place])
        return StoredFile(*values)

    def close(self) -> None:
        """Close the connection; the next look opens another."""
        if self._open is not None:
            with suppress(sqlite3.Error):
                self._open.close()
            self._open = None

    def _connection(self) -> sqlite3.Connection:
        if self._open is None:
            assert self._file is not None
            self._open = sqlite3.connect(
                self._file, timeout=0, isolation_level=None, cached_statements=_STATEMENTS
            )
            self._open.execute("PRAGMA query_only = ON")
        return self._open


def _decoders(database: Database) -> list[tuple[int, Decode]]:
    """Return what the columns' own types do to values that the database gives, by place."""
    dialect = database.engine.dialect
    found: list[tuple[int, Decode]] = []
    for place, column in enumerate(DELIVERED.selected_columns):
        decode = column.type.dialect_impl(dialect).result_processor(dialect, None)
        if decode is not None:
            found.append((place, decode))
    return found
