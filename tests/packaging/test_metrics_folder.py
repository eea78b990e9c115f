"""Each start has a metrics folder of its own; what a dead one left is cleared away."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from config import metrics
from config.metrics import metrics_parent
from tests.packaging.working import ROOT

HOLD = """
import sys
from pathlib import Path
from config.metrics import claim_metrics_folder

folder = claim_metrics_folder(Path(sys.argv[1]))
(folder / "counter_1.db").write_bytes(b"figures")
print(folder, flush=True)
sys.stdin.read()
"""


def _claim(parent: Path) -> tuple[subprocess.Popen[str], Path]:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(parent)],
        cwd=ROOT,
        env={"PATH": os.defpath},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    return holder, Path(holder.stdout.readline().strip())


def test_two_instances_that_share_a_data_folder_do_not_share_their_figures(tmp_path: Path) -> None:
    first, one = _claim(tmp_path / "metrics")
    second, other = _claim(tmp_path / "metrics")
    with first, second:
        assert one != other
        assert (one / "counter_1.db").exists()


def test_what_a_killed_instance_left_is_gone_after_the_next_start(tmp_path: Path) -> None:
    first, one = _claim(tmp_path / "metrics")
    with first:
        first.kill()
    second, other = _claim(tmp_path / "metrics")
    with second:
        assert not one.exists()
        assert other.exists()


def test_figures_are_kept_in_memory_and_not_on_the_disk_for_files(tmp_path: Path) -> None:
    parent = metrics_parent(tmp_path)
    assert parent.parent == Path("/dev/shm")
    assert parent.stat().st_mode & 0o077 == 0


def test_a_folder_that_someone_else_made_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "_IN_MEMORY", tmp_path)
    own = tmp_path / f"holdall-metrics-{os.getuid()}"
    own.symlink_to("/")
    assert metrics_parent(tmp_path / "scratch") == tmp_path / "scratch" / "metrics"
    own.unlink()
    own.touch()
    assert metrics_parent(tmp_path / "scratch") == tmp_path / "scratch" / "metrics"
    monkeypatch.setattr(metrics, "_IN_MEMORY", tmp_path / "missing")
    assert metrics_parent(tmp_path / "scratch") == tmp_path / "scratch" / "metrics"
