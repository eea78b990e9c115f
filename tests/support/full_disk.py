"""A small disk of its own for one server: a tmpfs that only the server's own processes see mounted.

    disk = SmallDisk(folder, 16 * MIB)
    child = Child(disk.inside(command), …)     # the server mounts it, and takes it along at its end
    disk.seen_by(child.pid).fill()             # something else takes all that is free

Where neither root nor a user namespace may mount, `why_not()` says so.
"""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Final

MIB: Final = 1024 * 1024

_MOUNT: Final = 'mount -t tmpfs -o "size=$1" tmpfs "$2" && shift 2 && exec "$@"'


@cache
def _unshare() -> tuple[str, ...]:
    """Return the command that gives a process mounts of its own; empty where none may."""
    program = shutil.which("unshare")
    for command in ((program, "-m"), (program, "-rm")) if program else ():
        attempt = [*command, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
        if subprocess.run(attempt, capture_output=True).returncode == 0:
            return command
    return ()


def why_not() -> str:
    """Return why no disk can be mounted here, or nothing where one can."""
    return "" if _unshare() else "neither `unshare -m` nor `unshare -rm` may mount a tmpfs here"


class SmallDisk:
    """A disk of `size` bytes at `folder`, for what is started by `inside`."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.size = size
        folder.mkdir(parents=True, exist_ok=True)

    def inside(self, command: list[str]) -> list[str]:
        """Return what runs `command` with the disk mounted, under the same process id."""
        mounting = ["sh", "-c", _MOUNT, "sh", str(self.size), str(self.folder)]
        return [*_unshare(), *mounting, *command]

    def seen_by(self, pid: int) -> "Seen":
        """Return the disk as the process `pid` sees it."""
        return Seen(Path(f"/proc/{pid}/root{self.folder}"))


class Seen:
    """A mounted disk, reached through a process that has it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._filler = root / "filler"

    def free(self) -> int:
        """Return how many bytes may still be written."""
        found = os.statvfs(self.root)
        return found.f_bavail * found.f_frsize

    def fill(self, *, but: int = 0) -> None:
        """Let something else on the disk take all but so many bytes of what is free."""
        with self._filler.open("ab") as file:
            file.write(b"\0" * max(self.free() - but, 0))

    def empty(self) -> None:
        """Take away what `fill` wrote."""
        self._filler.unlink()

    def files(self, folder: str) -> list[Path]:
        """Return every file under a folder."""
        return [path for path in (self.root / folder).rglob("*") if path.is_file()]
