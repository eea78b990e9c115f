"""The folder through which the workers of one instance add up their metrics.

prometheus_client reads PROMETHEUS_MULTIPROC_DIR when its first metric is made, and keeps there a
file for each process, named by the process id. Instances that share a DATA_DIR may have the same
ids in different containers, so each takes a folder of its own.
"""

import fcntl
import os
import shutil
import stat
import tempfile
from pathlib import Path

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_IN_MEMORY = Path("/dev/shm")


def metrics_parent(scratch: Path) -> Path:
    """Return the folder to claim metrics folders in: in memory, or in `scratch` without that.

    The files are mapped, and writing to a mapped file for which the disk has no room ends the
    process (SIGBUS). So they do not lie on the disk that uploads fill.
    """
    own = _IN_MEMORY / f"holdall-metrics-{os.getuid()}"
    try:
        own.mkdir(mode=0o700, exist_ok=True)
        found = own.lstat()
    except OSError:
        return scratch / "metrics"
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    return own if is_ours else scratch / "metrics"


def claim_metrics_folder(parent: Path) -> Path:
    """Make an empty folder in `parent`, point prometheus_client at it, and return it.

    It is held by a lock until this process and all it forks have ended, however they end. Folders
    that nobody holds any more are removed. Call it before prometheus_client is imported.
    """
    parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (parent / "claims").open("w") as claims:
        fcntl.flock(claims, fcntl.LOCK_EX)
        for lock in parent.glob("*.lock"):
            _remove_unless_held(lock)
        descriptor, name = tempfile.mkstemp(suffix=".lock", dir=parent)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    folder = Path(name).with_suffix("")
    folder.mkdir(mode=0o700)
    os.environ[_VARIABLE] = str(folder)
    return folder


def _remove_unless_held(lock: Path) -> None:
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
        lock.unlink()
