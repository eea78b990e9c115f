"""How much memory the process takes, as Linux counts it. Knows nothing of what is measured."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(slots=True)
class Growth:
    """By how many bytes the process grew at its peak."""

    size: int = 0


@contextmanager
def peak_growth() -> Iterator[Growth]:
    """Measure how far the resident memory rises above its present value inside the block.

    The kernel keeps the peak, so that nothing between two samples is missed (proc(5), clear_refs).
    """
    growth = Growth()
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    yield growth
    growth.size = _resident("VmHWM") - before


def _resident(field: str) -> int:
    match = re.search(rf"^{field}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.M)
    assert match is not None
    return int(match[1]) * 1024
