"""Child processes that never outlive the tests, and the ports they listen on.

Knows processes and ports only, not what a server does.
"""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_LAUNCHER = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, int(sys.argv[2]))
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)
os.execv(sys.argv[3], sys.argv[3:])
"""


class NotReady(RuntimeError):
    """A server did not come up within its deadline; the message ends with its last output."""


def free_ports(count: int, *, low: int = 20_000, high: int = 32_000) -> list[int]:
    """Return `count` ports of 127.0.0.1 that nobody listens on.

    They lie below the range that the system hands out for outgoing connections.
    """
    ports: set[int] = set()
    while len(ports) < count:
        port = random.randrange(low, high)
        if port not in ports and is_free(port):
            ports.add(port)
    return list(ports)


def is_free(port: int) -> bool:
    """Say whether a server could listen on `port` of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Child:
    """A running program that the kernel kills when the thread that started it is gone.

    Start it from a thread that lasts, which a fixture's is. `stop` may be called more than once.
    `bereaved` is the signal it then gets; SIGTERM for one whose own children outlive its kill.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        bereaved: signal.Signals = signal.SIGKILL,
    ) -> None:
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-ISc", _LAUNCHER, str(os.getpid()), str(int(bereaved)), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=env,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until(self, ready: Callable[[], bool], *, seconds: float) -> None:
        """Return when `ready()` is true; raise NotReady when the program ends or time is up."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self._process.poll() is not None:
                raise NotReady(f"it ended with {self._process.returncode}: {self._last_words()}")
            if time.monotonic() > deadline:
                raise NotReady(f"it was not ready after {seconds} s: {self._last_words()}")
            time.sleep(0.05)

    def stop(self, *, seconds: float = 5) -> None:
        """Ask the program to end, and kill it when it has not after `seconds`."""
        self._process.terminate()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def signal(self, number: int) -> None:
        """Send the program a signal."""
        self._process.send_signal(number)

    def wait(self, *, seconds: float) -> int:
        """Return the exit status of the program, which ends by itself within `seconds`."""
        return self._process.wait(seconds)

    def kill(self) -> None:
        """End the program at once, as a power cut would."""
        self._process.kill()
        self._process.wait()

    def _last_words(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]
