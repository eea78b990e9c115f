"""How long thumbnails take, and how much memory: `python -m bench thumbnails`.

Naive is what a first program does with Pillow: open, load the whole picture, `thumbnail`, `save`,
in a process that has imported it before, and with nothing read at a reduced size (no `draft`).
Ours is the service's own process for thumbnails, asked over its socket, likewise started before.
Both get the same picture of 24 megapixels, drawn here, and make 320 pixels of it as JPEG. Seconds
are those of one processor, which other work on the machine hardly changes.

A thumbnail that is kept is downloaded from a service that runs, in turn with a file as long.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import run
from typing import Any
from urllib.request import Request, urlopen

import psutil
from PIL import Image

from bench import servers
from bench.clients import Load
from bench.subjects import get_request
from bench.wrk import fire, has_wrk
from services.imaging import types
from services.thumbnails_pool import Pool

WIDTH, HEIGHT = 6000, 4000
MIB = 1024 * 1024
LEAST_GAIN = 2.0
MOST_MEMORY = 150 * MIB
LEAST_SHARE = 0.9
"""Of the rate of an ordinary download: between two turns of the same there lie a few per cent."""
BOX = {"width": 320, "height": 320, "fit": "contain", "format": "jpeg"}
SAVED: dict[str, tuple[str, dict[str, Any]]] = {
    "JPEG": ("image/jpeg", {"quality": 90}),
    "JPEG, progressive": ("image/jpeg", {"quality": 90, "progressive": True}),
    "PNG": ("image/png", {"compress_level": 1}),
    "WebP": ("image/webp", {"method": 0}),
    "GIF": ("image/gif", {}),
    "AVIF": ("image/avif", {"speed": 10}),
    "HEIC": ("image/heic", {"quality": 60}),
}
SLOW_TO_MAKE = ("GIF", "HEIC")
NAIVE = """
import json, resource, sys, time
import pillow_heif
from PIL import Image
pillow_heif.register_heif_opener()
source, target, times = sys.argv[1], sys.argv[2], []
for _ in range(int(sys.argv[3])):
    began = time.process_time()
    image = Image.open(source)
    image.load()
    image.thumbnail((320, 320))
    image.convert("RGB").save(target)
    times.append(time.process_time() - began)
print(json.dumps([times, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024]))
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """The median of seconds of one processor, and the peak of resident memory in bytes."""

    seconds: float
    memory: int


def main(arguments: Sequence[str]) -> int:
    """Measure, print tables, and return 0 when the promises are kept, 1 when not."""
    parser = argparse.ArgumentParser(prog="python -m bench thumbnails", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="thumbnails of each picture (5)")
    parser.add_argument("--seconds", type=int, default=3, help="of a turn of downloads (3)")
    parser.add_argument("--all", action="store_true", help="also GIF and HEIC, slow to write")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="holdall-thumbnails-") as folder:
        found = compared(Path(folder), options.rounds, everything=options.all)
        print(table(found))
        share = kept_share(Path(folder), options.rounds, options.seconds) if has_wrk() else None
    return report(found["JPEG"], share)


def compared(folder: Path, rounds: int, *, everything: bool) -> dict[str, tuple[Cost, Cost]]:
    """Return what each picture costs us, and naively."""
    drawn = picture()
    found: dict[str, tuple[Cost, Cost]] = {}
    for name, (content_type, options) in SAVED.items():
        if name in SLOW_TO_MAKE and not everything:
            continue
        path = folder / f"{len(found)}.{content_type.partition('/')[2]}"
        form = "HEIF" if name == "HEIC" else content_type.partition("/")[2]
        drawn.save(path, form, **options)
        found[name] = (ours(path, content_type, rounds), naive(path, folder, rounds))
        print(f"{name} measured", file=sys.stderr)
    return found


def picture() -> Image.Image:
    """Draw a picture with the soft detail of a photograph, the same in every run."""
    import pillow_heif

    pillow_heif.register_heif_opener()
    dice = random.Random(24)
    small = Image.frombytes("RGB", (750, 500), dice.randbytes(750 * 500 * 3))
    return small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)


