"""What an examination finds, and how checks run: all at once, each with an end.

Knows nothing of what is examined.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

SECONDS: Final = 10.0
_SHORTEST_SECRET: Final = 4


class Status(StrEnum):
    """How bad it is: `fail` is for what does not work, or must not be left so."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, and what to mend by which variable."""

    check: str
    status: Status
    message: str
    variable: str | None = None


def ok(check: str, message: str) -> Finding:
    """Say that something is well."""
    return Finding(check, Status.OK, message)


def warn(check: str, message: str, variable: str | None = None) -> Finding:
    """Say that something works, and may not be meant so."""
    return Finding(check, Status.WARN, message, variable)


def fail(check: str, message: str, variable: str | None = None) -> Finding:
    """Say that something does not work."""
    return Finding(check, Status.FAIL, message, variable)


@dataclass(frozen=True, slots=True)
class Check:
    """One examination: `run` yields findings, `variable` is the one to name when it never ends."""

    name: str
    run: Callable[[], Iterable[Finding]]
    variable: str | None = None
    seconds: float = SECONDS


@dataclass(slots=True)
class _Running:
    check: Check
    found: list[Finding] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        try:
            for finding in self.check.run():
                self.found.append(finding)
        except Exception as error:
            reason = f"could not be examined ({type(error).__name__})"
            self.found.append(fail(self.check.name, reason, self.check.variable))
        self.ended.set()

    def findings(self) -> list[Finding]:
        """Wait for the end, at most as long as the check may take."""
        if self.ended.wait(self.check.seconds):
            return self.found
        late = f"gave no answer within {self.check.seconds:g} seconds"
        return [*self.found, fail(self.check.name, late, self.check.variable)]


def examine(checks: Iterable[Check], secrets: Iterable[str] = ()) -> Iterator[Finding]:
    """Run all checks side by side, and yield what they find in their order.

    A check that does not end is left behind. None of `secrets` is in any message.
    """
    running = [_Running(check) for check in checks]
    hidden = sorted({each for each in secrets if len(each) >= _SHORTEST_SECRET}, key=len)
    for each in running:
        threading.Thread(target=each.run, name=f"doctor-{each.check.name}", daemon=True).start()
    for each in running:
        for finding in each.findings():
            yield replace(finding, message=_without(finding.message, hidden))


def _without(message: str, hidden: list[str]) -> str:
    for secret in reversed(hidden):
        message = message.replace(secret, "…")
    return message
