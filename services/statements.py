"""Statements for the hottest writes, compiled once and given to the driver as text.

What SQLAlchemy does around each execution of a statement takes longer than what SQLite does for it.
It knows statements and drivers, and no table.
"""

from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any

from sqlalchemy import Dialect, Insert
from sqlalchemy.orm import Session

from services.database import Writing


class Prepared:
    """An insert by parameters of the names `columns`; `make` builds it for a database's dialect."""

    def __init__(self, make: Callable[[str], Insert], columns: Sequence[str]) -> None:
        self._make = make
        self._columns = list(columns)
        self._compiled: dict[str, _Compiled] = {}
        self._lock = Lock()

    def run(self, writing: Writing, rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert `rows`, which have every column. Raises as SQLAlchemy's `execute` does."""
        connection = writing.connection() if isinstance(writing, Session) else writing
        compiled = self._compiled.get(connection.dialect.name)
        if compiled is None:
            compiled = self._compile(connection.dialect)
        given = [compiled.parameters(row) for row in rows]
        connection.exec_driver_sql(compiled.text, given if len(given) > 1 else given[0])

    def _compile(self, dialect: Dialect) -> "_Compiled":
        # Compiling a statement is not for several threads at once.
        with self._lock:
            statement = self._make(dialect.name)
            made = self._compiled[dialect.name] = _Compiled(statement, dialect, self._columns)
        return made


class _Compiled:
    """A statement's text for one driver, and how its values are written for that."""

    def __init__(self, statement: Insert, dialect: Dialect, columns: list[str]) -> None:
        compiled: Any = statement.compile(dialect=dialect, column_keys=columns)
        self.text = str(compiled)
        self._positional = bool(compiled.positional)
        names = compiled.positiontup if self._positional else compiled.binds
        self._writers = [
            (name, compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect))
            for name in names
        ]

    def parameters(self, row: Mapping[str, Any]) -> tuple[Any, ...] | dict[str, Any]:
        values = [row[name] if write is None else write(row[name]) for name, write in self._writers]
        if self._positional:
            return tuple(values)
        return {name: value for (name, _), value in zip(self._writers, values, strict=True)}
