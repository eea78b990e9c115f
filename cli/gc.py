"""`flask gc`: removes what has expired and what crashes left, or says what it would remove.

Exit status: 0 done, 2 something could not be looked through.
"""

import json
from datetime import timedelta
from typing import Final

import click
from flask.cli import with_appcontext
from sqlalchemy.exc import SQLAlchemyError

from services.gc import Collected, Collector
from services.gc_items import Item, Options
from views.current import services

_LEAST_GRACE: Final = 3600
_MIB: Final = 1024 * 1024


@click.command("gc")
@click.option("--dry-run", is_flag=True, help="List what would go; change nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line.")
@click.option(
    "--grace",
    type=click.IntRange(min=0),
    help="Seconds that nothing may have touched what goes; GC_GRACE unless given.",
)
@click.option("--force", is_flag=True, help="Go on where nearly nothing agrees.")
@with_appcontext
@click.pass_context
def gc(
    context: click.Context, dry_run: bool, as_json: bool, grace: int | None, force: bool
) -> None:
    """Remove what has expired and what crashes left."""
    settings = services().settings
    seconds = settings.gc_grace if grace is None else grace
    if seconds < _LEAST_GRACE and not (force or dry_run):
        message = f"a --grace of less than {_LEAST_GRACE} removes what is being sent"
        raise click.UsageError(f"{message}: stop the service, and add --force")
    in_memory = {
        name for name, backend in settings.backends.items() if backend.url.startswith("memory:")
    }
    options = Options(
        grace=timedelta(seconds=seconds),
        dry_run=dry_run,
        force=force,
        skip=frozenset(in_memory),
    )
    collected = _collect(services().collector, options, as_json)
    _summary(collected, options, as_json)
    context.exit(2 if collected.problems else 0)


def _collect(collector: Collector, options: Options, as_json: bool) -> Collected:
    collected = Collected()
    try:
        for item in collector.collect(options, collected):
            click.echo(json.dumps(item.as_json()) if as_json else _line(item, options.dry_run))
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()
        collected.problems["database"] = reason[0] if reason else type(error).__name__
    return collected


def _line(item: Item, dry_run: bool) -> str:
    act = "kept" if item.note else "would go" if dry_run else "gone"
    # A key may be whatever stands in a row or a bucket: the terminal must not obey it.
    name = item.name if item.name.isascii() and item.name.isprintable() else ascii(item.name)
    known = [f"{act:<8}  {item.kind:<10}  {item.backend or '-':<8}  {name}"]
    if item.size is not None:
        known.append(f"{item.size} bytes")
    if item.since is not None:
        known.append(f"since {item.since:%Y-%m-%d %H:%M:%S}")
    if item.note:
        known.append(item.note)
    return "  ".join(known)


def _summary(collected: Collected, options: Options, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"dry_run": options.dry_run, **collected.as_json()}))
        return
    for name, problem in collected.problems.items():
        click.echo(f"{name}: could not be looked through: {problem}", err=True)
    kinds = ", ".join(f"{number} {kind}" for kind, number in sorted(collected.number.items()))
    said = "would be removed" if options.dry_run else "removed"
    mebibytes = collected.size.total() / _MIB
    click.echo(f"{said}: {kinds} ({mebibytes:.1f} MiB)" if kinds else f"nothing {said}")
