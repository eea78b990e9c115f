"""The cases: what is done to each subject in one turn, and what figure comes of it.

A turn happens on a quiet server, leaves nothing large behind, and is repeated round by round.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench import clients
from bench.clients import Load, Transfer, drive, wrk
from bench.meter import Usage, metered
from bench.subjects import Subject, get_request
from bench.tus import Piece, sha256

MIB = 1024 * 1024
CONNECTIONS = 16
RANGE_CONNECTIONS = 4
RANGES = 512
EDGE = 16
"""How many MiB at either end of the file count as its start and its end."""
PATCH = 64 * MIB
MANY = 100
MANY_SIZE = 10 * MIB
MANY_PATCH = MANY_SIZE // 4
SPARSE = 5 * 1024 * MIB
SPARSE_PATCH = 64 * 10**6
"""Not a multiple of any part's size, so that nearly every patch ends within a part."""


@dataclass(slots=True)
class Fixture:
    """What the cases work on: two source files, how long a turn lasts, and what is stored where.

    `big` and `small` map a subject's name to the path that it serves the file at.
    """

    big_file: Path
    small_file: Path
    size: int
    seconds: int
    big: dict[str, str] = field(default_factory=dict)
    small: dict[str, str] = field(default_factory=dict)
    numbered: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """One turn's figure, in the case's unit, how much was done in all, and what the server used.

    `parts` is how many the stored object has, 0 where that was not looked up.
    """

    rate: float
    done: float
    usage: Usage
    parts: int = 0

    @property
    def cpu(self) -> float:
        """The server's CPU seconds for each unit done, which other work on the machine spares."""
        return self.usage.cpu / self.done

    def as_json(self) -> dict[str, object]:
        """Return plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Case:
    """`turn` does the case once; `unit` is that of its figure, and more is better.

    Cases that are held against each other share a `group`: a server does them one after the other.
    One that is to be done `once` has no further rounds.
    """

    name: str
    title: str
    unit: str
    turn: Callable[[Subject, Fixture], Sample]
    group: str = ""
    once: bool = False


def seed(subject: Subject, fixture: Fixture) -> None:
    """Store both files with `subject`, by its own door, and remember where."""
    for source, known in ((fixture.small_file, fixture.small), (fixture.big_file, fixture.big)):
        uploaded = subject.put(source, source.name)
        known[subject.name] = subject.path(uploaded, source.name)


def _put(subject: Subject, fixture: Fixture) -> Sample:
    return _upload(subject, fixture, subject.put)


def _post(subject: Subject, fixture: Fixture) -> Sample:
    return _upload(subject, fixture, subject.post)


def _upload(subject: Subject, fixture: Fixture, act: Callable[[Path, str], Transfer]) -> Sample:
    clients.flush_disk()
    with metered(subject.server) as usage:
        uploaded = act(fixture.big_file, "turn.bin")
    subject.discard(uploaded, "turn.bin")
    return Sample(fixture.size / MIB / uploaded.seconds, fixture.size / MIB, usage)


def _tus_put(subject: Subject, fixture: Fixture) -> Sample:
    piece = Piece(fixture.big_file, 0, fixture.size)
    return _pieces(subject, [piece], lambda: [subject.put_piece(piece)])


def _tus(subject: Subject, fixture: Fixture) -> Sample:
    return _by_tus(subject, [Piece(fixture.big_file, 0, fixture.size)], PATCH)


def _tus_many(subject: Subject, fixture: Fixture) -> Sample:
    """Upload stretches of the big file, all different, at the same time."""
    step = (fixture.size - MANY_SIZE) // (MANY - 1)
    pieces = [Piece(fixture.big_file, number * step, MANY_SIZE) for number in range(MANY)]
    return _by_tus(subject, pieces, MANY_PATCH)


def _tus_sparse(subject: Subject, fixture: Fixture) -> Sample:
    """Upload a file that is one hole: it has no bytes on the client's disk."""
    hole = fixture.big_file.with_name("hole.bin")
    with open(hole, "wb") as file:
        file.truncate(SPARSE)
    try:
        return _by_tus(subject, [Piece(hole, 0, SPARSE)], SPARSE_PATCH, in_parts=True)
    finally:
        hole.unlink()


def _by_tus(
    subject: Subject, pieces: Sequence[Piece], patch: int, *, in_parts: bool = False
) -> Sample:
    return _pieces(subject, pieces, lambda: subject.tus(pieces, patch), in_parts=in_parts)


def _pieces(
    subject: Subject,
    pieces: Sequence[Piece],
    act: Callable[[], list[Transfer]],
    *,
    in_parts: bool = False,
) -> Sample:
    """Upload pieces by `act`, and see that each became the file that it is."""
    expected = [sha256(piece) for piece in pieces]
    clients.flush_disk()
    with metered(subject.server) as usage:
        began = time.monotonic()
        uploaded = act()
        seconds = time.monotonic() - began
    if [subject.sha256(each) for each in uploaded] != expected:
        raise clients.ClientFailed("a file has another SHA-256 than what was sent")
    size = sum(piece.size for piece in pieces) / MIB
    parts = subject.parts(pieces[0].size) if in_parts else 0
    for each in uploaded:
        subject.discard(each, "")
    return Sample(size / seconds, size, usage, parts)


