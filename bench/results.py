"""Every sample of a run, and what follows from them: medians, and ratios round by round.

It starts nothing and formats nothing.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench.cases import CASES, Case
from bench.lineup import PARTS
from bench.samples import MIB, Sample

SMALL = 4096
"""The bytes of a small file."""


@dataclass(frozen=True, slots=True)
class Ceiling:
    """What one of our clients reaches with nginx: `unit` a second, CPU seconds for each."""

    client: str
    unit: str
    rate: float
    client_cpu: float
    server_cpu: float


@dataclass(slots=True)
class Results:
    """The samples by case and subject, in the order of the rounds, and what the run was.

    `machine` says in words where it ran, `versions` what the subjects are, `left_out` which
    opponents took no part and why, `failures` who failed in a turn, `notes` what else a reader
    must know.
    """

    size: int
    rounds: int
    seconds: int = 1
    machine: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    samples: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)
    ceilings: list[Ceiling] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, case: Case, subject: str, sample: Sample) -> None:
        """Keep the sample of one turn."""
        self.samples.setdefault(case.name, {}).setdefault(subject, []).append(sample)

    def drop(self, case: Case, subject: str) -> None:
        """Forget the samples of a subject that failed in a later round."""
        self.samples.get(case.name, {}).pop(subject, None)

    def of(self, case: str, subject: str) -> list[Sample]:
        """Return the samples, none if the subject took no part."""
        return self.samples.get(case, {}).get(subject, [])

    def rate(self, case: str, subject: str) -> float | None:
        """Return the median figure."""
        return middle(sample.rate for sample in self.of(case, subject))

    def ratio(self, case: str, subject: str, against: str) -> float | None:
        """Return the median of the rounds' ratios."""
        return ratio(self.of(case, subject), self.of(case, against))

    def cases(self) -> list[Case]:
        """Return the cases that were run, in the order of the table."""
        return [case for case in CASES if self.samples.get(case.name)]

    def subjects(self) -> list[str]:
        """Return the subjects that have samples, in the order of the table."""
        measured = {name for case in self.samples.values() for name in case}
        return [name for name in PARTS if name in measured]

    def as_json(self) -> str:
        """Return all of it as text that `results_from` reads."""
        return json.dumps(asdict(self), indent=1) + "\n"


def results_from(text: str) -> Results:
    """Return the results that `as_json` told of."""
    told: dict[str, Any] = json.loads(text)
    told["ceilings"] = [Ceiling(**each) for each in told["ceilings"]]
    told["samples"] = {
        case: {
            subject: [Sample.from_json(sample) for sample in samples]
            for subject, samples in among.items()
        }
        for case, among in told["samples"].items()
    }
    return Results(**told)


def middle(figures: Iterable[float]) -> float | None:
    """Return the median, None of nothing."""
    found = list(figures)
    return median(found) if found else None


def ratio(ours: Sequence[Sample], theirs: Sequence[Sample]) -> float | None:
    """Return the median of the rounds' ratios of one's figures to another's."""
    pairs = zip(ours, theirs, strict=False)
    return middle(our.rate / their.rate for our, their in pairs if their.rate)


def written(case: Case, samples: Sequence[Sample]) -> float | None:
    """Return the median of the bytes written for each byte received."""
    if case.unit == "MiB/s":
        # A disk in memory has no pages to write out, and then the write calls tell.
        used = ((max(s.usage.written, s.usage.passed), s.done * MIB) for s in samples)
    else:
        used = ((s.usage.written, s.done * SMALL) for s in samples)
    return middle(out / received for out, received in used)


def write_json(results: Results, file: Path) -> None:
    """Write every sample, for a closer look or another report."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(results.as_json())
