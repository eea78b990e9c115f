"""nginx in front of the instances: deploy/nginx.conf with their addresses put in.

Knows ports only; what is proxied and how often is the configuration's affair.
"""

import os
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import psutil

from tests.support.nginx import configured, listens
from tests.support.processes import Child, NotReady

_RELOADED_WITHIN = 10


class Front:
    """An nginx on `port` with all that it writes in `folder`."""

    def __init__(self, folder: Path, *, port: int, store: int) -> None:
        self._folder = folder
        self._file = folder / "nginx.conf"
        self.port = port
        self._store = store
        self._child: Child | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, services: Sequence[int]) -> None:
        """Start it in front of instances on these ports. Raises NotReady."""
        program = shutil.which("nginx", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
        if program is None:
            raise NotReady("nginx is not installed: apt-get install nginx-light")
        self._configure(services)
        log = self._folder / "nginx.log"
        command = [program, "-e", str(log), "-c", str(self._file)]
        # Killed, it would leave its workers on the port.
        self._child = Child(command, log=log, bereaved=signal.SIGTERM)
        self._child.wait_until(lambda: listens(self.port), seconds=_RELOADED_WITHIN)

    def tell(self, services: Sequence[int]) -> None:
        """Have it use the instances on these ports from now on; what is under way ends as it is."""
        assert self._child is not None
        master = psutil.Process(self._child.pid)
        before = {process.pid for process in master.children()}
        self._configure(services)
        self._child.signal(signal.SIGHUP)
        deadline = time.monotonic() + _RELOADED_WITHIN
        while not {process.pid for process in master.children()} - before:
            if time.monotonic() > deadline:
                raise NotReady(f"nginx took no new configuration: see {self._folder}")
            time.sleep(0.02)

    def processes(self) -> list[psutil.Process]:
        """Return the master and its workers."""
        assert self._child is not None
        master = psutil.Process(self._child.pid)
        return [master, *master.children()]

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop()
            self._child = None

    def _configure(self, services: Sequence[int]) -> None:
        text = configured(
            self._folder,
            port=self.port,
            services=services,
            store=self._store,
            uploads=self._folder / "none",
        )
        self._file.write_text(text)
