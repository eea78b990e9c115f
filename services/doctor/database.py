"""Whether the database answers, is of this version, and keeps what it is told.

It changes nothing: SQLite's own file is only read, and what SQLite can do on its disk is tried out
on another file.
"""

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from config import Settings
from services.database import engine_options
from services.doctor.disks import mount_of
from services.doctor.findings import Finding, fail, ok, warn
from services.doctor.machine import nearest, write_problem

NAME: Final = "database"
VARIABLE: Final = "DATABASE_URL"
_OLDEST_POSTGRESQL: Final = 13
_MAGIC: Final = b"SQLite format 3\0"
_WAL: Final = b"\x02\x02"
"""What bytes 18 and 19 of a SQLite file in WAL mode are (SQLite file format §1.3)."""


class Unusable(Exception):
    """The database cannot be used; the message says why and holds no password."""


def database(settings: Settings, migrations: Path) -> Iterator[Finding]:
    """Reach the database, and look at its version, its schema and its disk."""
    try:
        url = read_url(settings.database_url)
        if url.get_backend_name() == "sqlite":
            yield from _sqlite(Path(url.database or ""), settings, migrations)
        else:
            yield from _postgresql(settings, migrations)
    except Unusable as error:
        yield fail(NAME, str(error), VARIABLE)


def read_url(text_of_url: str) -> URL:
    """Read a URL of a database that the service can work with. Raises Unusable."""
    try:
        url = make_url(text_of_url)
        url.get_dialect()
    except ValueError as error:
        raise Unusable("the port in it is not a number") from error
    except ArgumentError as error:
        kind = "names a database that is not known" if _is_unknown(error) else "is not a URL"
        raise Unusable(f"it {kind}: use sqlite:////folder/file or postgresql://…") from error
    except ImportError as error:
        raise Unusable("it names a driver that is not installed") from error
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise Unusable("it is neither sqlite:// nor postgresql://")
    return url


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """Open a connection for a few questions. Raises Unusable, of errors of the block too."""
    engine: Engine | None = None
    try:
        engine = create_engine(url, **engine_options(url))
        with engine.connect() as connection:
            yield connection
    except (SQLAlchemyError, ImportError, OSError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()
        raise Unusable(
            f"does not answer: {reason[0] if reason else 'no reason is given'}"
        ) from error
    finally:
        if engine is not None:
            engine.dispose()


def _is_unknown(error: ArgumentError) -> bool:
    return isinstance(error, NoSuchModuleError)


def _sqlite(file: Path, settings: Settings, migrations: Path) -> Iterator[Finding]:
    folder = nearest(file.absolute().parent)
    mount = mount_of(folder)
    if mount is not None and mount.is_shared:
        message = f"SQLite needs a disk of this host, and {folder} is on {mount.filesystem}"
        yield fail(NAME, f"{message}: use a local disk, or PostgreSQL", VARIABLE)
        return
    if problem := write_problem(folder):
        yield fail(NAME, f"SQLite cannot write in {folder} ({problem})", VARIABLE)
        return
    if mode := _mode_of_a_trial(folder):
        yield fail(NAME, f"SQLite gets no write-ahead log in {folder} ({mode})", VARIABLE)
        return
    yield ok(NAME, f"SQLite {sqlite3.sqlite_version}, {_state(file)}")
    if file.exists():
        with connected(settings.database_url) as connection:
            yield _schema(connection, migrations)


def _state(file: Path) -> str:
    """Read the file's own header: opening it for reading would leave files beside it."""
    if not file.exists():
        return "made at the first start"
    try:
        with file.open("rb") as opened:
            header = opened.read(20)
    except OSError as error:
        raise Unusable(f"{file} cannot be read: {error.strerror}") from error
    if header and not header.startswith(_MAGIC):
        raise Unusable(f"{file} is no SQLite database")
    return "write-ahead log" if header[18:20] == _WAL else "its write-ahead log begins at a start"


def _mode_of_a_trial(folder: Path) -> str | None:
    """Write to a database beside ours; return what came of its log, None if it is as it should."""
    try:
        with (
            tempfile.TemporaryDirectory(dir=folder, prefix=".doctor.") as place,
            closing(sqlite3.connect(Path(place) / "trial.db", timeout=2)) as connection,
        ):
            mode = str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
            connection.execute("CREATE TABLE trial (number INTEGER)")
            connection.commit()
    except (sqlite3.Error, OSError) as error:
        return str(error)
    return None if mode == "wal" else f"journal_mode stays {mode}"


def _postgresql(settings: Settings, migrations: Path) -> Iterator[Finding]:
    with connected(settings.database_url) as connection:
        number = int(connection.execute(text("SHOW server_version_num")).scalar_one())
        encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
        read_only = connection.execute(text("SHOW transaction_read_only")).scalar_one()
        if number // 10_000 < _OLDEST_POSTGRESQL:
            message = f"PostgreSQL {number // 10_000} is too old: use {_OLDEST_POSTGRESQL} or later"
            yield fail(NAME, message, VARIABLE)
        elif encoding != "UTF8":
            message = f"its encoding is {encoding}, so not every filename can be kept"
            yield fail(NAME, f"{message}: create it with ENCODING 'UTF8'", VARIABLE)
        elif read_only == "on":
            yield fail(NAME, "it takes no writes: name the primary, and not a replica", VARIABLE)
        else:
            yield ok(NAME, f"PostgreSQL {number // 10_000}.{number % 10_000}, {encoding}")
        yield _schema(connection, migrations)


def _schema(connection: Connection, migrations: Path) -> Finding:
    """Compare the version of the tables with the one that this code needs."""
    scripts = ScriptDirectory(str(migrations))
    needed = scripts.get_current_head()
    if not inspect(connection).has_table("alembic_version"):
        return ok(NAME, "without tables: they are made at the first start")
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if found == needed:
        return ok(NAME, f"schema {found}, the one of this version")
    try:
        known = found is None or scripts.get_revision(found) is not None
    except CommandError:
        known = False
    if known:
        return warn(NAME, f"schema {found}: the next start brings it to {needed}")
    return fail(NAME, f"schema {found} is of a later version of Holdall: run that one", VARIABLE)
