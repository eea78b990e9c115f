"""Real servers for the tests: an S3 store (SeaweedFS) and a PostgreSQL, both from PyPI.

They listen on 127.0.0.1 or a socket file only, keep their data in a folder that the caller gives,
and are gone when the tests are, even killed ones. Of the service under test it knows only how that
makes sessions of the SDK.

As session fixtures:

    with seaweedfs(tmp_path_factory.mktemp("s3")) as server: yield server
    with postgres(tmp_path_factory.mktemp("pg")) as server: yield server
"""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import urlopen

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from storage.s3_session import new_session
from tests.support.processes import Child, NotReady, free_ports, is_free

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from psycopg import Connection

_READY_SECONDS = 30
_PROBED = "is-it-ready"


class S3Server:
    """A SeaweedFS that checks signatures and makes no bucket by itself.

    `stop` and `start` take it down and bring it back on the same port with the same data.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._child: Child | None = None
        self._ports: list[int] = []
        self._kept: S3Client | None = None
        self.access_key_id = secrets.token_hex(10)
        self.secret_access_key = secrets.token_hex(20)

    @property
    def port(self) -> int:
        return self._ports[0]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def url(self, bucket: str, prefix: str = "", **parameters: object) -> str:
        """Return the storage URL of `bucket`, with any further parameters of such URLs."""
        query = urlencode({"endpoint": self.endpoint, **parameters})
        return f"s3://{bucket}/{prefix}?{query}"

    def start(self) -> None:
        """Start the server and wait until it takes and gives back an object.

        Its S3 port answers before its volumes do: until then, each object is an internal error.
        """
        self._ports = self._ports or _seaweed_ports()
        child = Child(
            self._command(), log=self._folder / "weed.log", env=_environment_without_aws()
        )
        try:
            child.wait_until(self._stores, seconds=_READY_SECONDS)
        except BaseException:
            child.kill()
            raise
        self._child = child

    def start_anywhere(self) -> None:
        """Start on free ports; on others when someone took one of them in between."""
        for _ in range(2):
            try:
                return self.start()
            except NotReady:
                self._ports = []
        self.start()

    def stop(self) -> None:
        """Stop the server, at once: connections that are open break."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None
        if self._child is not None:
            self._child.kill()
            self._child = None
            _remove_sockets(self._ports)

    def _stores(self) -> bool:
        """Say whether an object can be put and read, in a bucket that no test uses."""
        if not _answers(self.endpoint):
            return False
        with closing(self._client()) as client:
            try:
                with suppress(client.exceptions.BucketAlreadyOwnedByYou):
                    client.create_bucket(Bucket=_PROBED)
                client.put_object(Bucket=_PROBED, Key="object", Body=b"stored")
                with closing(client.get_object(Bucket=_PROBED, Key="object")["Body"]) as body:
                    return body.read() == b"stored"
            except (BotoCoreError, ClientError):
                return False

    def _client(self) -> "S3Client":
        return new_session().client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=1, read_timeout=5),
        )

    def make_bucket(self, name: str) -> None:
        """Make a bucket."""
        # To make a client takes ten times as long as to make a bucket.
        self._kept = self._kept or self._client()
        self._kept.create_bucket(Bucket=name)

    def _command(self) -> list[str]:
        identities = self._folder / "identities.json"
        identities.write_text(json.dumps(_identities(self.access_key_id, self.secret_access_key)))
        s3, s3_grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc, admin = (
            self._ports
        )
        data = self._folder / "data"
        data.mkdir(exist_ok=True)
        options = {
            "dir": data,
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "s3.port": s3,
            "s3.port.grpc": s3_grpc,
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "s3.config": identities,
            "s3.autoCreateBucket": "false",
            "master.port": master,
            "master.port.grpc": master_grpc,
            "master.telemetry": "false",
            "master.volumeSizeLimitMB": 256,
            "volume.port": volume,
            "volume.port.grpc": volume_grpc,
            "volume.max": 5_000,
            "filer.port": filer,
            "filer.port.grpc": filer_grpc,
            "admin.port": admin,
            "admin.port.grpc": admin + 10_000,
            "admin.ui": "false",
            "webdav": "false",
        }
        return [str(_beside_python("weed")), "mini", *(f"-{k}={v}" for k, v in options.items())]