def ours(path: Path, content_type: str, rounds: int) -> Cost:
    """Have the service's own process make thumbnails."""
    assert content_type in types()
    job = {"content_type": content_type, "max_pixels": WIDTH * HEIGHT, "box": BOX}
    pool = Pool(processes=1, seconds=120, memory=1024 * MIB)
    try:
        times = []
        for _ in range(rounds):
            before = spent(pool)
            with open(path, "rb") as source:
                pool.do(job, source)
            times.append(spent(pool) - before)
        return Cost(statistics.median(times[1:] or times), peak(pool))
    finally:
        pool.close()


def spent(pool: Pool) -> float:
    """Return the processor's seconds that the pool's process has used, 0 before it starts."""
    times = [psutil.Process(pid).cpu_times() for pid in pool.processes()]
    return sum(each.user + each.system for each in times)


def peak(pool: Pool) -> int:
    """Return the most bytes that the pool's process had in memory at a time."""
    (pid,) = pool.processes()
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (found,) = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
    return int(found) * 1024


def naive(path: Path, folder: Path, rounds: int) -> Cost:
    """Have a first program make thumbnails."""
    command = [sys.executable, "-c", NAIVE, str(path), str(folder / "small.jpeg"), str(rounds)]
    times, memory = json.loads(run(command, check=True, capture_output=True).stdout)
    return Cost(statistics.median(times[1:] or times), memory)


def kept_share(folder: Path, rounds: int, seconds: int) -> float:
    """Return how many kept thumbnails are sent for each download of a file as long."""
    shares = []
    with servers.holdall(folder / "service", {"LOG_LEVEL": "warning"}) as server:
        jpeg = next(folder.glob("0.*")).read_bytes()
        thumbnail = put(server.base, "a.jpg", jpeg) + "?w=320"
        with urlopen(server.base + thumbnail) as answer:
            small = answer.read()
        plain = put(server.base, "a.webp", small)
        loads = [Load([get_request(path)], [200]) for path in (plain, thumbnail)]
        for _ in range(rounds):
            rates = [fire(server, load, 8, seconds) for load in loads]
            shares.append(rates[1] / rates[0])
            print(f"{rates[0]:,.0f} files/s, {rates[1]:,.0f} thumbnails/s", file=sys.stderr)
    return statistics.median(shares)


def put(base: str, name: str, content: bytes) -> str:
    """Upload a file, and return where it is."""
    request = Request(f"{base}/api/upload/{name}", content, method="PUT")
    with urlopen(request) as answer:
        return str(json.load(answer)["url"])


def table(found: dict[str, tuple[Cost, Cost]]) -> str:
    """Return what was measured."""
    lines = ["| 24 megapixels | ours | naive | gain | ours | naive |", "|" + " --- |" * 6]
    for name, (mine, theirs) in found.items():
        lines.append(
            f"| {name} | {mine.seconds * 1000:,.0f} ms | {theirs.seconds * 1000:,.0f} ms "
            f"| {theirs.seconds / mine.seconds:.1f} "
            f"| {mine.memory / MIB:,.0f} MiB | {theirs.memory / MIB:,.0f} MiB |"
        )
    return "\n".join(lines) + "\n"


def report(jpeg: tuple[Cost, Cost], share: float | None) -> int:
    """Print whether the promises are kept."""
    mine, theirs = jpeg
    gain = theirs.seconds / mine.seconds
    promises = [
        ("JPEG: naive seconds for each of ours ≥ 2", gain, gain >= LEAST_GAIN),
        ("JPEG: MiB of memory ≤ 150", mine.memory / MIB, mine.memory <= MOST_MEMORY),
    ]
    if share is None:
        print("wrk is not installed: downloads were not measured", file=sys.stderr)
    else:
        promises.append(("kept thumbnails for each file sent ≥ 0.9", share, share >= LEAST_SHARE))
    print("| promise | measured | |\n| --- | --- | --- |")
    for promise, measured, met in promises:
        print(f"| {promise} | {measured:,.2f} | {'met' if met else '**not met**'} |")
    return 0 if all(met for _, _, met in promises) else 1
