"""What kind of disk a folder is on: its filesystem, and whether a container keeps it to itself."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MOUNTS: Final = Path("/proc/self/mountinfo")
_MARKS_OF_CONTAINERS: Final = (Path("/.dockerenv"), Path("/run/.containerenv"))
_SHARED: Final = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4"}
    | {"ocfs2", "smb2", "smb3", "smbfs", "virtiofs"}
)
_SHARED_BY_FUSE: Final = (
    "ceph",
    "curlftpfs",
    "gcsfuse",
    "glusterfs",
    "juicefs",
    "rclone",
    "s3fs",
    "sshfs",
)


@dataclass(frozen=True, slots=True)
class Mount:
    """A place where a filesystem is mounted, and its type as the kernel calls it."""

    point: Path
    filesystem: str

    @property
    def is_shared(self) -> bool:
        """Whether other hosts may write to it: file locks and mapped files do not hold then."""
        kind, _, flavour = self.filesystem.partition(".")
        return kind in _SHARED or (kind == "fuse" and flavour.startswith(_SHARED_BY_FUSE))

    @property
    def is_memory(self) -> bool:
        """Whether a restart of the machine empties it."""
        return self.filesystem in ("tmpfs", "ramfs")


def mount_of(folder: Path) -> Mount | None:
    """Return the mount that holds `folder`, None where the system does not tell (proc(5))."""
    place = folder.resolve()
    found: Mount | None = None
    for mount in _mounts():
        nearer = found is None or len(mount.point.parts) >= len(found.point.parts)
        if nearer and place.is_relative_to(mount.point):
            found = mount
    return found


def is_lost_with_its_container(folder: Path) -> bool:
    """Say whether `folder` lies in a container's own layer, which goes when the container does."""
    if not any(mark.exists() for mark in _MARKS_OF_CONTAINERS):
        return False
    mount = mount_of(folder)
    return mount is not None and mount.point == Path("/") and mount.filesystem == "overlay"


def _mounts() -> Iterator[Mount]:
    try:
        lines = _MOUNTS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        before, _, after = line.partition(" - ")
        point = before.split(" ")[4].encode().decode("unicode_escape", "replace")
        yield Mount(Path(point), after.split(" ")[0])
