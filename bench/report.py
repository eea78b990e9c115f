"""Writes a run's results as Markdown: who was measured, the tables, which promises were kept.

It formats; what follows from the samples is worked out in `results` and `promises`.
"""

from collections.abc import Callable, Iterator, Sequence

from bench.cases import SHARE, Case
from bench.promises import promises
from bench.results import Results, middle, written
from bench.samples import MIB, Sample

SUBJECTS = {
    "holdall": "Holdall with `DURABILITY=os`",
    "holdall-fsync": "Holdall with `DURABILITY=fsync`, the default",
    "holdall-s3": "Holdall with its objects in SeaweedFS, by S3",
    "nginx": "plain files and DAV PUT, without rows or digests; its PUT stands in for the form",
    "seaweedfs": "SeaweedFS's filer",
    "seaweedfs-s3": "the S3 door of the same SeaweedFS, unsigned",
    "rclone-http": "`rclone serve http`, which takes no uploads",
    "rclone-webdav": "`rclone serve webdav`",
    "rclone-s3": "`rclone serve s3`, unsigned",
    "copyparty": "copyparty without log lines; it digests uploads with SHA-512",
    "tus-server": "`@tus/server` with `@tus/file-store`, one process; its 4 KiB upload is one POST",
    "starlette": "what a tutorial writes, under uvicorn with uvloop, a worker a core",
    "naive": "Flask's `request.files` and `send_from_directory` under gunicorn, 1536 threads",
    "naive-raw": "the same with a PUT that copies pieces of 64 KiB",
    "naive-2x8": "the same under two workers of eight threads",
    "boto3": "boto3's own `upload_fileobj` and `download_fileobj` straight to the SeaweedFS of "
    "`holdall-s3`, small objects by 16 threads of one process; the CPU time is SeaweedFS's",
}
METHOD = """\
The servers take turns within each round, over loopback, with their clients on the same cores.
Figures are medians, ratios medians of the rounds' ratios: absolute figures drift with the
machine, ratios hold. CPU time is that of all of a server's processes, the client's not among it;
memory is the growth of the peak within a turn, of the process that grew most and of all together;
written ÷ received is bytes that went to the disk for each byte of body. A 4 KiB request is one of
16 connections' at a time, a range one of 4. Small requests are sent by wrk where it is installed,
ranges by our own driver, large bodies by curl. Each tus upload has a connection of its own, and
the SHA-256 of what was stored is compared; the tus client sends with `sendfile`, so `tus` is held
against a raw PUT by the same client. Beside slow clients, 500 uploaders send and 500 readers read
8 bytes a second each, while others are served; the figure is what is left of the others' rate.
`make bench` measures all of this again, and this page is written by `python -m bench --write
docs/performance.md`, never by hand."""


def as_markdown(results: Results, picture: str | None = None) -> str:
    """Return the whole report, with the picture at that relative path."""
    sections = [
        ("At a glance", _glance(results)),
        ("Promises", _table(_verdicts(results))),
        *((_title(case, results), _table(_details(case, results))) for case in results.cases()),
        ("What fsync costs", _table(_fsync(results))),
        ("What the clients reach", _table(_ceilings(results))),
        ("Who was measured", _who(results)),
    ]
    told = [f"**{_one_line(failure)}**" for failure in results.failures] + results.notes
    shown = [f"## {title}\n\n{text}" for title, text in sections if text]
    drawn = f"![The ratio of each server to the reference of each case]({picture})"
    head = ["# Performance", f"{results.machine}\n{_extent(results)}", METHOD]
    return "\n\n".join([*head, *([drawn] if picture else []), *shown, *told]) + "\n"


def _extent(results: Results) -> str:
    return (
        f"Rounds: {results.rounds}, of {results.seconds} s for small requests and ranges; the "
        f"large file has {size_text(results.size)}."
    )


def _title(case: Case, results: Results) -> str:
    return case.title.format(size=size_text(results.size))


def _glance(results: Results) -> str:
    """Return each server's ratio, in a table for each reference."""
    kinds: dict[str, list[Case]] = {}
    for case in results.cases():
        if not case.aside:
            kinds.setdefault(_against(case), []).append(case)
    return "\n\n".join(_overview(against, cases, results) for against, cases in kinds.items())


def _overview(against: str, cases: Sequence[Case], results: Results) -> str:
    rows = [[against, *(f"`{case.name}`" for case in cases)]]
    for subject in results.subjects():
        figures = [relative(results, case, subject) for case in cases]
        if figures.count(None) < len(figures):
            rows.append([subject, *(_number(figure) for figure in figures)])
    return _table(rows)


def relative(results: Results, case: Case, subject: str) -> float | None:
    """Return a subject's ratio to the case's reference, or its share where the case is one."""
    if case.unit == SHARE:
        return results.rate(case.name, subject)
    return results.ratio(case.name, subject, case.reference)


