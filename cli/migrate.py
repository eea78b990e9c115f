"""`flask migrate-storage`: moves files to another backend while the service goes on.

Exit status: 0 all moved, 1 some were not, 2 it could not begin, 130 interrupted.
"""

import json
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from types import FrameType
from typing import Any, Final, cast

import click
from flask import current_app
from flask.cli import with_appcontext
from sqlalchemy.exc import SQLAlchemyError

from cli.fsck_report import sized
from cli.progress import Bar
from models import db
from services.database import Database
from services.migration import Migration
from services.migration_figures import CannotBegin, Failure, Interrupted, Options, Stop, Stopped
from views.current import EXTENSION, Services

WORDS: Final = {0: "moved", 1: "failed", 2: "not begun", 130: "interrupted"}


@click.command("migrate-storage")
@click.option("--from", "source", required=True, metavar="B", help="The backend they are on.")
@click.option("--to", "target", required=True, metavar="B", help="The backend they go to.")
@click.option("--collection", help="Move the files of this collection only.")
@click.option("--dry-run", is_flag=True, help="Say what would be moved; change nothing.")
@click.option("--delete-source", is_flag=True, help="Delete the originals of what was moved.")
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=8,
    show_default=True,
    help="Files that are copied at a time.",
)
@click.option(
    "--linger",
    type=click.FloatRange(min=0),
    help="Seconds before originals are deleted; 30, or as long as links to them hold.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line.")
@with_appcontext
@click.pass_context
def migrate_storage(
    context: click.Context,
    source: str,
    target: str,
    collection: str | None,
    dry_run: bool,
    delete_source: bool,
    workers: int,
    linger: float | None,
    as_json: bool,
) -> None:
    """Move files to another backend, while they can be read and others come.

    Run it again to go on where it ended.
    """
    options = Options(
        source=source,
        target=target,
        collection=collection,
        workers=workers,
        delete_source=delete_source,
        linger=linger,
    )
    context.exit(Command(options, dry_run=dry_run, as_json=as_json).run())


class Command:
    """One call of the command: a migration, what is printed of it, and its exit status."""

    def __init__(self, options: Options, *, dry_run: bool, as_json: bool) -> None:
        self._services = cast(Services, current_app.extensions[EXTENSION])
        self._options = options
        self._dry_run = dry_run
        self._as_json = as_json
        self._bar = Bar(counts_bytes=True)
        self._began = time.monotonic()
        self._migration = Migration(
            Database(db.engine),
            self._services.storages,
            options,
            on_progress=self._show,
            on_wait=lambda reason: _say(f"waiting {reason}"),
        )

    def run(self) -> int:
        """Do it, print the failures as they come and a summary, and return the exit status."""
        problem: str | None = None
        try:
            status = self._run()
        except (Interrupted, KeyboardInterrupt):
            status = 130
        except CannotBegin as error:
            status, problem = 2, str(error)
        except Stopped as error:
            status, problem = 1, str(error)
        except SQLAlchemyError as error:
            status, problem = 1 if self._migration.tally.files else 2, _sentence(error)
        self._summary(status, problem)
        return status

    def _run(self) -> int:
        self._require_reachable()
        if self._dry_run:
            self._migration.estimate()
            return 0
        self._warn()
        stop = self._migration.stop
        with _interrupts(stop), self._bar, closing(self._migration.run()) as failures:
            for failure in failures:
                self._print(failure)
        return 1 if self._migration.tally.failed else 0

    def _require_reachable(self) -> None:
        """Raise CannotBegin for the memory of another process, which looks like an empty store."""
        for name in (self._options.source, self._options.target):
            backend = self._services.settings.backends.get(name)
            if backend is not None and backend.url.startswith("memory:"):
                raise CannotBegin(f"{name} is the memory of another process")

    def _warn(self) -> None:
        """Say where new files still go to the source."""
        if self._services.settings.storage_backend == self._options.source:
            _say("new files still go to the source: set STORAGE_BACKEND first")
        if named := self._migration.rows.kept_on_source():
            _say(f"new files of these collections still go to the source: {', '.join(named)}")

    def _show(self) -> None:
        tally = self._migration.tally
        words = f"{tally.done:,} of {max(tally.files, tally.done):,} files"
        self._bar.show(words, tally.done_size, max(tally.files_size, tally.done_size))

    def _print(self, failure: Failure) -> None:
        if self._as_json:
            click.echo(json.dumps(failure.as_json()))
            return
        what = "not deleted" if failure.moved else "not moved"
        file = f"file {failure.file}" if failure.file else "its original"
        key = failure.key if failure.key.isprintable() else ascii(failure.key)
        click.echo(f"{click.style(what, fg='red')}  {key}  {file}: {failure.reason}")

    def _summary(self, status: int, problem: str | None) -> None:
        tally = self._migration.tally
        seconds = time.monotonic() - self._began
        if self._as_json:
            said: dict[str, Any] = {"summary": "dry run" if self._dry_run else WORDS[status]}
            if status == 2:
                said["summary"] = WORDS[2]
            if problem is not None:
                said["problem"] = problem
            click.echo(json.dumps(said | tally.as_json() | {"seconds": round(seconds, 3)}))
        elif status != 2:
            for line in self._lines(seconds):
                click.echo(line)
        if problem is not None:
            _say(problem)
        if status == 130:
            _say("interrupted: run it again to go on")

    def _lines(self, seconds: float) -> Sequence[str]:
        tally, options = self._migration.tally, self._options
        way = f"{options.source} to {options.target}"
        if self._dry_run:
            lines = [f"{way}: {tally.files:,} files would move, {sized(tally.files_size)}"]
        else:
            rate = sized(tally.moved_size / max(seconds, 0.001))
            size = sized(tally.moved_size)
            lines = [f"{way}: {tally.moved:,} files moved, {size} in {seconds:,.1f} s, {rate}/s"]
            also = (
                (tally.failed, "failed"),
                (tally.reused, "had a whole copy there already"),
                (tally.gone, "were deleted or changed meanwhile"),
                (tally.filled, "were given their SHA-256"),
                (tally.deleted, f"originals deleted, {sized(tally.deleted_size)}"),
                (tally.left, f"are left on {options.source}"),
            )
            lines += [f"  {number:,} {words}" for number, words in also if number]
        if tally.uploads:
            lines.append(f"  {tally.uploads:,} uploads go on there: a later run moves their files")
        return lines


@contextmanager
def _interrupts(stop: Stop) -> Iterator[None]:
    """Have the first Ctrl-C end it where nothing is half done, and the second one at once."""

    def asked(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            signal.default_int_handler(number, frame)
        stop.set()

    before = signal.signal(signal.SIGINT, asked)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _say(sentence: str) -> None:
    click.echo(sentence, err=True)


def _sentence(error: SQLAlchemyError) -> str:
    reason = str(getattr(error, "orig", None) or error).splitlines()
    return f"the database failed: {reason[0] if reason else type(error).__name__}"
