"""Look files up where nothing may wait: by prepared statements on a connection of its own.

Only SQLite can promise that. In WAL mode a reader waits for no writer, and where it would have to
(its file is being recovered or replaced) it says so at once. A server across a network may take any
time, so with another database nothing is found here, and whoever asks takes the other way.

Rows are kept, and given again only when SQLite has said, since the turn began, that nothing has
been committed after they were read (`PRAGMA data_version`).
"""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from services.database import Database
from services.files import DELIVERED
from services.stored import StoredFile
from storage.keys import is_random_name

KEPT: Final = 4096
"""Rows that are kept."""

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
        self._rows: dict[str, Row] = {}
        self._version: int | None = None
        self._is_current = False

    def begin_turn(self) -> None:
        """Have whoever looks next see all that was committed before this call."""
        self._is_current = False

    def find(self, file_id: str) -> Row | None:
        """Return the row of a ready file as SQLite has it, None where that is not known at once."""
        if self._file is None or not is_random_name(file_id):
            return None
        try:
            if not self._is_current:
                self._forget_what_changed()
            row = self._rows.get(file_id)
            if row is None:
                row = self._read(file_id)
        except sqlite3.Error:
            self.close()
            return None
        return row

    def _forget_what_changed(self) -> None:
        """Forget all rows if anything was committed since they were read."""
        found = self._first("PRAGMA data_version", ())
        version = found[0] if found else None
        if version != self._version:
            self._rows.clear()
            self._version = version
        self._is_current = True

    def _read(self, file_id: str) -> Row | None:
        given = self._given.copy()
        given[self._place] = file_id
        row = self._first(self._statement, given)
        if row is not None:
            if len(self._rows) >= KEPT:
                self._rows.clear()
            self._rows[file_id] = row
        return row

    def _first(self, statement: str, given: Sequence[Any]) -> Row | None:
        rows = self._connection().execute(statement, given)
        row: Row | None = rows.fetchone()
        # A statement that is not at its end keeps the log from being emptied.
        rows.close()
        return row

    def file(self, row: Row) -> StoredFile:
        """Return what a row says."""
        values = list(row)
        for place, decode in self._decoders:
            values[place] = decode(values[place])
        return StoredFile(*values)

    def close(self) -> None:
        """Close the connection; the next look opens another."""
        self._rows.clear()
        self._is_current = False
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
