"""Turns samples into tables: medians, ratios round by round, and which promises were kept.

It computes and formats; it starts nothing and measures nothing.
"""

import json
import os
import platform
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median

from bench.cases import CASES, MIB, Case, Sample

MEMORY_LIMITS = {"put": 64, "post": 64, "get": 64, "tus": 64, "tus-many": 128, "tus-sparse": 128}
"""How many MiB a process may grow by in a case."""


@dataclass(slots=True)
class Results:
    """Every sample of a run, by case and subject, in the order of the rounds."""

    size: int
    rounds: int
    samples: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, case: Case, subject: str, sample: Sample) -> None:
        """Keep the sample of one turn."""
        self.samples.setdefault(case.name, {}).setdefault(subject, []).append(sample)

    def of(self, case: str, subject: str) -> list[Sample]:
        """Return the samples, none if the subject took no part."""
        return self.samples.get(case, {}).get(subject, [])

    def rate(self, case: str, subject: str) -> float | None:
        """Return the median figure."""
        samples = self.of(case, subject)
        return median(sample.rate for sample in samples) if samples else None

    def ratio(self, case: str, subject: str, against: str) -> float | None:
        """Return the median of the rounds' ratios."""
        return _ratio(self.of(case, subject), self.of(case, against))

    def cases(self) -> list[Case]:
        """Return the cases that were run, in the order of the table."""
        return [case for case in CASES if case.name in self.samples]

    def subjects(self) -> list[str]:
        """Return the subjects in the order in which they joined."""
        return list(dict.fromkeys(name for case in self.samples.values() for name in case))


def _ratio(ours: Sequence[Sample], theirs: Sequence[Sample]) -> float | None:
    pairs = zip(ours, theirs, strict=False)
    ratios = [our.rate / their.rate for our, their in pairs if their.rate]
    return median(ratios) if ratios else None


@dataclass(frozen=True, slots=True)
class Promise:
    """A bound that the service is held to. `figure` is None when the run did not measure it."""

    sentence: str
    figure: float | None
    bound: float
    at_least: bool = True
    form: str = "{:.2f}"

    def verdict(self) -> str:
        """Say whether the promise was kept, in a word or two."""
        if self.figure is None:
            return "not measured"
        kept = self.figure >= self.bound if self.at_least else self.figure <= self.bound
        return "met" if kept else "**not met**"


def promises(results: Results) -> list[Promise]:
    """Hold the results against every bound."""
    start, end = (results.of(name, "holdall") for name in ("ranges-start", "ranges-end"))
    kept = [
        Promise("multipart POST ≥ 2.5 times naive", results.ratio("post", "holdall", "naive"), 2.5),
        Promise("raw PUT ≥ 2.5 times naive", results.ratio("put", "holdall", "naive"), 2.5),
        Promise("GET ≥ 0.8 times nginx", results.ratio("get", "holdall", "nginx"), 0.8),
        Promise("1 MiB ranges ≥ 0.5 times nginx", results.ratio("ranges", "holdall", "nginx"), 0.5),
        # Nine tenths: two measurements of one thing differ by that much on a shared machine.
        Promise("ranges at the end ≥ 0.9 times ranges at the start", _ratio(end, start), 0.9),
    ]
    for subject in ("holdall", "holdall-fsync"):
        ratio = _ratio(results.of("tus", subject), results.of("tus-put", subject))
        kept.append(Promise(f"{subject} tus ≥ 0.5 times a raw PUT", ratio, 0.5))
    for subject in ("holdall", "holdall-fsync", "holdall-s3"):
        kept += _frugality(results, subject)
    for sample in results.of("tus-sparse", "holdall-s3"):
        sentence = "holdall-s3 tus-sparse: fewer than 10,000 parts"
        kept.append(Promise(sentence, sample.parts, 9_999, False, "{:,.0f}"))
    return kept


def _frugality(results: Results, subject: str) -> Iterator[Promise]:
    for case, limit in MEMORY_LIMITS.items():
        samples = results.of(case, subject)
        grown = [sample.usage.growth_largest for sample in samples]
        if grown:
            sentence = f"{subject} {case}: no process grows by more than {limit} MiB"
            yield Promise(sentence, max(grown) / MIB, limit, False, "{:.1f} MiB")
        if case != "get" and samples and subject != "holdall-s3":
            sentence = f"{subject} {case}: bytes written per byte received ≤ 1.05"
            yield Promise(sentence, _written(samples), 1.05, False)


def _written(samples: Sequence[Sample]) -> float:
    # A disk in memory has no pages to write out, and then the write calls tell.
    used = ((max(each.usage.written, each.usage.passed), each.done * MIB) for each in samples)
    return median(written / received for written, received in used)


def as_markdown(results: Results) -> str:
    """Return the whole report."""
    titled = [
        ("Figures", _figures(results)),
        ("Promises", _verdicts(results)),
        ("CPU time of the server", _cpu(results)),
        ("Memory and bytes written", _usage(results)),
        ("What fsync costs", _fsync(results)),
    ]
    sections = [f"## {title}\n\n{_table(rows)}" for title, rows in titled if len(rows) > 1]
    head = [
        "# Performance",
        f"{_machine()}\n{_method(results)}",
        "`make bench` measures this again and `python -m bench --write FILE` writes it.",
    ]
    return "\n\n".join([*head, *sections, *results.notes]) + "\n"


