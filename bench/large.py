"""Turns with large bodies: whole files up and down, and ranges of one.

A turn happens on a quiet server, leaves nothing large behind, and sees that what it got is right.
"""

import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.clients import ClientFailed, Load, Transfer, drive, flush_disk
from bench.meter import metered
from bench.samples import MIB, Fixture, Sample
from bench.subjects import Subject, get_request
from bench.tus import Piece, sha256

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


def put(subject: Subject, fixture: Fixture) -> Sample:
    """Upload the big file as a raw body."""
    return _upload(subject, fixture, subject.put)


def post(subject: Subject, fixture: Fixture) -> Sample:
    """Upload the big file as a form."""
    return _upload(subject, fixture, subject.post)


def _upload(subject: Subject, fixture: Fixture, act: Callable[[Path, str], Transfer]) -> Sample:
    flush_disk()
    with metered(subject.server) as usage:
        uploaded = act(fixture.big_file, "turn.bin")
    subject.discard(uploaded, "turn.bin")
    return Sample(fixture.size / MIB / uploaded.seconds, fixture.size / MIB, usage)


def get(subject: Subject, fixture: Fixture) -> Sample:
    """Download the big file."""
    with metered(subject.server) as usage:
        received = subject.get(fixture.big[subject.name])
    if received.size != fixture.size:
        raise ClientFailed(f"{received.size} bytes came, not {fixture.size}")
    return Sample(fixture.size / MIB / received.seconds, fixture.size / MIB, usage)


def tus_put(subject: Subject, fixture: Fixture) -> Sample:
    """Upload the big file as a raw body, by the client that speaks tus too."""
    piece = Piece(fixture.big_file, 0, fixture.size)
    return _pieces(subject, [piece], lambda: [subject.put_piece(piece)])


def tus(subject: Subject, fixture: Fixture) -> Sample:
    """Upload the big file by tus."""
    return _by_tus(subject, [Piece(fixture.big_file, 0, fixture.size)], PATCH)


def tus_many(subject: Subject, fixture: Fixture) -> Sample:
    """Upload stretches of the big file, all different, at the same time."""
    step = (fixture.size - MANY_SIZE) // (MANY - 1)
    pieces = [Piece(fixture.big_file, number * step, MANY_SIZE) for number in range(MANY)]
    return _by_tus(subject, pieces, MANY_PATCH)


def tus_sparse(subject: Subject, fixture: Fixture) -> Sample:
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
    flush_disk()
    with metered(subject.server) as usage:
        began = time.monotonic()
        uploaded = act()
        seconds = time.monotonic() - began
    if [subject.sha256(each) for each in uploaded] != expected:
        raise ClientFailed("a file has another SHA-256 than what was sent")
    size = sum(piece.size for piece in pieces) / MIB
    parts = subject.parts(pieces[0].size) if in_parts else 0
    for each in uploaded:
        subject.discard(each, "")
    return Sample(size / seconds, size, usage, parts)


def ranges(subject: Subject, fixture: Fixture) -> Sample:
    """Ask for ranges anywhere in the big file."""
    return _ranges(subject, fixture, 0, fixture.size - MIB)


def ranges_at_start(subject: Subject, fixture: Fixture) -> Sample:
    """Ask for ranges at its start."""
    return _ranges(subject, fixture, 0, (EDGE - 1) * MIB)


def ranges_at_end(subject: Subject, fixture: Fixture) -> Sample:
    """Ask for ranges at its end."""
    return _ranges(subject, fixture, fixture.size - EDGE * MIB, fixture.size - MIB)


def _ranges(subject: Subject, fixture: Fixture, low: int, high: int) -> Sample:
    # The same offsets for every subject and round, none of them on a page's border.
    dice = random.Random(1)
    requests = [
        get_request(fixture.big[subject.name], f"Range: bytes={start}-{start + MIB - 1}")
        for start in (dice.randint(low, high) for _ in range(RANGES))
    ]
    load = Load(requests, [subject.range_status])
    with metered(subject.server) as usage:
        rate = drive(subject.server, load, RANGE_CONNECTIONS, fixture.seconds)
    return Sample(rate, max(1.0, rate * fixture.seconds), usage)
