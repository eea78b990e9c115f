"""The service as an operator starts it: the real gunicorn with the project's configuration."""

import os
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import Child, free_ports

ROOT = Path(__file__).resolve().parents[2]
GUNICORN = [sys.executable, "-m", "gunicorn", "app:app"]
CHECKED_GUNICORN = [sys.executable, "-m", "config", *GUNICORN]


def environment(data_dir: Path, **variables: str) -> dict[str, str]:
    """Return the settings of an open service of two workers on a free port of loopback."""
    port = str(free_ports(1)[0])
    base = {"PATH": os.defpath, "DATA_DIR": str(data_dir), "AUTH_MODE": "open"}
    return base | {"FLASK_RUN_PORT": port, "WEB_CONCURRENCY": "2"} | variables


@contextmanager
def running(folder: Path, **variables: str) -> Iterator[tuple[Child, str]]:
    """Run the service with its data and its log in `folder`; give its master and its address."""
    variables = environment(folder / "data", **variables)
    address = f"http://127.0.0.1:{variables['FLASK_RUN_PORT']}"
    server = Child(
        [*CHECKED_GUNICORN, "--chdir", str(ROOT), "--config", str(ROOT / "gunicorn.conf.py")],
        log=folder / "log",
        env=variables | {"PYTHONPATH": str(ROOT)},
    )
    try:
        server.wait_until(lambda: _healthy(address), seconds=60)
        yield server, address
    finally:
        server.stop(seconds=20)


def _healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/api/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
