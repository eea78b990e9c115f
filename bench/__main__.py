"""The command: `python -m bench [CASE …]`. Measures, prints the report, and writes it.

`python -m bench fsck`, `growth`, `migrate` and `thumbnails` measure no server beside
others, and stand by themselves: see ALONE.
"""

import argparse
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pydantic import ByteSize, TypeAdapter

from bench import fsck, growth, migrate, opponents, thumbnails
from bench.cases import CASES
from bench.clients import ClientFailed
from bench.lineup import BRINGS, OPPONENTS, cases_against
from bench.picture import as_svg
from bench.report import as_markdown
from bench.results import Results, results_from, write_json
from bench.run import Plan, run
from bench.servers import ServerFailed

SMALLEST = 32 * 1024 * 1024
"""Bytes that the big file must have, so that it has a start and an end."""
RESULTS = Path(__file__).parent / "results" / "last.json"
ALONE = {
    "fsck": fsck.main,
    "growth": growth.main,
    "migrate": migrate.main,
    "thumbnails": thumbnails.main,
}


def main(arguments: Sequence[str]) -> int:
    """Run what the command line names.

    Return 0, 1 when a server failed in its turn, 2 when something needed is missing.
    """
    if (alone := ALONE.get("".join(arguments[:1]))) is not None:
        return alone(arguments[1:])
    options = parser().parse_args(arguments)
    # So that `kill` runs the same clean-up as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        results = results_from(options.read.read_text()) if options.read else _measured(options)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except (ServerFailed, ClientFailed) as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 2
    print(as_markdown(results))
    if options.write:
        write_report(results, options.write)
    return 1 if results.failures else 0


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line, and knows every case and opponent."""
    cases = ", ".join(case.name for case in CASES)
    brought = ", ".join(f"{name} ({', '.join(BRINGS.get(name, (name,)))})" for name in OPPONENTS)
    made = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure Holdall beside other servers, in turns on this machine.",
        epilog=f"Without a server: {', '.join(ALONE)}; each has a --help of its own.",
    )
    made.add_argument("case", nargs="*", type=_case, help=f"which cases, all unless named: {cases}")
    made.add_argument(
        "--against",
        type=_opponents,
        help="opponents, with commas between, all that are installed unless named: " + brought,
    )
    made.add_argument("--rounds", type=int, default=3, help="how often each case is run (3)")
    made.add_argument("--size", type=_size, default="1GiB", help="of the big file (1GiB)")
    made.add_argument("--seconds", type=int, default=1, help="of a turn of small requests (1)")
    made.add_argument(
        "--write", type=Path, metavar="FILE", help="write the report, and its picture beside it"
    )
    made.add_argument(
        "--json", type=Path, metavar="FILE", default=RESULTS, help="where every sample goes"
    )
    made.add_argument(
        "--read", type=Path, metavar="FILE", help="report on such samples and measure nothing"
    )
    return made


def _case(text: str) -> str:
    names = [case.name for case in CASES]
    if text not in names:
        raise argparse.ArgumentTypeError(f"unknown: {text}; known: {', '.join(names)}")
    return text


def _opponents(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if unknown := [name for name in names if name not in OPPONENTS]:
        known = ", ".join(OPPONENTS)
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known: {known}")
    return names


def _size(text: str) -> int:
    size = TypeAdapter(ByteSize).validate_python(text)
    if size < SMALLEST:
        raise argparse.ArgumentTypeError("must be at least 32 MiB")
    return int(size)


def _measured(options: argparse.Namespace) -> Results:
    """Run what the options name and keep every sample. Raises ClientFailed, ServerFailed."""
    if shutil.which("curl") is None:
        raise ClientFailed("curl is not installed")
    asked = options.against or OPPONENTS
    left_out = {name: why for name in asked if (why := opponents.missing(name))}
    if left_out and options.against:
        raise ClientFailed("; ".join(f"{name}: {why}" for name, why in left_out.items()))
    against = [name for name in asked if name not in left_out]
    plan = Plan(
        cases=options.case or cases_against(against),
        against=against,
        size=options.size,
        rounds=options.rounds,
        seconds=options.seconds,
    )
    with tempfile.TemporaryDirectory(prefix="holdall-bench-") as folder:
        results = run(plan, Path(folder))
    results.left_out = left_out
    write_json(results, options.json)
    return results


def write_report(results: Results, file: Path) -> None:
    """Write the report to `file`, and its picture into `pictures` beside it."""
    picture = file.parent / "pictures" / f"{file.stem}.svg"
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_text(as_svg(results))
    file.write_text(as_markdown(results, f"pictures/{picture.name}"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
