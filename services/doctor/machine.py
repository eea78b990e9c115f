"""What the machine has to give: a folder that takes files, room, libmagic, shared memory.

Leaves behind nothing of what it tries. A folder that is not there yet is not made, either.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from config import Settings
from config.metrics import metrics_parent
from services.database import KEPT
from services.doctor.disks import is_lost_with_its_container, mount_of
from services.doctor.findings import Finding, fail, ok, warn
from services.mimetype import Detector, libmagic

_PNG: Final = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00"
)


def data_folder(settings: Settings) -> Iterator[Finding]:
    """Look whether DATA_DIR takes files, how much room it has, and what disk it is on."""
    name, variable, folder = "data folder", "DATA_DIR", settings.data_dir
    existing = nearest(folder)
    if not existing.is_dir():
        yield fail(name, f"{folder} cannot be made: {existing} is no folder", variable)
        return
    if is_anothers(existing):
        yield warn(name, f"{folder} belongs to another user: ask as that user, and not as root")
    if problem := write_problem(existing):
        made = "" if existing == folder else f": it is missing, and {existing} takes none"
        yield fail(name, f"{folder} takes no files ({problem}){made}; mount it writable", variable)
        return
    yield ok(name, f"{folder} {_described(existing, missing=existing != folder)}")
    yield from _doubts(settings, existing)


def write_problem(folder: Path) -> str | None:
    """Write a file, sync it and remove it; return what stands in the way, None for nothing."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor.") as file:
            file.write(b"doctor")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return error.strerror or type(error).__name__
    return None


def is_anothers(folder: Path) -> bool:
    """Say whether root asks about a folder of the user that the service runs as.

    What root makes there, that user could not use.
    """
    return os.geteuid() == 0 != nearest(folder).stat().st_uid


def metrics_folder(settings: Settings) -> Iterator[Finding]:
    """Look where the workers add up their figures: in memory, or on a disk that may fill."""
    name = "metrics folder"
    folder = metrics_parent(settings.scratch)
    if folder.is_relative_to(settings.scratch):
        message = "/dev/shm cannot be used, so figures lie on the disk of DATA_DIR: give it 64 MB"
        yield warn(name, message)
    elif problem := write_problem(folder):
        yield fail(name, f"{folder} takes no files ({problem})")
    else:
        yield ok(name, f"{folder}, in memory")


def types(load: type[Detector] | None = None) -> Iterator[Finding]:
    """Have libmagic name the type of an image."""
    name = "libmagic"
    try:
        detector: Detector = (load or libmagic)()
        found = detector.from_buffer(_PNG)
    except Exception as error:
        message = f"cannot be loaded ({type(error).__name__}): install requirements.txt anew"
        yield fail(name, f"{message}; without it every file is application/octet-stream")
        return
    if found == "image/png":
        yield ok(name, "tells types by content")
    else:
        yield fail(name, f"takes a PNG image for {found}: install requirements.txt anew")


def nearest(folder: Path) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    return next(each for each in (folder, *folder.parents) if os.path.lexists(each))


def _described(folder: Path, *, missing: bool) -> str:
    mount = mount_of(folder)
    disk = "" if mount is None else f" on {mount.filesystem}, mounted at {mount.point}"
    state = "is made at the first start" if missing else "takes files"
    return f"{state}{disk}, {_size(shutil.disk_usage(folder).free)} free"


def _doubts(settings: Settings, folder: Path) -> Iterator[Finding]:
    name, variable = "data folder", "DATA_DIR"
    free, mount = shutil.disk_usage(folder).free, mount_of(folder)
    if free < KEPT:
        yield fail(name, f"only {_size(free)} are free, so nothing more is taken", variable)
    elif free < settings.max_upload_size:
        limit = _size(settings.max_upload_size)
        yield warn(name, f"{_size(free)} free is less than one file of MAX_UPLOAD_SIZE ({limit})")
    if is_lost_with_its_container(folder):
        yield warn(name, "no volume is mounted there: all goes when the container does", variable)
    elif mount is not None and mount.is_memory:
        yield warn(name, "lies in memory: a restart of the machine empties it", variable)
    uploads = settings.data_dir / "uploads"
    if uploads.is_dir() and uploads.stat().st_dev != folder.stat().st_dev:
        yield ok(name, "uploads/ is on a disk of its own")
    if _is_split(uploads):
        message = "uploads/.tmp is on another disk than uploads/: files cannot be moved into place"
        yield fail(name, message, variable)


def _is_split(uploads: Path) -> bool:
    temporary = uploads / ".tmp"
    return temporary.is_dir() and temporary.stat().st_dev != uploads.stat().st_dev


def _size(count: int) -> str:
    """Show bytes as people write them: `9.5 GiB`."""
    amount = float(count)
    for unit in ("bytes", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.4g} {unit}"
        amount /= 1024
    return f"{amount:,.1f} GiB"