def _method(results: Results) -> str:
    return (
        f"Rounds: {results.rounds}, the servers in turns within each, over loopback, clients on "
        f"the same cores;\nfigures are medians and ratios medians of the rounds' ratios. "
        "Absolute figures drift with the\nmachine, ratios hold.\n\n"
        "`holdall` runs with `DURABILITY=os`, `holdall-fsync` with the default, `holdall-s3` on "
        "SeaweedFS.\n`naive` is `request.files` and `send_from_directory` under the same "
        "gunicorn.conf.py; it has no PUT, so\nits form stands in for one. `naive-raw` adds a PUT "
        "that copies pieces of 64 KiB. `nginx` serves plain files\nand takes DAV PUTs, without "
        "rows or digests; it has no forms, so its PUT stands in for them.\n\n"
        "Each tus upload has a connection of its own, and the SHA-256 in the answer is compared. "
        "The tus client sends\nwith `sendfile` and uses less CPU than curl, so `tus` is held "
        "against a raw PUT by the same client. The zeros\ncome in patches of 64 MB, which do not "
        "end where parts do."
    )


def _machine() -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in ("gunicorn", "Flask", "Werkzeug"))
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return (
        f"Machine: {os.cpu_count()} cores ({cpu[1].strip() if cpu else platform.machine()}), "
        f"Python {platform.python_version()}, {versions}."
    )


def _figures(results: Results) -> list[list[str]]:
    subjects = results.subjects()
    references = [name for name in subjects if not name.startswith("holdall")]
    rows = [["case", "unit", *subjects, *(f"holdall ÷ {name}" for name in references)]]
    for case in results.cases():
        rates = [_number(results.rate(case.name, subject)) for subject in subjects]
        ratios = [_number(results.ratio(case.name, "holdall", name)) for name in references]
        rows.append([case.title.format(size=size_text(results.size)), case.unit, *rates, *ratios])
    return rows


def _verdicts(results: Results) -> list[list[str]]:
    rows = [["promise", "measured", ""]]
    for promise in promises(results):
        figure = "-" if promise.figure is None else promise.form.format(promise.figure)
        rows.append([promise.sentence, figure, promise.verdict()])
    return rows


def _usage(results: Results) -> list[list[str]]:
    rows = [["case", "server", "largest growth of a process", "of all", "written ÷ received"]]
    for case in results.cases():
        for subject in results.subjects():
            samples = results.of(case.name, subject)
            if samples and case.unit == "MiB/s":
                growths = [
                    f"{max(sample.usage.growth_largest for sample in samples) / MIB:.1f} MiB",
                    f"{max(sample.usage.growth_sum for sample in samples) / MIB:.1f} MiB",
                ]
                written = "" if case.name == "get" else f"{_written(samples):.2f}"
                rows.append([case.name, subject, *growths, written])
    return rows


def _cpu(results: Results) -> list[list[str]]:
    subjects = results.subjects()
    rows = [["case", "unit", *subjects]]
    for case in results.cases():
        large = case.unit == "MiB/s"
        scale, unit = (1024, "s/GiB") if large else (1e6, "µs/request")
        each = (results.of(case.name, subject) for subject in subjects)
        spent = [median(s.cpu for s in samples) * scale if samples else None for samples in each]
        title = case.title.format(size=size_text(results.size))
        rows.append([title, unit, *(_number(figure) for figure in spent)])
    return rows


def _fsync(results: Results) -> list[list[str]]:
    rows = [["case", "DURABILITY=os", "DURABILITY=fsync", "fsync ÷ os"]]
    for case in results.cases():
        if results.of(case.name, "holdall-fsync") and results.of(case.name, "holdall"):
            rates = [results.rate(case.name, name) for name in ("holdall", "holdall-fsync")]
            figures = [f"{_number(rate)} {case.unit}" for rate in rates]
            ratio = results.ratio(case.name, "holdall-fsync", "holdall")
            rows.append([case.title.format(size=size_text(results.size)), *figures, _number(ratio)])
    return rows


def _number(figure: float | None) -> str:
    if figure is None:
        return "-"
    return (
        f"{figure:,.0f}" if figure >= 100 else f"{figure:.1f}" if figure >= 10 else f"{figure:.2f}"
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Draw a Markdown table whose columns line up as plain text too."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def line(cells: Sequence[str], fill: Callable[[str, int], str]) -> str:
        padded = (fill(cell, width) for cell, width in zip(cells, widths, strict=True))
        return "| " + " | ".join(padded) + " |"

    rule = line([""] * len(widths), lambda _, width: "-" * width)
    head, *body = (line(row, str.ljust) for row in rows)
    return "\n".join([head, rule, *body])


def size_text(size: int) -> str:
    """Write a number of bytes as people do."""
    for unit, bytes_each in (("GiB", 1024 * MIB), ("MiB", MIB)):
        if size >= bytes_each:
            return f"{size / bytes_each:g} {unit}"
    return f"{size} bytes"


def write_json(results: Results, file: Path) -> None:
    """Write every sample, for a closer look."""
    file.parent.mkdir(parents=True, exist_ok=True)
    plain = {
        case: {name: [sample.as_json() for sample in samples] for name, samples in among.items()}
        for case, among in results.samples.items()
    }
    told = {"size": results.size, "rounds": results.rounds, "samples": plain}
    file.write_text(json.dumps(told, indent=1) + "\n")
