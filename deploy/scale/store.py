"""SeaweedFS as a cluster on loopback: a master, volume servers, a filer, and the S3 gateway.

Each volume server stands for a host with disks; the master keeps each object on two of them. The
master and the filer are one each, as nothing else is asked of them here: docs/scaling.md says what
several of them need. Knows nothing of what the objects are.
"""

import json
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import psutil

from tests.support.processes import Child, NotReady, free_ports

REPLICATION = "001"
"""Two copies, on two servers of a rack."""
VOLUME_MIB = 256
_READY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server of the cluster listens, for HTTP and for gRPC."""

    http: int
    grpc: int

    def __str__(self) -> str:
        """Write it as SeaweedFS reads it."""
        return f"127.0.0.1:{self.http}.{self.grpc}"

    def options(self) -> dict[str, object]:
        here = {"ip": "127.0.0.1", "ip.bind": "127.0.0.1"}
        return here | {"port": self.http, "port.grpc": self.grpc}


class Store:
    """A cluster with its data in `folder`; its volume servers are numbered from 0."""

    def __init__(self, folder: Path, *, volumes: int) -> None:
        self._folder = folder
        self.volumes = volumes
        self._addresses: dict[str, Address] = {}
        self._children: dict[str, Child] = {}
        self.access_key_id = secrets.token_hex(10)
        self.secret_access_key = secrets.token_hex(20)

    @property
    def port(self) -> int:
        """The port of the S3 gateway."""
        return self._addresses["s3"].http

    def url(self, bucket: str) -> str:
        """Return the storage URL of `bucket`, which Holdall makes when it is not there."""
        query = {"endpoint": f"http://127.0.0.1:{self.port}", "create_bucket": "true"}
        return f"s3://{bucket}?{urlencode(query)}"

    def start(self) -> None:
        """Start every server, and return when objects can be stored. Raises NotReady."""
        names = ["master", *map(_volume, range(self.volumes)), "filer", "s3"]
        ports = free_ports(2 * len(names))
        pairs = zip(ports[::2], ports[1::2], strict=True)
        self._addresses = {name: Address(*pair) for name, pair in zip(names, pairs, strict=True)}
        for name in names:
            self._run(name)
        self._children["s3"].wait_until(self._is_ready, seconds=_READY_SECONDS)

    def stop(self) -> None:
        """Stop every server, the gateway first."""
        for name in reversed([*self._children]):
            self._children.pop(name).stop()

    def kill_volume(self, number: int) -> None:
        """End a volume server at once, as a power cut would."""
        self._children.pop(_volume(number)).kill()

    def start_volume(self, number: int) -> None:
        """Start a volume server again, on the data that it had."""
        self._run(_volume(number))

    def is_whole(self) -> bool:
        """Say whether the master hears from every volume server."""
        with suppress(URLError, OSError, ValueError):
            topology = self._ask("master", "/dir/status")["Topology"]
            # Each list is null while it is empty.
            racks = [rack for each in topology["DataCenters"] or () for rack in each["Racks"] or ()]
            return sum(len(rack["DataNodes"] or ()) for rack in racks) == self.volumes
        return False

    def processes(self) -> dict[str, list[psutil.Process]]:
        """Return the processes of each kind of server."""
        kinds: dict[str, list[psutil.Process]] = {}
        for name, child in self._children.items():
            kinds.setdefault(name.partition("-")[0], []).append(psutil.Process(child.pid))
        return kinds

    def _is_ready(self) -> bool:
        if not self.is_whole():
            return False
        with suppress(URLError, OSError, ValueError):
            urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=2).close()
            # Has the master make volumes, which can fail for as long as two servers are not known.
            return "fid" in self._ask("master", f"/dir/assign?replication={REPLICATION}")
        return False

    def _ask(self, name: str, path: str) -> Any:
        with urlopen(f"http://127.0.0.1:{self._addresses[name].http}{path}", timeout=5) as answer:
            return json.load(answer)

    def _run(self, name: str) -> None:
        kind = name.partition("-")[0]
        options = self._addresses[name].options() | self._options(name)
        words = [f"-{option}={value}" for option, value in options.items()]
        self._children[name] = Child(
            [str(Path(sys.executable).with_name("weed")), kind, *words],
            log=self._folder / f"{name}.log",
            env=self._environment(name),
        )

    def _options(self, name: str) -> dict[str, object]:
        master, folder = self._addresses["master"], self._folder / name
        folder.mkdir(parents=True, exist_ok=True)
        if name == "master":
            return {
                "mdir": folder,
                "peers": "none",
                "defaultReplication": REPLICATION,
                "volumeSizeLimitMB": VOLUME_MIB,
                "telemetry": "false",
            }
        if name == "filer":
            return {"defaultStoreDir": folder, "master": master, "localSocket": folder / "sock"}
        if name == "s3":
            return {
                "filer": self._addresses["filer"],
                "port.iceberg": 0,
                "port.lance": 0,
                "localSocket": folder / "sock",
            }
        return {"dir": folder, "master": master, "max": 0}

    def _environment(self, name: str) -> dict[str, str]:
        """Return a server's variables; the gateway's are the only keys that it takes."""
        inherited = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}
        if name != "s3":
            return inherited
        keys = {
            "AWS_ACCESS_KEY_ID": self.access_key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret_access_key,
        }
        return inherited | keys


def _volume(number: int) -> str:
    return f"volume-{number + 1}"


@contextmanager
def store(folder: Path, *, volumes: int) -> Iterator[Store]:
    """Run a cluster; on other ports when someone took one of them in between."""
    cluster = Store(folder, volumes=volumes)
    try:
        try:
            cluster.start()
        except NotReady:
            cluster.stop()
            cluster.start()
        yield cluster
    finally:
        cluster.stop()
