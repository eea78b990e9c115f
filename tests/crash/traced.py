"""What a process asks of the kernel, as strace(1) tells it: files by name, in the order of time."""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

_CALLS: Final = (
    "fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlinkat,sendto,write,pwrite64"
)
_LINE: Final = re.compile(r"^\d+ +(\w+)\((.*)\) += +\d+")
_RESUMED: Final = re.compile(r"^(\d+) +<\.\.\. \w+ resumed>(.*)$")
_NAMED: Final = re.compile(r"\d+<([^>]*)>")


@dataclass(frozen=True, slots=True)
class Call:
    """A system call that succeeded: its name, its descriptors' files, and all it was given."""

    name: str
    files: tuple[str, ...]
    given: str


@contextmanager
def tracing(process: psutil.Process, log: Path) -> Iterator[list[Call]]:
    """Trace a process and its threads through the block; the list is filled at its end."""
    calls: list[Call] = []
    strace = shutil.which("strace")
    if strace is None:
        raise FileNotFoundError("strace is not installed")
    options = ["-f", "-y", "-s", "16", "-e", f"trace={_CALLS}", "-o", str(log)]
    command = [strace, *options, "-p", str(process.pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr
        try:
            _wait_until_attached(process)
            yield calls
        finally:
            tracer.terminate()
            tracer.stderr.read()
    calls.extend(_calls(log.read_text()))


def _wait_until_attached(process: psutil.Process) -> None:
    """Wait until each thread has its tracer (proc(5), TracerPid)."""
    deadline = time.monotonic() + 20
    tasks = Path(f"/proc/{process.pid}/task")
    while any("TracerPid:\t0" in (task / "status").read_text() for task in tasks.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _calls(text: str) -> Iterator[Call]:
    """Read the calls in the order in which they returned."""
    begun: dict[str, str] = {}
    for line in text.splitlines():
        whole = line
        if line.endswith("<unfinished ...>"):
            begun[line.split(" ", 1)[0]] = line.removesuffix("<unfinished ...>")
            continue
        if resumed := _RESUMED.match(line):
            whole = begun.pop(resumed[1], "") + resumed[2]
        if found := _LINE.match(whole):
            yield Call(found[1], tuple(_NAMED.findall(found[2])), found[2])
