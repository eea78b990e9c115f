"""Connections and transactions: one short transaction a step, and none held while bytes move.

Services take a `Database`. It knows how each engine wants to be opened, and nothing of tables.
"""

import fcntl
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker

from storage.errors import StorageFull

_BUSY_TIMEOUT_MS = 5_000
_TRIED_AGAIN = 0.0003
"""Seconds between two tries to take SQLite's write lock."""
_POOL_TIMEOUT = 10
_CACHE_KIB = 8 * 1024
"""What a connection to SQLite keeps of it: with 2 MiB, ten million files cost a third more."""
TURN_WITHIN: Final = 10.0
"""Seconds that a writer waits for others of its process at the most."""
KEPT: Final = 8 * 1024 * 1024
"""Bytes of SQLite's disk that no new file takes."""
_UPGRADE_LOCK = 0x686F6C64616C6C


class Database:
    """Short transactions on one engine, for reading or for writing."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._reading = sessionmaker(engine, expire_on_commit=False)
        self._at_once = engine.execution_options(begins=False)
        self._writes = engine.execution_options(writes=True)
        self._writing = sessionmaker(self._writes, expire_on_commit=False)
        self._turn = threading.Lock() if self.dialect == "sqlite" else None
        file = engine.url.database if self.dialect == "sqlite" else None
        self._folder = str(Path(file).parent) if file else None

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self.engine.dialect.name

    def require_room(self) -> None:
        """Raise StorageFull when SQLite's disk is full but for what deleting files takes.

        Without it, a disk that files have filled to the last byte could not be emptied again.
        """
        if self._folder is not None and shutil.disk_usage(self._folder).free < KEPT:
            raise StorageFull("the database's disk has no room left")

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session for reading; it ends with the block."""
        with self._reading() as session:
            yield session

    def connect(self) -> Connection:
        """Open a connection for one statement, which is its own transaction."""
        return self._at_once.connect()

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a session for writing, committed when the block ends well and else rolled back.

        On SQLite it takes the write lock at once: a transaction that reads first and writes later
        cannot wait for the lock, it fails (SQLITE_BUSY).
        """
        with self._in_turn(), self._writing.begin() as session:
            yield session

    @contextmanager
    def write_plainly(self) -> Iterator[Connection]:
        """Open a connection for writing as `write` does, without what an ORM session costs."""
        with self._in_turn(), self._writes.begin() as connection:
            yield connection

    @contextmanager
    def _in_turn(self) -> Iterator[None]:
        """Let this process's writers to SQLite go one by one, before they take a connection.

        SQLite itself lets waiting writers try at intervals that grow, and out of many some are
        always too late. Raises PoolTimeout.
        """
        if self._turn is None:
            yield
            return
        if not self._turn.acquire(timeout=_POOL_TIMEOUT):
            raise PoolTimeout("too many writers wait for the database")
        try:
            yield
        finally:
            self._turn.release()


Writing = Session | Connection
"""What a transaction's statements are given to: both have `execute`."""


def dialect_of(writing: Writing) -> str:
    """Return `sqlite` or `postgresql`."""
    bind = writing.get_bind() if isinstance(writing, Session) else writing
    return bind.dialect.name


def engine_options(url: str) -> dict[str, Any]:
    """Return what `create_engine` needs for `url`: a small pool, and waits with an end."""
    options: dict[str, Any] = {"pool_size": 8, "max_overflow": 0, "pool_timeout": _POOL_TIMEOUT}
    if make_url(url).get_backend_name() == "sqlite":
        return options | {"connect_args": {"check_same_thread": False}}
    return options | {
        "pool_pre_ping": True,
        "connect_args": {"connect_timeout": 5, "options": "-c lock_timeout=5000"},
    }


def prepare_engine(engine: Engine, *, durable: bool) -> None:
    """Set up SQLite's connections: WAL, bounded waits, explicit transactions."""
    if engine.dialect.name != "sqlite":
        return
    synchronous = "FULL" if durable else "NORMAL"

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        # The wait comes first: switching to WAL is itself something to wait for.
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if options.get("writes", False):
            if not connection.info.get("spares_files"):
                # Else each statement that touches many indexes makes and removes a file beside it.
                connection.exec_driver_sql("PRAGMA temp_store = MEMORY")
                connection.info["spares_files"] = True
            _begin_writing(connection)
        elif options.get("begins", True):
            connection.exec_driver_sql("BEGIN")


def _begin_writing(connection: Connection) -> None:
    """Take SQLite's write lock soon after it is free, and wait _BUSY_TIMEOUT_MS at the most.

    SQLite's own waits are of 1, 2, 5, 10 milliseconds and more, while a commit takes less than one:
    of two processes with many uploads, one would sleep while nobody has the lock.
    """
    driver: Any = connection.connection.dbapi_connection
    ends = time.monotonic() + _BUSY_TIMEOUT_MS / 1000
    driver.execute("PRAGMA busy_timeout = 0")
    try:
        while time.monotonic() < ends:
            try:
                driver.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    break
                time.sleep(_TRIED_AGAIN)
            else:
                return
        # What is wrong now is told as for any statement.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    finally:
        driver.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")


@contextmanager
def upgrade_lock(engine: Engine, folder: Path) -> Iterator[None]:
    """Let one process at a time, on any host that shares the database, change the schema."""
    if engine.dialect.name == "sqlite":
        with (folder / "upgrade.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        return
    with engine.connect() as connection:
        connection.execute(text("SET lock_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": _UPGRADE_LOCK})
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": _UPGRADE_LOCK})
            connection.commit()