def _against(case: Case) -> str:
    return "share left" if case.unit == SHARE else f"÷ {case.reference}"


def _verdicts(results: Results) -> list[list[str]]:
    rows = [["promise", "measured", ""]]
    rows += [[each.sentence, each.measured(), each.verdict()] for each in promises(results)]
    return rows


def _details(case: Case, results: Results) -> list[list[str]]:
    """Return a row for each subject of the case."""
    among = [name for name in results.subjects() if results.of(case.name, name)]
    columns: list[tuple[str, Callable[[str, Sequence[Sample]], str]]] = [
        ("server", lambda name, _: name),
        *(_shares() if case.unit == SHARE else _rates(case, results)),
        ("largest growth", lambda _, samples: _growth(s.usage.growth_largest for s in samples)),
        ("of all", lambda _, samples: _growth(s.usage.growth_sum for s in samples)),
    ]
    if case.receives and not case.name.startswith("s3-"):
        columns.append(("written ÷ received", lambda _, s: _number(written(case, s))))
    rows = [[name for name, _ in columns]]
    rows += [[cell(name, results.of(case.name, name)) for _, cell in columns] for name in among]
    return rows


def _rates(
    case: Case, results: Results
) -> Iterator[tuple[str, Callable[[str, Sequence[Sample]], str]]]:
    ours = "holdall-s3" if case.reference == "boto3" else "holdall"
    large = case.unit == "MiB/s"
    scale, unit = (1024, "CPU s/GiB") if large else (1e6, "CPU µs/request")
    yield case.unit, lambda name, _: _number(results.rate(case.name, name))
    yield (
        f"÷ {case.reference}",
        lambda name, _: _number(results.ratio(case.name, name, case.reference)),
    )
    yield f"{ours} ÷ it", lambda name, _: _number(results.ratio(case.name, ours, name))
    yield unit, lambda _, samples: _number(middle(s.cpu * scale for s in samples))


def _shares() -> Iterator[tuple[str, Callable[[str, Sequence[Sample]], str]]]:
    yield "req/s without", lambda _, samples: _number(middle(s.unloaded for s in samples))
    yield "req/s with", lambda _, samples: _number(middle(s.rate * s.unloaded for s in samples))
    yield "share", lambda _, samples: _number(middle(s.rate for s in samples))
    yield "still connected", lambda _, samples: str(min(s.held for s in samples))


def _growth(sizes: Iterator[int]) -> str:
    return f"{max(sizes) / MIB:.1f} MiB"


def _fsync(results: Results) -> list[list[str]]:
    rows = [["case", "DURABILITY=os", "DURABILITY=fsync", "fsync ÷ os", "CPU, fsync ÷ os"]]
    for case in results.cases():
        ours, synced = (results.of(case.name, name) for name in ("holdall", "holdall-fsync"))
        if ours and synced:
            rates = [results.rate(case.name, name) for name in ("holdall", "holdall-fsync")]
            figures = [f"{_number(rate)} {case.unit}" for rate in rates]
            ratio = results.ratio(case.name, "holdall-fsync", "holdall")
            pairs = zip(synced, ours, strict=False)
            cpu = middle(one.cpu / other.cpu for one, other in pairs if other.cpu)
            rows.append([_title(case, results), *figures, _number(ratio), _number(cpu)])
    return rows


def _ceilings(results: Results) -> list[list[str]]:
    rows = [["client, with nginx", "reached", "client's CPU", "nginx's CPU"]]
    for each in results.ceilings:
        scale, unit = (1e6, "µs/request") if each.unit == "req" else (1024, "s/GiB")
        spent = [f"{_number(cpu * scale)} {unit}" for cpu in (each.client_cpu, each.server_cpu)]
        rows.append([each.client, f"{_number(each.rate)} {each.unit}/s", *spent])
    return rows


def _one_line(text: str, most: int = 200) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[:most] + " …"


def _who(results: Results) -> str:
    lines = []
    for name in results.subjects():
        version = results.versions.get(name, "")
        lines.append(f"- **{name}**{f' ({version})' if version else ''}: {SUBJECTS[name]}.")
    lines += [f"- {name} was left out: {why}." for name, why in results.left_out.items()]
    return "\n".join(lines)


def _number(figure: float | None) -> str:
    if figure is None:
        return "-"
    for least, form in ((100, "{:,.0f}"), (10, "{:.1f}"), (0.1, "{:.2f}")):
        if figure >= least:
            return form.format(figure)
    return f"{figure:.3f}"


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Draw a Markdown table whose columns line up as plain text too; nothing without a row."""
    if len(rows) < 2:
        return ""
    widths = [max(3, *(len(row[column]) for row in rows)) for column in range(len(rows[0]))]

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
