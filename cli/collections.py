"""`flask collections`: make, change, list, show and delete collections, as their administrator."""

import json
from dataclasses import asdict
from typing import Any, Final

import click
from pydantic import ByteSize, TypeAdapter, ValidationError

from cli.commands import Commands, Duration
from services.caller import EVERYONE
from services.collection_fields import CHOICES
from services.collections import CollectionInfo
from views.collections import collection_json
from views.current import services

NO_LIMIT: Final = "none"
_CLEARED: Final = object()
"""Stands for `none`: click takes None for an option that was not given."""

collections = Commands("collections", help="Make, change, list, show and delete collections.")


class Size(click.ParamType[Any]):
    """`500`, `500MB`, `10GiB`, as bytes."""

    name = "size"
    _bytes: Final = TypeAdapter(ByteSize)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the bytes that `value` says. Raises BadParameter."""
        try:
            return int(self._bytes.validate_python(value))
        except ValidationError:
            self.fail(f"{value!r} is no size such as 500MB or 10GiB", param, ctx)


class Types(click.ParamType[Any]):
    """Types of files, comma-separated: `image/*,application/pdf`."""

    name = "types"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[str]:
        """Return the types; what each may be is the service's to say."""
        return [each.strip() for each in str(value).split(",") if each.strip()]


class Age(Duration):
    """A duration, or 0."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the seconds that `value` says. Raises BadParameter."""
        return 0 if value == "0" else super().convert(value, param, ctx)


class OrNone(click.ParamType[Any]):
    """What another type takes, or `none`."""

    def __init__(self, kind: click.ParamType[Any]) -> None:
        self.name = f"{kind.name}|{NO_LIMIT}"
        self._kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return what the other type makes of `value`. Raises BadParameter."""
        return _CLEARED if value == NO_LIMIT else self._kind.convert(value, param, ctx)


as_json: Final = click.option("--json", "in_json", is_flag=True, help="Print JSON.")


@collections.command("set")
@click.argument("name")
@click.option("--visibility", type=click.Choice(CHOICES["visibility"]))
@click.option(
    "--allowed-types", type=OrNone(Types()), help="By content, comma-separated: image/*,text/csv"
)
@click.option("--on-mismatch", type=click.Choice(CHOICES["on_mismatch"]))
@click.option("--max-size", type=OrNone(Size()), help="Of one file: 10MB")
@click.option("--max-files", type=OrNone(click.INT), help="In all, unfinished uploads counted")
@click.option("--max-bytes", type=OrNone(Size()), help="In all, unfinished uploads counted: 50GiB")
@click.option("--expires-in", type=OrNone(Duration()), help="How long new files live: 7d")
@click.option("--backend", type=OrNone(click.STRING), help="Where new files are kept")
@click.option("--delivery", type=click.Choice(CHOICES["delivery"]))
@click.option("--cache-max-age", type=Age(), help="How long caches may keep files: 1h")
@as_json
def set_(name: str, in_json: bool, **options: Any) -> None:
    """Make the collection NAME, or change what is given of it; `none` takes a limit away."""
    given = {field: value for field, value in options.items() if value is not None}
    cleared = {field: None if value is _CLEARED else value for field, value in given.items()}
    info, new = services().collections.set(EVERYONE, name, cleared)
    if in_json:
        _print(info, in_json=True)
    else:
        click.echo(f"{name} {'made' if new else 'changed'}")


@collections.command("list")
@as_json
def list_(in_json: bool) -> None:
    """List the collections."""
    found = services().collections.all(EVERYONE)
    if in_json:
        click.echo(json.dumps([collection_json(each) for each in found], indent=2))
        return
    for each in found:
        click.echo(each.name)


@collections.command("show")
@click.argument("name")
@as_json
def show(name: str, in_json: bool) -> None:
    """Show what the collection NAME asks of files, and how much is used of it."""
    info = services().collections.get(EVERYONE, name)
    usage = asdict(services().usages.of_collection(EVERYONE, name))
    used = {field: usage[field] for field in ("files", "bytes", "reserved_files", "reserved_bytes")}
    _print(info, in_json=in_json, **used)


@collections.command("delete")
@click.argument("name")
def delete(name: str) -> None:
    """Delete the collection NAME, which must have no files, uploads or keys."""
    services().collections.delete(EVERYONE, name)
    click.echo(f"{name} deleted")


def _print(info: CollectionInfo, *, in_json: bool, **more: Any) -> None:
    shown = collection_json(info) | more
    if in_json:
        click.echo(json.dumps(shown, indent=2))
        return
    for field, value in shown.items():
        text = ",".join(value) if isinstance(value, list) else value
        click.echo(f"{field:<16}{NO_LIMIT if text is None else text}")
