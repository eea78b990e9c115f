"""The bounds that the service is held to, and whether a run's results kept them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from bench.cases import CASES
from bench.results import Results, ratio, written
from bench.samples import MIB

PEERS: Final = (
    "seaweedfs",
    "seaweedfs-s3",
    "rclone-http",
    "rclone-webdav",
    "rclone-s3",
    "copyparty",
    "tus-server",
    "starlette",
)
"""Who is meant by a peer: what a user could run in place of Holdall."""
REACH: Final = (
    ("small-get", "nginx", 0.3),
    ("spread-get", "nginx", 0.3),
    ("not-modified", "nginx", 0.3),
    ("get", "nginx", 0.85),
    ("ranges", "nginx", 0.8),
    ("put", "nginx", 0.6),
    ("post", "nginx", 0.5),
    ("small-upload", "copyparty", 1.0),
    ("small-upload", "seaweedfs-s3", 1.0),
    ("s3-put", "boto3", 0.8),
    ("s3-get", "boto3", 0.8),
    ("s3-small-upload", "boto3", 0.8),
    ("s3-small-get", "boto3", 0.8),
)
"""Case, opponent, and the least ratio to it."""
SHARE: Final = 0.3
"""The least share of their rate that others keep beside a thousand slow clients."""
TWICE: Final = 2.0
MEMORY_LIMITS: Final = {
    "put": 64,
    "post": 64,
    "get": 64,
    "s3-put": 64,
    "s3-get": 64,
    "tus": 64,
    "tus-many": 128,
    "tus-sparse": 128,
    "loaded-get": 128,
    "loaded-upload": 128,
}
"""How many MiB a process may grow by in a case."""
_BY_NAME: Final = {case.name: case for case in CASES}


@dataclass(frozen=True, slots=True)
class Promise:
    """A bound that the service is held to in a case. `figure` is None when it was not measured."""

    case: str
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

    def measured(self) -> str:
        """Return the figure as it is shown."""
        return "-" if self.figure is None else self.form.format(self.figure)


def promises(results: Results) -> list[Promise]:
    """Hold the results against every bound of the cases that were run."""
    every = (*_reach(results), *_others(results), *_frugality(results))
    return [promise for promise in every if results.samples.get(promise.case)]


def _reach(results: Results) -> Iterator[Promise]:
    for case, opponent, bound in REACH:
        ours = "holdall-s3" if case.startswith("s3-") else "holdall"
        figure = results.ratio(case, ours, opponent)
        yield Promise(case, f"`{case}` ≥ {bound:g} times {opponent}", figure, bound)
    best = best_peer(results, "small-get")
    twice = results.ratio("small-get", "holdall", best) if best else None
    sentence = f"`small-get` ≥ {TWICE:g} times the best peer{f', {best}' if best else ''}"
    yield Promise("small-get", sentence, twice, TWICE)
    for case in ("loaded-get", "loaded-upload"):
        sentence = f"`{case}` ≥ {SHARE:g} of the rate without slow clients"
        yield Promise(case, sentence, results.rate(case, "holdall"), SHARE)


def best_peer(results: Results, case: str) -> str | None:
    """Return the peer with the best figure, None if no peer took part."""
    rates = {name: results.rate(case, name) for name in PEERS}
    return max((n for n in PEERS if rates[n]), key=lambda n: rates[n] or 0.0, default=None)


def _others(results: Results) -> Iterator[Promise]:
    form = results.of("post", "naive")
    for case in ("post", "put"):
        figure = ratio(results.of(case, "holdall"), form)
        yield Promise(case, f"`{case}` ≥ 2.5 times naive's form", figure, 2.5)
    start, end = (results.of(name, "holdall") for name in ("ranges-start", "ranges-end"))
    # Nine tenths: two measurements of one thing differ by that much on a shared machine.
    sentence = "`ranges-end` ≥ 0.9 times `ranges-start`"
    yield Promise("ranges-end", sentence, ratio(end, start), 0.9)
    for subject in ("holdall", "holdall-fsync"):
        figure = ratio(results.of("tus", subject), results.of("tus-put", subject))
        yield Promise("tus", f"{subject} `tus` ≥ 0.5 times `tus-put`", figure, 0.5)
    for sample in results.of("tus-sparse", "holdall-s3"):
        sentence = "holdall-s3 `tus-sparse`: fewer than 10,000 parts"
        yield Promise("tus-sparse", sentence, sample.parts, 9_999, False, "{:,.0f}")


def _frugality(results: Results) -> Iterator[Promise]:
    for subject in ("holdall", "holdall-fsync", "holdall-s3"):
        for case, limit in MEMORY_LIMITS.items():
            samples = results.of(case, subject)
            if grown := [sample.usage.growth_largest for sample in samples]:
                sentence = f"{subject} `{case}`: no process grows by more than {limit} MiB"
                yield Promise(case, sentence, max(grown) / MIB, limit, False, "{:.1f} MiB")
            kept_here = _BY_NAME[case].receives and _BY_NAME[case].unit == "MiB/s"
            if samples and kept_here and subject != "holdall-s3":
                sentence = f"{subject} `{case}`: bytes written per byte received ≤ 1.05"
                yield Promise(case, sentence, written(_BY_NAME[case], samples), 1.05, False)
