"""PostgreSQL databases with our tables, which one test after the other gets as if they were new.

To make one takes some fifty times as long as to empty one. Only what is as it was made, but for a
few rows, is had again: a database whose tables, indexes or statistics are others by now, that has
grown, or that someone is still connected to is left alone.
"""

import time
from typing import Any, Final, LiteralString
from urllib.parse import urlsplit

import psycopg
from psycopg.sql import SQL, Identifier

from tests.support.servers import PostgresServer

MOST_GROWTH: Final = 256 * 1024
"""In bytes; beyond it, what was deleted would weigh on the plans of the next test's statements."""
_ENDED_SECONDS: Final = 0.5

_SHAPE: Final[LiteralString] = """
SELECT md5(concat(
  (SELECT string_agg(concat_ws(' ', c.oid, c.relname, c.relkind, c.reloptions, a.attname,
                               a.atttypid, a.atttypmod, a.attnotnull, a.atthasdef), ','
                     ORDER BY c.oid, a.attnum)
   FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
   WHERE c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace,
                                'pg_toast'::regnamespace)),
  (SELECT string_agg(oid::text, ',' ORDER BY oid) FROM pg_constraint),
  (SELECT string_agg(oid::text, ',' ORDER BY oid) FROM pg_trigger),
  (SELECT string_agg(oid::text, ',' ORDER BY oid) FROM pg_proc WHERE oid >= 16384),
  (SELECT string_agg(oid::text, ',' ORDER BY oid) FROM pg_namespace),
  (SELECT count(*)::text FROM pg_statistic WHERE starelid >= 16384),
  (SELECT string_agg(setdatabase::text, ',') FROM pg_db_role_setting)
))
"""
_SIZE: Final[LiteralString] = """
SELECT sum(pg_relation_size(oid))::bigint FROM pg_class
WHERE relnamespace = 'public'::regnamespace
"""
_TABLES: Final[LiteralString] = """
SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1
"""
_SEQUENCES: Final[LiteralString] = """
SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' ORDER BY 1
"""
_OTHERS: Final[LiteralString] = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
_Connection = psycopg.Connection[tuple[Any, ...]]


class Databases:
    """Lends databases with all that the database `like` holds."""

    def __init__(self, server: PostgresServer, like: str) -> None:
        self._server = server
        self._like = like
        self._used: list[str] = []
        with server.connected(like) as connection:
            self._shape = _value(connection, _SHAPE)
            self._largest = _value(connection, _SIZE) + MOST_GROWTH
            self._rows = {name: _copied(connection, name) for name in _names(connection, _TABLES)}
            self._last = {
                name: connection.execute(
                    SQL("SELECT last_value, is_called FROM {}").format(Identifier(name))
                ).fetchone()
                for name in _names(connection, _SEQUENCES)
            }

    def lend(self) -> str:
        """Return the SQLAlchemy URL of a database that is as `like` is."""
        while self._used:
            url = self._used.pop()
            if self._is_brought_back(urlsplit(url).path.lstrip("/")):
                return url
        return self._server.fresh_database(like=self._like)

    def give_back(self, url: str) -> None:
        """Take back what was lent; who is connected to it may stay so until the next is lent."""
        self._used.append(url)

    def _is_brought_back(self, name: str) -> bool:
        """Empty a database but for what `like` holds; say whether it can be had again."""
        try:
            with self._server.connected(name) as connection:
                if not _is_alone(connection) or not self._is_as_made(connection):
                    return False
                with connection.transaction():
                    self._restore(connection)
        except psycopg.Error:
            return False
        return True

    def _is_as_made(self, connection: _Connection) -> bool:
        size, shape = _value(connection, _SIZE), _value(connection, _SHAPE)
        return bool(size <= self._largest and shape == self._shape)

    def _restore(self, connection: _Connection) -> None:
        connection.execute("SET LOCAL session_replication_role = replica")  # foreign keys wait
        every = [SQL("DELETE FROM {}").format(Identifier(name)) for name in self._rows]
        connection.execute(SQL("; ").join(every))
        for name, rows in self._rows.items():
            if rows:
                with connection.cursor().copy(
                    SQL("COPY {} FROM STDIN").format(Identifier(name))
                ) as copy:
                    copy.write(rows)
        for name, last in self._last.items():
            assert last is not None
            connection.execute("SELECT setval(%s::regclass, %s, %s)", (f'"{name}"', *last))


def _is_alone(connection: _Connection) -> bool:
    """Say whether nobody else is connected, a moment after the last have left."""
    deadline = time.monotonic() + _ENDED_SECONDS
    while _value(connection, _OTHERS):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _copied(connection: _Connection, table: str) -> bytes:
    with connection.cursor().copy(SQL("COPY {} TO STDOUT").format(Identifier(table))) as copy:
        return b"".join(bytes(piece) for piece in copy)


def _names(connection: _Connection, query: LiteralString) -> list[str]:
    return [name for (name,) in connection.execute(query).fetchall()]


def _value(connection: _Connection, query: LiteralString) -> Any:
    (value,) = connection.execute(query).fetchone() or (None,)
    return value
