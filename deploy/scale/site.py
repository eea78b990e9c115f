"""Everything together: a database, a store, instances of Holdall, and nginx in front of them.

    with site(folder, instances=2, volumes=2) as running: running.url, running.key

What the instances share is in `variables`; what each has for itself is its folder and its port.
"""

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from deploy.scale.front import Front
from deploy.scale.store import Store, store
from tests.support.processes import free_ports
from tests.support.servers import postgres
from tests.support.service import ROOT, Service

BUCKET = "holdall"
_COMMAND_SECONDS = 900


class Site:
    """A running deployment. `instances` are those that nginx was told of last."""

    def __init__(self, folder: Path, store: Store, front: Front, variables: dict[str, str]) -> None:
        self.folder = folder
        self._made = 0
        self.store = store
        self.front = front
        self.variables = variables
        self.instances: list[Service] = []
        self.key = ""

    @property
    def url(self) -> str:
        """Where clients go: nginx."""
        return self.front.url

    def start(self, instances: int) -> None:
        """Start the instances, make a key, and put nginx in front."""
        for _ in range(instances):
            self.instances.append(self._start_instance())
        self.key = self.flask("keys", "create", "--name", "scale", "--scopes", "admin").strip()
        self.front.start(self._ports())

    def add_instance(self) -> Service:
        """Start a fresh instance and tell nginx."""
        added = self._start_instance()
        self.instances.append(added)
        self.front.tell(self._ports())
        return added

    def remove_instance(self, gone: Service) -> None:
        """Tell nginx of an instance no more."""
        self.instances.remove(gone)
        self.front.tell(self._ports())

    def flask(self, *words: str) -> str:
        """Run a `flask` command as on one of the hosts, and return what it printed.

        Raises CalledProcessError.
        """
        with (self.folder / "commands.log").open("a") as log:
            done = subprocess.run(
                [sys.executable, "-m", "flask", "--app", "app", *words],
                env=self._environment(),
                cwd=ROOT,
                check=True,
                text=True,
                stdout=subprocess.PIPE,
                stderr=log,
                timeout=_COMMAND_SECONDS,
            )
        return done.stdout

    def database_processes(self) -> list[psutil.Process]:
        """Return PostgreSQL's server, and what it has made for each connection."""
        server = int((self.folder / "pg/data/postmaster.pid").read_text().splitlines()[0])
        return [psutil.Process(server), *psutil.Process(server).children()]

    def stop(self) -> None:
        """Stop nginx, then the instances."""
        self.front.stop()
        for instance in self.instances:
            instance.stop()

    def _ports(self) -> list[int]:
        return [instance.port for instance in self.instances]

    def _start_instance(self) -> Service:
        self._made += 1
        folder = self.folder / f"holdall-{self._made}"
        folder.mkdir()
        (port,) = free_ports(1)
        service = Service(port, folder / "data", self.variables, folder / "service.log")
        try:
            service.start()
        except BaseException:
            service.stop()
            raise
        return service

    def _environment(self) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return inherited | self.variables | {"DATA_DIR": str(self.folder / "commands")}


@contextmanager
def site(
    folder: Path,
    *,
    instances: int,
    volumes: int,
    port: int | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Site]:
    """Run a deployment with its data in `folder`, on nginx's `port`, with further `settings`.

    Raises NotReady.
    """
    with ExitStack() as stack:
        for name in ("pg", "store", "nginx", "commands"):
            (folder / name).mkdir()
        cluster = stack.enter_context(store(folder / "store", volumes=volumes))
        database = stack.enter_context(postgres(folder / "pg", durable=True))
        shared = {
            "AUTH_MODE": "keys",
            "SECRET_KEY": secrets.token_hex(32),
            "DATABASE_URL": database.fresh_database("holdall"),
            "STORAGE_BACKEND": "s3",
            "STORAGE_S3_URL": cluster.url(BUCKET),
            "STORAGE_S3_ACCESS_KEY_ID": cluster.access_key_id,
            "STORAGE_S3_SECRET_ACCESS_KEY": cluster.secret_access_key,
            "TRUSTED_PROXIES": "127.0.0.1",
            "DURABILITY": "fsync",
        }
        front = Front(folder / "nginx", port=port or free_ports(1)[0], store=cluster.port)
        running = Site(folder, cluster, front, shared | dict(settings or {}))
        stack.callback(running.stop)
        running.start(instances)
        yield running
