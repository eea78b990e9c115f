"""`flask fsck`: holds the rows against the objects, and says what does not agree.

Exit status: 0 clean, 1 findings, 2 something could not be checked, 130 interrupted.
"""

import time
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from typing import Final, cast

import click
from flask import current_app
from flask.cli import with_appcontext
from sqlalchemy.exc import SQLAlchemyError

from cli.fsck_report import JsonLines, Outcome, Report, Text
from cli.progress import Bar
from models import db
from services.database import Database
from services.fsck import GRACE, Fsck, Options, Unchecked
from services.fsck_findings import Tally
from views.current import EXTENSION, Services

_LEAST_GRACE: Final = 3600
_IN_MEMORY: Final = "it is the memory of another process"


@click.command("fsck")
@click.option("--backend", "backends", multiple=True, help="Check this one only; repeatable.")
@click.option("--verify", is_flag=True, help="Read every object, and compare its SHA-256.")
@click.option("--repair", is_flag=True, help="Delete orphans; with --verify, fill in SHA-256.")
@click.option("--force", is_flag=True, help="Go on where nearly nothing agrees.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line.")
@click.option(
    "--grace",
    type=click.IntRange(min=0),
    default=int(GRACE.total_seconds()),
    show_default=True,
    help="Seconds that an object may be without a row.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="Objects that --verify reads at a time.",
)
@with_appcontext
@click.pass_context
def fsck(
    context: click.Context,
    backends: Sequence[str],
    verify: bool,
    repair: bool,
    force: bool,
    as_json: bool,
    grace: int,
    workers: int,
) -> None:
    """Compare rows and objects; nothing is changed without --repair."""
    if repair and grace < _LEAST_GRACE and not force:
        message = f"--repair with a --grace of less than {_LEAST_GRACE} deletes what is being sent"
        raise click.UsageError(f"{message}: stop the service, and add --force")
    options = Options(
        verify=verify,
        repair=repair,
        force=force,
        workers=workers,
        grace=timedelta(seconds=grace),
    )
    report: Report = JsonLines() if as_json else Text()
    context.exit(run(options, backends, report))


def run(options: Options, backends: Sequence[str], report: Report) -> int:
    """Check `backends`, or all, and return the exit status."""
    outcome = Outcome()
    try:
        _check_all(options, backends, report, outcome)
    except KeyboardInterrupt:
        outcome.interrupted = True
    except SQLAlchemyError as error:
        outcome.problems["database"] = _sentence(error)
    report.summary(outcome)
    return outcome.status()


def _check_all(options: Options, backends: Sequence[str], report: Report, outcome: Outcome) -> None:
    services = cast(Services, current_app.extensions[EXTENSION])
    in_memory = {
        name
        for name, backend in services.settings.backends.items()
        if backend.url.startswith("memory:")
    }
    tally, name = Tally(), ""
    with Bar(counts_bytes=options.verify) as bar:

        def show() -> None:
            _show(bar, name, tally, options)

        check = Fsck(Database(db.engine), services.storages, options, show)
        known = check.backends()
        if unknown := sorted({*backends} - {*known}):
            raise click.UsageError(f"no backend is called {unknown[0]}: there are {known}")
        for name in check.chosen(backends) or known:
            if name in in_memory:
                outcome.problems[name] = _IN_MEMORY
                continue
            tally = outcome.tallies[name] = Tally()
            _check(check, name, tally, report, outcome)


def _check(check: Fsck, name: str, tally: Tally, report: Report, outcome: Outcome) -> None:
    began = time.monotonic()
    try:
        with closing(check.check(name, tally)) as findings:
            for finding in findings:
                report.finding(finding)
    except Unchecked as error:
        outcome.problems[name] = str(error)
    except SQLAlchemyError as error:
        outcome.problems[name] = _sentence(error)
    finally:
        outcome.seconds[name] = time.monotonic() - began


def _show(bar: Bar, name: str, tally: Tally, options: Options) -> None:
    if options.verify and tally.seen_rows:
        bar.show(name, tally.read_size, max(tally.rows_size, tally.read_size))
    else:
        bar.show(name, tally.seen_rows, max(tally.rows, tally.seen_rows))


def _sentence(error: SQLAlchemyError) -> str:
    reason = str(getattr(error, "orig", None) or error).splitlines()
    return f"the database failed: {reason[0] if reason else type(error).__name__}"
