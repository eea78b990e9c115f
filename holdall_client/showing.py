"""What is shown at the terminal: progress on standard error, results on standard output."""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

_LEFT_BY_JSON: Final = re.compile(r"[\x7f-\x9f]")
"""Controls that JSON leaves as they are, and that a terminal may obey."""


class Bars(Protocol):
    """Says how far each file is."""

    def begin(self, name: str, total: int | None) -> TaskID: ...

    def move(self, task: TaskID, done: int, total: int | None = None) -> None: ...

    def end(self, task: TaskID) -> None: ...


class _Silent:
    """Shows nothing: standard error is no terminal, or another form was asked for."""

    def begin(self, name: str, total: int | None) -> TaskID:
        return TaskID(0)

    def move(self, task: TaskID, done: int, total: int | None = None) -> None:
        """Say nothing."""

    def end(self, task: TaskID) -> None:
        """Say nothing."""


class _Shown:
    """A bar for each file that is under way, and one for all of them."""

    def __init__(self, progress: Progress, total: int | None, *, overall: bool) -> None:
        self._progress = progress
        self._overall = progress.add_task("all", total=total) if overall else None
        self._done: dict[TaskID, int] = {}

    def begin(self, name: str, total: int | None) -> TaskID:
        task = self._progress.add_task(escape(printable(name)), total=total)
        self._done[task] = 0
        return task

    def move(self, task: TaskID, done: int, total: int | None = None) -> None:
        if total is None:
            self._progress.update(task, completed=done)
        else:
            self._progress.update(task, completed=done, total=total)
        if self._overall is not None:
            self._progress.advance(self._overall, done - self._done[task])
        self._done[task] = done

    def end(self, task: TaskID) -> None:
        if self._overall is not None:
            self._progress.update(task, visible=False)  # else a thousand bars would pile up


@contextmanager
def bars(*, total: int | None = None, several: bool, quiet: bool) -> Iterator[Bars]:
    """Show progress while a block runs, on a terminal; `total` is in bytes, of all files."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield _Silent()
        return
    columns = (
        TextColumn("{task.description}", markup=True),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=several) as progress:
        yield _Shown(progress, total, overall=several)


def printable(text: str) -> str:
    """Return text from elsewhere without what a terminal would obey."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def show_line(text: str) -> None:
    """Print a line of text from elsewhere."""
    click.echo(printable(text))


def show_json(document: Any) -> None:
    """Print one document."""
    written = json.dumps(document, indent=2, ensure_ascii=False)
    click.echo(_LEFT_BY_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", written))


def show_files(items: Sequence[dict[str, Any]]) -> None:
    """Print files: as a table on a terminal, else a line each with tabs between the fields."""
    if not sys.stdout.isatty():
        for item in items:
            fields = (item["id"], str(item["size"]), item["created_at"], item["content_type"])
            click.echo("\t".join(map(printable, (*fields, item["filename"]))))
        return
    table = Table("id", "size", "type", "created", "name", box=None, pad_edge=False)
    for item in items:
        row = (
            item["id"],
            size_text(item["size"]),
            item["content_type"],
            item["created_at"][:16].replace("T", " "),
            item["filename"],
        )
        table.add_row(*(escape(printable(field)) for field in row))
    Console().print(table)


def size_text(size: int) -> str:
    """Return a size in the largest unit that leaves a number of one or more."""
    amount, units = float(size), ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
    for unit in units:
        if amount < 1024 or unit == units[-1]:
            break
        amount /= 1024
    return f"{size} B" if unit == "B" else f"{amount:.1f} {unit}"


def complain(name: str, reason: str) -> None:
    """Say on standard error what went wrong with one of several."""
    click.echo(f"{printable(name)}: {printable(reason)}", err=True)
