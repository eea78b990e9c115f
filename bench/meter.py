"""What a server's processes used while something happened: peak memory, bytes written, CPU.

Linux only: it reads the kernel's own peak, so no spike between two looks is missed.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.servers import Server

RESET_PEAK = "5"
GONE = (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError)
"""What a look at a process raises when it has ended since it was listed."""


@dataclass(slots=True)
class Usage:
    """What was used, in bytes, and `cpu` in seconds of user and system time.

    `growth_largest` is that of the process that grew most, `growth_sum` adds up the peaks of all
    (they need not coincide, so it is an upper bound). `written` went to the disk's pages, `passed`
    through write calls; what is sent with `sendfile` counts as passed too.
    """

    growth_largest: int = 0
    growth_sum: int = 0
    written: int = 0
    passed: int = 0
    cpu: float = 0.0


@dataclass(frozen=True, slots=True)
class _Reading:
    resident: int
    peak: int
    written: int
    passed: int
    cpu: float


@contextmanager
def metered(server: Server) -> Iterator[Usage]:
    """Fill in the Usage that is handed out when the block ends."""
    usage = Usage()
    before: dict[int, _Reading] = {}
    for process in server.tree():
        with suppress(*GONE):
            Path(f"/proc/{process.pid}/clear_refs").write_text(RESET_PEAK)
            before[process.pid] = _read(process)
    yield usage
    nothing = _Reading(0, 0, 0, 0, 0.0)
    for process in server.tree():
        with suppress(*GONE):
            _add(usage, before.get(process.pid, nothing), _read(process))


def _add(usage: Usage, before: _Reading, after: _Reading) -> None:
    growth = max(0, after.peak - before.resident)
    usage.growth_largest = max(usage.growth_largest, growth)
    usage.growth_sum += growth
    usage.written += after.written - before.written
    usage.passed += after.passed - before.passed
    usage.cpu += after.cpu - before.cpu


def _read(process: psutil.Process) -> _Reading:
    status, io = _fields(process.pid, "status"), _fields(process.pid, "io")
    times = process.cpu_times()
    return _Reading(
        resident=status.get("VmRSS", 0) * 1024,
        peak=status.get("VmHWM", 0) * 1024,
        written=io["write_bytes"],
        passed=io["wchar"],
        cpu=times.user + times.system,
    )


def _fields(pid: int, name: str) -> dict[str, int]:
    lines = (line.split() for line in Path(f"/proc/{pid}/{name}").read_text().splitlines())
    return {
        words[0].rstrip(":"): int(words[1])
        for words in lines
        if len(words) > 1 and words[1].isdigit()
    }
