"""`flask keys`: make, list and revoke API keys. The first admin key is made here."""

import json
from typing import Final

import click

from cli.commands import Commands, Duration
from services.caller import EVERYONE
from services.keys import KeyInfo
from views.current import services
from views.keys import key_json

_COLUMNS: Final = ("id", "state", "scopes", "collection", "key", "last used", "name")

keys = Commands("keys", help="Make, list and revoke API keys.")


@keys.command("create")
@click.option("--name", required=True, help="What the key is for, to tell it apart.")
@click.option(
    "--scopes", required=True, help="Comma-separated: read, write, delete, admin (all of them)."
)
@click.option("--collection", help="The only collection that it may touch; any, unless given.")
@click.option("--expires-in", type=Duration(), help="How long it is good, as 12h or 30d.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def create(
    name: str, scopes: str, collection: str | None, expires_in: int | None, as_json: bool
) -> None:
    """Make a key and print it, this once.

    The key alone goes to standard output, and what is said about it to standard error.
    """
    made = services().keys.create(
        EVERYONE,
        name=name,
        scopes=[scope.strip() for scope in scopes.split(",") if scope.strip()],
        collection=collection,
        expires_in=expires_in,
    )
    if as_json:
        click.echo(json.dumps(key_json(made.info) | {"key": made.secret}, indent=2))
        return
    click.echo(f"Key {made.info.id} was made. It is shown here and never again:", err=True)
    click.echo(made.secret)


@keys.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def show(as_json: bool) -> None:
    """List every key, the newest first; those that have ended too."""
    found = services().keys.all(EVERYONE)
    if as_json:
        items = [key_json(each) for each in found]
        click.echo(json.dumps({"items": items, "total": len(items)}, indent=2))
        return
    rows = [_COLUMNS, *(_row(each) for each in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


@keys.command("revoke")
@click.argument("key_id", metavar="ID")
def revoke(key_id: str) -> None:
    """Revoke the key with that ID: within a second no instance takes it any more."""
    services().keys.revoke(EVERYONE, key_id, even_last=True)
    click.echo(f"Key {key_id} is revoked.")


def _row(key: KeyInfo) -> tuple[str, ...]:
    used = "never" if key.last_used_at is None else f"{key.last_used_at:%Y-%m-%d %H:%M}"
    scopes = ",".join(key.scopes)
    return (key.id, key.state, scopes, key.collection or "any", key.hint, used, key.name)
