"""Services that start in a moment, for tests that kill one again and again.

A process imports the service's modules once, and forks a gunicorn of them whenever it is told to:
real gunicorn with its own configuration, master and workers, that makes its application after the
fork as ever. What is saved is reading the modules, which is most of a start.

    with preloaded(tmp_path) as nursery, nursery.running(folder) as service: service.kill()
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import psutil

from tests.support.processes import NotReady, free_ports
from tests.support.service import ROOT, Service

APPLICATION = "app:app"
CONFIGURATION = str(ROOT / "gunicorn.conf.py")


class Nursery:
    """The process that has the modules; it and all it forked end with the test's process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def fork(self, environment: dict[str, str], log: Path, *words: str) -> psutil.Process:
        """Start `words`, the first of which is `gunicorn` or `flask`."""
        order = {"environment": environment, "log": str(log), "words": words}
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return psutil.Process(int(self._process.stdout.readline()))

    @contextmanager
    def running(
        self, folder: Path, application: str = APPLICATION, **variables: str
    ) -> Iterator["Preloaded"]:
        """Run a service with its data in `folder/data`, and end it."""
        (port,) = free_ports(1)
        log = folder / "service.log"
        service = Preloaded(port, folder / "data", variables, log, None, self, application)
        try:
            service.start()
            yield service
        finally:
            service.stop()


@dataclass
class Preloaded(Service):
    """A service that was forked."""

    nursery: Nursery | None = field(default=None)
    application: str = APPLICATION
    master: psutil.Process | None = field(default=None)

    def start(self, *, seconds: float = 60) -> None:
        """Fork gunicorn and wait until it answers."""
        self.master = self._fork(self.log, "gunicorn", "-c", CONFIGURATION, self.application)
        self.wait(seconds=seconds)

    def flask(self, *words: str, **variables: str) -> str:
        """Run a command on the service's data to its end, and return what it printed."""
        log = self.log.with_suffix(".flask")
        log.write_bytes(b"")
        process = self._fork(log, "flask", "--app", self.application, *words, **variables)
        deadline = time.monotonic() + 120
        while not _is_over(process):
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.01)
        return log.read_text()

    def wait(self, *, seconds: float = 60) -> None:
        """Wait until it answers. Raises NotReady."""
        deadline = time.monotonic() + seconds
        while not self._answers():
            if time.monotonic() > deadline or not self._lives():
                raise NotReady(self.log.read_text(errors="replace")[-2000:])
            time.sleep(0.02)

    def _fork(self, log: Path, *words: str, **variables: str) -> psutil.Process:
        assert self.nursery is not None
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        settings = {
            "AUTH_MODE": "open",
            "DATA_DIR": str(self.data),
            "FLASK_RUN_PORT": str(self.port),
            "DURABILITY": "os",
            "WEB_CONCURRENCY": "2",
        }
        return self.nursery.fork(inherited | settings | self.variables | variables, log, *words)

    def processes(self) -> list[psutil.Process]:
        assert self.master is not None
        return [self.master, *self.master.children(recursive=True)]

    def kill(self) -> None:
        """End the master and its workers at once, as a power cut would."""
        _kill(self.processes())
        self.master = None

    def kill_workers(self) -> None:
        """End the workers at once; the master starts others."""
        _kill(self.workers())

    def stop(self) -> None:
        """Ask it to end, and see that it does."""
        if self.master is None:
            return
        with suppress(psutil.NoSuchProcess):
            all_of_it = self.processes()
            self.master.terminate()
            _, left = psutil.wait_procs(all_of_it, 40)
            _kill(left)
        self.master = None

    def _lives(self) -> bool:
        return self.master is not None and self.master.is_running()


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    deadline = time.monotonic() + 20
    while not all(map(_is_over, processes)):
        assert time.monotonic() < deadline, "a killed process goes on"
        time.sleep(0.005)


def _is_over(process: psutil.Process) -> bool:
    """Say whether a process has ended, even if whoever adopted it has not taken note yet."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@contextmanager
def preloaded(folder: Path) -> Iterator[Nursery]:
    """Run the process that has the modules; its own complaints go to a file in `folder`."""
    command = [sys.executable, "-m", "tests.support.preloaded"]
    # prometheus_client looks for it when it is imported; each gunicorn takes a folder of its own.
    metrics = tempfile.mkdtemp(dir=folder)
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": metrics, "PYTHONPATH": str(ROOT)}
    with (
        (folder / "preloaded.log").open("a") as log,
        subprocess.Popen(
            command,
            env=environment,
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        ) as process,
    ):
        try:
            yield Nursery(process)
        finally:
            process.kill()


def main() -> None:
    """Import what workers need, and fork for each line that comes."""
    import flask.cli  # noqa: F401
    import gunicorn.app.wsgiapp  # noqa: F401

    import app  # noqa: F401

    _end_with_parent()
    # Nobody waits for those that end.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _become(order)
        print(pid, flush=True)


def _become(order: dict[str, Any]) -> NoReturn:
    """Go on as the program that is asked for."""
    import flask.cli
    import gunicorn.app.wsgiapp

    _end_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(order["environment"])
    log = os.open(order["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    sys.argv = order["words"]
    programs = {"gunicorn": gunicorn.app.wsgiapp.run, "flask": flask.cli.main}
    programs[sys.argv[0]]()
    sys.exit(0)


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


if __name__ == "__main__":
    main()
