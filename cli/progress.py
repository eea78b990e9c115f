"""How far a long command is: a bar on a terminal, and nothing where no one looks.

The bar goes to standard error, so that what a command prints can be piped or kept. It knows numbers
and words, and must not know what they count.
"""

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Bar:
    """A bar that may be told its numbers as often as one likes; it draws ten times a second."""

    def __init__(self, *, counts_bytes: bool) -> None:
        self._progress = _progress(counts_bytes) if sys.stderr.isatty() else None
        self._task: TaskID | None = None

    def show(self, description: str, completed: int, total: int | None) -> None:
        """Say what goes on and how much of it is done; None is a total that is not known."""
        if self._progress is None:
            return
        if self._task is None:
            self._task = self._progress.add_task(description, total=total)
        self._progress.update(self._task, description=description, completed=completed, total=total)

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()


def _progress(counts_bytes: bool) -> "Progress":
    # Loaded here: servers load the commands too, and need none of it.
    from rich import progress
    from rich.console import Console

    counted = (
        (progress.DownloadColumn(binary_units=True), progress.TransferSpeedColumn())
        if counts_bytes
        else (progress.MofNCompleteColumn(),)
    )
    return progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        *counted,
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
    )
