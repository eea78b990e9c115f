"""`pip install .` installs the command line client, and nothing else."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_what_is_installed_is_the_command_and_nothing_of_the_service(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for each in ("pyproject.toml", "README.md", "app.py", "models.py"):
        shutil.copy(ROOT / each, source)
    shutil.copytree(ROOT / "holdall_client", source / "holdall_client")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(tmp_path)]
    subprocess.run([*command, str(source)], check=True, capture_output=True, timeout=300)
    (wheel,) = tmp_path.glob("holdall-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (entries,) = [name for name in names if name.endswith("entry_points.txt")]
        assert "holdall = holdall_client.commands:main" in archive.read(entries).decode()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"holdall_client"}
