"""Real faults of a disk: one that is full, folders that may not be written, calls that are seen.

Knows the operating system only.
"""

import os
import resource
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_NOBODY = 65534


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes: a write stops short there, and the next one fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """Make `folder` a disk of `size` bytes; where that takes rights we lack, limit each file."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        with file_size_limit(size):
            yield
        return
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def without_privileges() -> Iterator[None]:
    """Act as a user whom file permissions bind, which root is not."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def record_commits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows with each fsync and rename, which take place all the same."""
    seen: list[str] = []
    fsync, rename = os.fsync, os.rename

    def recorded_fsync(fd: int) -> None:
        folder = stat.S_ISDIR(os.fstat(fd).st_mode)
        name = Path(os.readlink(f"/proc/self/fd/{fd}")).name
        seen.append(f"fsync folder {name}" if folder else "fsync file")
        fsync(fd)

    def recorded_rename(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        seen.append("rename")
        rename(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "rename", recorded_rename)
    return seen
