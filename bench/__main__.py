"""The command: `python -m bench [CASE …]`. Runs the rounds and prints the report.

`python -m bench fsck`, `listing`, `migrate` and `thumbnails` measure no server beside others, and
stand by themselves: see ALONE.
"""

import argparse
import itertools
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from pydantic import ByteSize, TypeAdapter

from bench import clients, fsck, listing, migrate, servers, thumbnails
from bench.cases import CASES, SPARSE, Case, Fixture, driver_ceiling, seed
from bench.lineup import OPPONENTS, lineup, takes_part
from bench.report import Results, as_markdown, write_json
from bench.subjects import Subject

SMALL = 4096
SMALLEST = 32 * 1024 * 1024
"""Bytes that the big file must have, so that it has a start and an end."""
PIECE = 8 * 1024 * 1024
RESULTS = Path(__file__).parent / "results" / "last.json"


ALONE = {
    "fsck": fsck.main,
    "listing": listing.main,
    "migrate": migrate.main,
    "thumbnails": thumbnails.main,
}


def main() -> int:
    """Run what the command line names; return 0, or 2 when something needed is missing."""
    if (alone := ALONE.get("".join(sys.argv[1:2]))) is not None:
        return alone(sys.argv[2:])
    options = _options()
    # So that `kill` runs the same clean-up as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="holdall-bench-") as folder:
            results = _run(options, Path(folder))
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except (servers.ServerFailed, clients.ClientFailed) as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 2
    report = as_markdown(results)
    print(report)
    write_json(results, options.json)
    if options.write:
        options.write.write_text(report)
    return 0


def _options() -> argparse.Namespace:
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure Holdall beside a naive blueprint and nginx."
    )
    parser.add_argument(
        "case", nargs="*", help=f"which cases, all unless named: {', '.join(names)}"
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each case is run (3)")
    parser.add_argument("--size", type=_size, default="1GiB", help="of the big file (1GiB)")
    parser.add_argument("--seconds", type=int, default=2, help="of a turn of small requests (2)")
    parser.add_argument(
        "--against",
        default="naive,nginx",
        type=lambda text: tuple(text.split(",")),
        help=f"opponents, of {','.join(OPPONENTS)} (naive,nginx)",
    )
    parser.add_argument("--s3", action="store_true", help="also measure Holdall on SeaweedFS")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the report there too")
    parser.add_argument("--json", type=Path, metavar="FILE", default=RESULTS, help="every sample")
    options = parser.parse_args()
    for given, known in ((options.case, names), (options.against, OPPONENTS)):
        if unknown := sorted(set(given) - set(known)):
            parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(known)}")
    options.case = tuple(options.case or names)
    return options


def _size(text: str) -> int:
    size = TypeAdapter(ByteSize).validate_python(text)
    if size < SMALLEST:
        raise argparse.ArgumentTypeError("must be at least 32 MiB")
    return int(size)


def _run(options: argparse.Namespace, folder: Path) -> Results:
    if shutil.which("curl") is None:
        raise clients.ClientFailed("curl is not installed")
    results = Results(options.size, options.rounds)
    if options.s3:
        _leave_out_what_finds_no_room(options, folder, results)
    fixture = Fixture(folder / "big.bin", folder / "small.bin", options.size, options.seconds)
    _write_noise(fixture.big_file, options.size)
    _write_noise(fixture.small_file, SMALL)
    with lineup(folder, options.against, options.case, s3=options.s3) as subjects:
        for subject in subjects:
            seed(subject, fixture)
        chosen = [case for case in CASES if case.name in options.case]
        for _, group in itertools.groupby(chosen, lambda case: case.group or case.name):
            _rounds(list(group), subjects, fixture, results)
        _note_the_ceiling(subjects, fixture, results)
    return results


def _leave_out_what_finds_no_room(
    options: argparse.Namespace, folder: Path, results: Results
) -> None:
    """Drop the upload of SPARSE bytes where the disk could not hold it and the rest of the run."""
    wanted, free = 2 * SPARSE, shutil.disk_usage(folder).free
    if "tus-sparse" in options.case and free < wanted:
        options.case = tuple(name for name in options.case if name != "tus-sparse")
        results.notes.append(
            f"`tus-sparse` was left out: it wants {wanted >> 30} GiB of disk, and "
            f"{free >> 30} GiB are free."
        )


def _rounds(cases: list[Case], subjects: list[Subject], fixture: Fixture, results: Results) -> None:
    """Let every subject do `cases` in its turn, round by round."""
    turns = [(s, case) for s in subjects for case in cases if takes_part(s.name, case.name)]
    for number in range(1, results.rounds + 1):
        for subject, case in turns:
            rounds = 1 if case.once else results.rounds
            if number > rounds:
                continue
            sample = case.turn(subject, fixture)
            results.add(case, subject.name, sample)
            place = f"{case.name} {number}/{rounds}"
            print(f"{place:20} {subject.name:14} {sample.rate:10,.1f} {case.unit}", file=sys.stderr)
            subject.server.settle()


def _note_the_ceiling(subjects: list[Subject], fixture: Fixture, results: Results) -> None:
    """Show that our own driver is not what limits the servers that it measures."""
    for subject in subjects:
        if subject.name == "nginx":
            ceiling = driver_ceiling(subject, fixture)
            results.notes.append(
                "Our driver, which sends the ranges and the small uploads, itself reaches "
                f"{ceiling:,.0f} answers\na second with 4 KiB GETs from nginx."
            )


def _write_noise(file: Path, size: int) -> None:
    """Write bytes that nothing can compress, the same in every run."""
    dice = random.Random(size)
    with open(file, "wb") as out:
        while size > 0:
            out.write(dice.randbytes(min(size, PIECE)))
            size -= PIECE


if __name__ == "__main__":
    sys.exit(main())