@contextmanager
def seaweedfs(folder: Path) -> Iterator[S3Server]:
    """Run an S3 server with its data in `folder`."""
    server = S3Server(folder)
    server.start_anywhere()
    try:
        yield server
    finally:
        server.stop()


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running PostgreSQL; `url` is SQLAlchemy's, of its maintenance database."""

    url: str

    def fresh_database(self, name: str | None = None, *, like: str = "template1") -> str:
        """Make a database, empty or with all that `like` holds, and return its SQLAlchemy URL."""
        from psycopg.sql import SQL, Identifier

        name = name or f"test_{secrets.token_hex(6)}"
        with self.connected("postgres") as connection:
            make = SQL("CREATE DATABASE {} TEMPLATE {}")
            connection.execute(make.format(Identifier(name), Identifier(like)))
        return self.url.replace("/postgres?", f"/{name}?")

    def drop_database(self, url: str) -> None:
        """Remove a database that fresh_database made, whoever is connected to it."""
        from psycopg.sql import SQL, Identifier

        name = Identifier(urlsplit(url).path.lstrip("/"))
        with self.connected("postgres") as connection:
            connection.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))

    @contextmanager
    def connected(self, database: str) -> Iterator["Connection[tuple[Any, ...]]"]:
        """Connect to a database, as its superuser, without a transaction."""
        import psycopg

        host = parse_qs(urlsplit(self.url).query)["host"][0]
        told = f"host={host} user=postgres dbname={database}"
        with psycopg.connect(told, autocommit=True) as connection:
            yield connection


@contextmanager
def postgres(folder: Path, *, durable: bool = False) -> Iterator[PostgresServer]:
    """Run a PostgreSQL with its data in `folder/data`.

    What it wrote last may not survive a crash of the machine, unless it is to be `durable`.

    A keeper process owns it and stops it when our end of the pipe closes, whatever closed it.
    """
    keeper = subprocess.Popen(
        [
            sys.executable,
            "-Wignore",
            str(Path(__file__).with_name("postgres_keeper.py")),
            str(folder / "data"),
            *(["durable"] if durable else []),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert keeper.stdin and keeper.stdout
    with keeper, keeper.stdin, keeper.stdout:
        host = keeper.stdout.readline().strip()
        if not host:
            raise NotReady(f"PostgreSQL did not start: the keeper ended with {keeper.wait()}")
        yield PostgresServer(f"postgresql+psycopg://postgres@/postgres?{urlencode({'host': host})}")


def _seaweed_ports() -> list[int]:
    """Return nine free ports; the admin server's clients look for its gRPC at the last + 10,000."""
    while True:
        ports = free_ports(9)
        if is_free(ports[-1] + 10_000):
            return ports


def _identities(access_key_id: str, secret_access_key: str) -> dict[str, object]:
    return {
        "identities": [
            {
                "name": "tests",
                "credentials": [{"accessKey": access_key_id, "secretKey": secret_access_key}],
                "actions": ["Admin", "Read", "Write", "List", "Tagging"],
            }
        ]
    }


def _environment_without_aws() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}


def _answers(endpoint: str) -> bool:
    """Say whether an HTTP server answers at `endpoint`; an error status is an answer too."""
    try:
        urlopen(endpoint, timeout=1).close()
    except HTTPError as refusal:
        refusal.close()
    except (URLError, OSError):
        return False
    return True


def _remove_sockets(ports: list[int]) -> None:
    """Remove the socket files that a killed SeaweedFS leaves, whose names end in its ports."""
    for port in [*ports, ports[-1] + 10_000]:
        for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
            path.unlink(missing_ok=True)


def _beside_python(name: str) -> Path:
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        raise FileNotFoundError(f"{name} is not installed beside {sys.executable}")
    return path
