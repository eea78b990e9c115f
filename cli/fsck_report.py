"""What `flask fsck` prints: a line for each finding and a summary, as text or as JSON.

It knows findings and figures, and must not know how they were found.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import click

from services.fsck_findings import Finding, Kind, Tally

_COLOURS = {Kind.ORPHAN: "yellow", Kind.UNFINISHED: "yellow"}


@dataclass(slots=True)
class Outcome:
    """How the whole check went. `problems` say, by backend, why one could not be checked."""

    tallies: dict[str, Tally] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False

    def status(self) -> int:
        """Return the exit status."""
        if self.interrupted:
            return 130
        if self.problems:
            return 2
        return 1 if any(tally.findings.total() for tally in self.tallies.values()) else 0


class Report(ABC):
    """Where findings go as they come, and the summary at the end."""

    @abstractmethod
    def finding(self, finding: Finding) -> None: ...

    @abstractmethod
    def summary(self, outcome: Outcome) -> None: ...


class JsonLines(Report):
    """One JSON object a line: each finding, and a last one with the summary."""

    WORDS: ClassVar = {0: "clean", 1: "findings", 2: "unchecked", 130: "interrupted"}

    def finding(self, finding: Finding) -> None:
        click.echo(json.dumps(finding.as_json()))

    def summary(self, outcome: Outcome) -> None:
        backends: dict[str, dict[str, Any]] = {
            name: tally.as_json() | {"seconds": round(outcome.seconds.get(name, 0.0), 3)}
            for name, tally in outcome.tallies.items()
        }
        for name, problem in outcome.problems.items():
            backends.setdefault(name, {})["problem"] = problem
        click.echo(json.dumps({"summary": self.WORDS[outcome.status()], "backends": backends}))


class Text(Report):
    """Lines for people. What is wrong with the check itself goes to standard error."""

    def finding(self, finding: Finding) -> None:
        colour = _COLOURS.get(finding.kind, "red")
        kind = click.style(f"{finding.kind:<10}", fg=colour)
        click.echo(f"{kind}  {finding.backend}  {_printable(finding.key)}  {_detail(finding)}")

    def summary(self, outcome: Outcome) -> None:
        for name, tally in outcome.tallies.items():
            if name not in outcome.problems and not outcome.interrupted:
                for line in _lines(name, tally, outcome.seconds[name]):
                    click.echo(line)
        for name, problem in outcome.problems.items():
            click.echo(f"{name}: could not be checked: {problem}", err=True)
        if outcome.interrupted:
            click.echo("interrupted: what is printed is not all", err=True)


def sized(size: int | float) -> str:
    """Write a number of bytes as people read it."""
    value = float(size)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:,.0f} {unit}" if unit == "bytes" else f"{value:,.1f} {unit}"
        value /= 1024
    return f"{value:,.1f} TiB"


def _detail(finding: Finding) -> str:
    file = f"file {finding.file}" if finding.file else "no file"
    words = {
        Kind.MISSING: f"{file}: {_bytes(finding.expected)} that are not there",
        Kind.ORPHAN: f"{file}: {_bytes(finding.found)}, of {finding.modified:%Y-%m-%d %H:%M} UTC"
        if finding.modified
        else file,
        Kind.SIZE: f"{file}: {_bytes(finding.found)}, and not {_bytes(finding.expected)}",
        Kind.SHA256: f"{file}: SHA-256 {finding.found}, and not {finding.expected}",
        Kind.UNREADABLE: f"{file}: cannot be read",
        Kind.UNFINISHED: f"{file}: a row that was never finished",
    }[finding.kind]
    note = f" ({finding.note})" if finding.note else ""
    return words + (": deleted" if finding.deleted else "") + note


def _lines(name: str, tally: Tally, seconds: float) -> Iterator[str]:
    counted = f"{tally.seen_rows:,} files and {tally.objects:,} objects in {seconds:,.1f} s"
    found = ", ".join(f"{number:,} {kind}" for kind, number in sorted(tally.findings.items()))
    yield f"{name}: {counted}: {found or 'clean'}"
    if tally.read:
        rate = sized(tally.read_size / max(seconds, 0.001))
        yield f"  {tally.read:,} objects read, {sized(tally.read_size)}, {rate}/s"
    if tally.undigested:
        yield f"  {tally.undigested:,} files had no SHA-256, {tally.filled:,} were given theirs"
    if tally.orphans_size:
        freed = f", {tally.deleted:,} deleted: {sized(tally.deleted_size)} freed"
        yield f"  orphans hold {sized(tally.orphans_size)}{freed if tally.deleted else ''}"
    if tally.young or tally.uploads:
        yield f"  no findings: {tally.young:,} young objects, {tally.uploads:,} of uploads"
    if tally.thumbnails:
        yield f"  no findings: {tally.thumbnails:,} thumbnails"
    if tally.shared or tally.queued:
        queued = f"{tally.queued:,} queued for mirroring"
        yield f"  no findings: {tally.shared:,} of backends that are kept here too, {queued}"
    if tally.copies:
        size = sized(tally.copies_size)
        yield f"  no findings: {tally.copies:,} copies of other backends' files, {size}"


def _bytes(size: int | str | None) -> str:
    return sized(size) if isinstance(size, int) else "nothing"


def _printable(key: str) -> str:
    """Return a key as it can be shown: one that this service did not make may hold anything."""
    return key if key.isascii() and key.isprintable() else ascii(key)
