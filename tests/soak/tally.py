"""What clients did, how long it took them, and which errors they met on the way; as a table.

Every method may be called from any thread. Knows names of operations and kinds of errors only.
"""

import threading
from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import quantiles


class Tally:
    """Counts and times. An operation's time is its client's: with all its tries and pauses."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds: dict[str, list[float]] = defaultdict(list)
        self._retried: Counter[str] = Counter()
        self._errors: Counter[tuple[str, str]] = Counter()
        self._bytes: Counter[str] = Counter()
        self.uncured: list[str] = []

    def done(self, operation: str, seconds: float, *, tries: int, size: int = 0) -> None:
        """Count an operation that was done at its `tries`-th try, and the bytes it moved."""
        with self._lock:
            self._seconds[operation].append(seconds)
            self._retried[operation] += tries > 1
            self._bytes[operation] += size

    def error(self, operation: str, kind: str) -> None:
        """Count a try that failed."""
        with self._lock:
            self._errors[operation, kind] += 1

    def give_up(self, what: str) -> None:
        """Note an operation that no try has cured."""
        with self._lock:
            self.uncured.append(what)

    def operations(self) -> int:
        with self._lock:
            return sum(map(len, self._seconds.values()))

    def table(self) -> str:
        """Return all of it for people to read."""
        with self._lock:
            rows: list[Sequence[str]] = [
                ("operation", "done", "retried", "MiB", "median", "95 %", "longest")
            ]
            rows += [self._row(name) for name in sorted(self._seconds)]
            errors = [("cured by a retry", "operation", "times")]
            errors += [(kind, name, str(n)) for (name, kind), n in sorted(self._errors.items())]
            given_up = [f"NOT CURED: {what}" for what in self.uncured]
        return "\n".join([*_aligned(rows), "", *_aligned(errors), *given_up])

    def _row(self, name: str) -> tuple[str, ...]:
        seconds = self._seconds[name]
        cuts = quantiles([*seconds, *seconds], n=100)
        times = (f"{1000 * cuts[49]:.0f} ms", f"{1000 * cuts[94]:.0f} ms", f"{max(seconds):.1f} s")
        moved = f"{self._bytes[name] / 1024**2:.0f}"
        return (name, str(len(seconds)), str(self._retried[name]), moved, *times)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
