"""Shows that our clients are not what limits the servers: what each reaches with nginx.

The clients run on the same cores as the servers, so their CPU time is told too.
"""

import resource
from collections.abc import Callable

from bench import large, small
from bench.clients import Load, drive
from bench.meter import metered
from bench.results import Ceiling
from bench.samples import Fixture, Sample
from bench.subjects import CONNECTIONS, Subject, get_request
from bench.wrk import has_wrk

Turn = Callable[[Subject, Fixture], Sample]


def ceilings(nginx: Subject, fixture: Fixture) -> list[Ceiling]:
    """Let each client load nginx once, with what was stored there."""
    requests = "wrk" if has_wrk() else "our driver"
    turns: list[tuple[str, str, Turn]] = []
    if nginx.name in fixture.small:
        turns += [
            (f"{requests}, 4 KiB GET", "req", small.get_one),
            (f"{requests}, 4 KiB GETs of 64 files", "req", small.get_many),
            (f"{requests}, 4 KiB PUT", "req", small.upload),
            ("our driver, 4 KiB GET", "req", _driven),
        ]
    if nginx.name in fixture.big:
        turns += [
            ("our driver, 1 MiB ranges", "req", large.ranges),
            ("curl, GET of the big file", "MiB", large.get),
            ("curl, PUT of the big file", "MiB", large.put),
        ]
    return [_measured(title, unit, turn, nginx, fixture) for title, unit, turn in turns]


def _measured(title: str, unit: str, turn: Turn, nginx: Subject, fixture: Fixture) -> Ceiling:
    before = _children_cpu()
    sample = turn(nginx, fixture)
    spent = (_children_cpu() - before) / sample.done
    return Ceiling(title, unit, sample.rate, spent, sample.cpu)


def _driven(subject: Subject, fixture: Fixture) -> Sample:
    load = Load([get_request(fixture.small[subject.name][0])], [200])
    with metered(subject.server) as usage:
        rate = drive(subject.server, load, CONNECTIONS, fixture.seconds)
    return Sample(rate, max(1.0, rate * fixture.seconds), usage)


def _children_cpu() -> float:
    """Return the CPU seconds of the programs that we ran and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