def _get(subject: Subject, fixture: Fixture) -> Sample:
    with metered(subject.server) as usage:
        received = subject.get(fixture.big[subject.name])
    if received.size != fixture.size:
        raise clients.ClientFailed(f"{received.size} bytes came, not {fixture.size}")
    return Sample(fixture.size / MIB / received.seconds, fixture.size / MIB, usage)


def _ranges(first: Callable[[int], int], last: Callable[[int], int]) -> Callable[..., Sample]:
    def turn(subject: Subject, fixture: Fixture) -> Sample:
        # The same offsets for every subject and round, none of them on a page's border.
        dice = random.Random(1)
        low, high = first(fixture.size), last(fixture.size)
        requests = [
            get_request(fixture.big[subject.name], f"Range: bytes={start}-{start + MIB - 1}")
            for start in (dice.randint(low, high) for _ in range(RANGES))
        ]
        load = Load(requests, [206])
        return _metered_rate(
            subject,
            fixture,
            lambda: drive(subject.server, load, RANGE_CONNECTIONS, fixture.seconds),
        )

    return turn


def _small_get(subject: Subject, fixture: Fixture) -> Sample:
    return _repeat(subject, fixture, [], 200)


def _not_modified(subject: Subject, fixture: Fixture) -> Sample:
    etag = subject.etag(fixture.small[subject.name])
    return _repeat(subject, fixture, [f"If-None-Match: {etag}"], 304)


def _repeat(subject: Subject, fixture: Fixture, headers: Sequence[str], status: int) -> Sample:
    """Ask for the small file over and over, once our driver has seen the status to be right."""
    path = fixture.small[subject.name]
    load = Load([get_request(path, *headers)], [status])
    if not clients.has_wrk():
        return _metered_rate(
            subject, fixture, lambda: drive(subject.server, load, CONNECTIONS, fixture.seconds)
        )
    drive(subject.server, load, 2, 0.1)
    url = subject.server.base + path
    return _metered_rate(subject, fixture, lambda: wrk(url, headers, CONNECTIONS, fixture.seconds))


def _metered_rate(subject: Subject, fixture: Fixture, act: Callable[[], float]) -> Sample:
    with metered(subject.server) as usage:
        rate = act()
    return Sample(rate, max(1.0, rate * fixture.seconds), usage)


def _small_upload(subject: Subject, fixture: Fixture) -> Sample:
    clients.flush_disk()
    load = subject.small_upload(fixture.small_file.read_bytes())
    fixture.numbered += 10**7
    first = fixture.numbered
    return _metered_rate(
        subject, fixture, lambda: drive(subject.server, load, CONNECTIONS, fixture.seconds, first)
    )


def driver_ceiling(subject: Subject, fixture: Fixture) -> float:
    """Return how many small answers a second our driver itself takes in from `subject`."""
    load = Load([get_request(fixture.small[subject.name])], [200])
    return drive(subject.server, load, CONNECTIONS, fixture.seconds)


CASES = [
    Case("put", "{size} raw PUT", "MiB/s", _put),
    Case("tus-put", "{size} raw PUT by the tus client", "MiB/s", _tus_put, group="tus"),
    Case("tus", "{size} tus, 64 MiB patches", "MiB/s", _tus, group="tus"),
    Case("tus-many", f"{MANY} tus uploads of 10 MiB at once", "MiB/s", _tus_many),
    Case("tus-sparse", "5 GiB of zeros by tus", "MiB/s", _tus_sparse, once=True),
    Case("post", "{size} multipart POST", "MiB/s", _post),
    Case("get", "{size} GET", "MiB/s", _get),
    Case(
        "ranges",
        "1 MiB ranges, anywhere",
        "req/s",
        _ranges(lambda size: 0, lambda size: size - MIB),
    ),
    Case(
        "ranges-start",
        f"1 MiB ranges, first {EDGE} MiB",
        "req/s",
        _ranges(lambda size: 0, lambda size: (EDGE - 1) * MIB),
        group="edges",
    ),
    Case(
        "ranges-end",
        f"1 MiB ranges, last {EDGE} MiB",
        "req/s",
        _ranges(lambda size: size - EDGE * MIB, lambda size: size - MIB),
        group="edges",
    ),
    Case("not-modified", "304, 16 connections", "req/s", _not_modified),
    Case("small-get", "4 KiB GET, 16 connections", "req/s", _small_get),
    Case("small-upload", "4 KiB upload, 16 connections", "req/s", _small_upload),
]
