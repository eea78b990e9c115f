"""`flask backup`: copies all that a service on SQLite holds to a folder, while it works.

Exit status: 0 done, 1 the bytes of some files are not in it, 2 it was not made.
"""

import fcntl
import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
from flask.cli import with_appcontext
from sqlalchemy.exc import SQLAlchemyError

from cli.progress import Bar
from models import db
from services.backup import Backup, Saved
from services.database import Database
from storage import open_storage
from storage.base import Storage
from storage.errors import StorageError
from views.current import services

_DATABASE: Final = "app.db"
_SECRET: Final = "secret_key"
_MIB: Final = 1024 * 1024


@click.command("backup")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--without", multiple=True, metavar="B", help="Leave out the files of this backend.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@with_appcontext
@click.pass_context
def backup(context: click.Context, folder: Path, without: tuple[str, ...], as_json: bool) -> None:
    """Copy database and files to FOLDER, which is then a DATA_DIR.

    What an earlier backup there has is not copied again.
    """
    folder = folder.absolute()
    _require_that_it_can(folder)
    try:
        with _locked(folder), Bar(counts_bytes=False) as bar:
            saved = Backup(
                Database(db.engine),
                services().storages,
                folder / _DATABASE,
                lambda name: _target(folder, name),
                without=frozenset(without),
                on_progress=lambda saved: bar.show("copying", saved.copied + saved.reused, None),
            ).run()
            _copy_secret(services().settings.data_dir / _SECRET, folder / _SECRET)
    except (StorageError, SQLAlchemyError, sqlite3.Error, OSError) as error:
        click.echo(f"no backup was made: {error}", err=True)
        context.exit(2)
    _tell(saved, as_json)
    context.exit(1 if saved.problems else 0)


def _require_that_it_can(folder: Path) -> None:
    if db.engine.dialect.name != "sqlite":
        raise click.UsageError("PostgreSQL has tools of its own: see docs/operating.md")
    data_dir = services().settings.data_dir.resolve()
    if folder.resolve() == data_dir or data_dir in folder.resolve().parents:
        raise click.UsageError("FOLDER is in DATA_DIR: a backup belongs on another disk")
    if (folder / f"{_DATABASE}-wal").exists():
        raise click.UsageError("a service uses FOLDER, or has and was killed: it is no backup")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one backup at a time be made there."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "backup.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OSError("another one is being made there") from error
        yield


def _target(folder: Path, backend: str) -> Storage:
    """Open where the files of a backend go: those of `local` where a service looks for them."""
    place = folder / "uploads" if backend == "local" else folder / "backends" / backend
    place.mkdir(parents=True, exist_ok=True)
    return open_storage(place.as_uri(), scratch=folder, durable=True)


def _copy_secret(source: Path, target: Path) -> None:
    """Copy the secret that was made for a service in open mode, for its owner alone to read."""
    if source.exists():
        target.touch(mode=0o600)
        shutil.copyfile(source, target)


def _tell(saved: Saved, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(saved.as_json()))
        return
    for file_id, problem in saved.problems.items():
        click.echo(f"{file_id}: not in the backup: {problem}", err=True)
    meant = f"{saved.files} files ({saved.size / _MIB:.1f} MiB)"
    done = f"{saved.copied} copied, {saved.reused} there before, {saved.removed} removed"
    click.echo(f"backed up {meant}: {done}; {saved.left_out} were deleted meanwhile")
