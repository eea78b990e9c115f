"""Starts and stops the servers under test, each on a free loopback port in a folder of its own.

It knows processes, ports and configuration files, and not what is asked of a server.
"""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60.0
STOP_SECONDS = 15.0
QUIET_SECONDS = 0.15
LAST_WORDS = 2000
"""How many characters of what a server wrote tell why it failed."""
NAIVE_THREADS = 1536
"""As many as Holdall has by default, so that slow clients alone do not decide."""

NGINX = """
daemon off;
worker_processes {cores};
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
{user}
events {{ worker_connections 4096; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    default_type application/octet-stream;
    client_max_body_size 0;
    client_body_buffer_size 128k;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {folder}/files;
        location / {{ dav_methods PUT DELETE; }}
    }}
}}
"""


class ServerFailed(Exception):
    """A server did not come up; the message ends with what it last said."""


@dataclass(frozen=True)
class Server:
    """A running server: where it listens, what it stores in, and its first process."""

    port: int
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def base(self) -> str:
        """The URL that every path is appended to."""
        return f"http://127.0.0.1:{self.port}"

    def tree(self) -> list[psutil.Process]:
        """Return the first process and all that came of it."""
        first = psutil.Process(self.process.pid)
        return [first, *first.children(recursive=True)]

    def ended(self) -> str | None:
        """Say with what status the server ended and what it said last; None while it runs."""
        status = self.process.poll()
        return None if status is None else f"it ended with status {status}: {self.last_words()}"

    def last_words(self) -> str:
        """Return the end of what the server wrote."""
        return (self.folder / "output.log").read_text(errors="replace")[-LAST_WORDS:]

    def settle(self, limit: float = 20.0) -> None:
        """Wait until the server uses no more CPU, so that it does not slow the next one's turn.

        Gives up after `limit` seconds.
        """
        deadline = time.monotonic() + limit
        before, after = -1.0, self._cpu_seconds()
        while after - before > 0.01 and time.monotonic() < deadline:
            time.sleep(QUIET_SECONDS)
            before, after = after, self._cpu_seconds()

    def _cpu_seconds(self) -> float:
        spent = 0.0
        for process in self.tree():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                spent += times.user + times.system
        return spent


def free_port() -> int:
    """Return a loopback port that nothing listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def holdall(folder: Path, settings: Mapping[str, str]) -> Iterator[Server]:
    """Run Holdall as it is deployed, under its own gunicorn.conf.py, with `settings` on top."""
    port = free_port()
    environment = {"AUTH_MODE": "open", **settings}
    with _gunicorn("app:app", ["-c", "gunicorn.conf.py"], port, folder, environment) as server:
        await_answer(server, "/api/health")
        yield server


@contextmanager
def naive(folder: Path, *, small: bool = False) -> Iterator[Server]:
    """Run the naive blueprint, with 1536 threads in all or, `small`, with 2x8 of them."""
    port, cores = free_port(), os.cpu_count() or 1
    (folder / "files").mkdir(parents=True)
    workers, threads = (2, 8) if small else (cores, NAIVE_THREADS // cores)
    options = ["-c", os.devnull, "-k", "gthread", "-w", str(workers), "--threads", str(threads)]
    options += ["-b", f"127.0.0.1:{port}", "--no-control-socket"]
    environment = {"NAIVE_FOLDER": str(folder / "files")}
    with _gunicorn("bench.naive:app", options, port, folder, environment) as server:
        await_answer(server, "/files/none")
        yield server


@contextmanager
def nginx(folder: Path) -> Iterator[Server]:
    """Run an nginx of our own: static files and DAV PUT, a worker a core."""
    port = free_port()
    (folder / "files").mkdir(parents=True)
    user = "user root;" if os.geteuid() == 0 else ""
    text = NGINX.format(cores=os.cpu_count() or 1, folder=folder, port=port, user=user)
    configuration = folder / "nginx.conf"
    configuration.write_text(text)
    command = ["nginx", "-p", str(folder), "-e", str(folder / "error.log")]
    command += ["-c", str(configuration)]
    with running(command, port, folder, dict(os.environ)) as server:
        await_answer(server, "/none")
        yield server


@contextmanager
def _gunicorn(
    app: str, options: list[str], port: int, folder: Path, environment: Mapping[str, str]
) -> Iterator[Server]:
    # Spooled uploads go to TMPDIR: on the same disk as the rest, and removed with it.
    scratch = folder / "scratch"
    scratch.mkdir(parents=True)
    own = {"DATA_DIR": str(folder), "FLASK_RUN_PORT": str(port), "TMPDIR": str(scratch)}
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    command = [sys.executable, "-m", "gunicorn", *options, app]
    with running(command, port, folder, {**inherited, **own, **environment}) as server:
        yield server


@contextmanager
def running(
    command: Sequence[str], port: int, folder: Path, environment: Mapping[str, str]
) -> Iterator[Server]:
    """Run `command` as a server; it and all that came of it are gone when the block ends."""
    with open(folder / "output.log", "wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(port, folder, process)
    try:
        yield server
    finally:
        _stop(server)


def _stop(server: Server) -> None:
    family = server.tree() if server.process.poll() is None else []
    server.process.terminate()
    _, left = psutil.wait_procs(family, timeout=STOP_SECONDS)
    for process in left:
        process.kill()
    server.process.wait(STOP_SECONDS)


def await_answer(server: Server, path: str) -> None:
    """Return once the server answers `path` with anything; raise ServerFailed if it never does."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.process.poll() is None:
        try:
            urllib.request.urlopen(server.base + path, timeout=5).close()
        except urllib.error.HTTPError as answer:
            answer.close()
            return
        except OSError:
            time.sleep(0.1)
        else:
            return
    said = server.last_words()
    raise ServerFailed(f"the server in {server.folder.name} did not answer:\n{said}")
