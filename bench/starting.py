"""Starts the servers of a run, pairs each with its doors, and stores with each what is read.

Servers run all at once and are idle but for their turns.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Final

from bench import opponents, peers, servers
from bench.opponents import SeaweedFS
from bench.samples import Fixture
from bench.servers import Server
from bench.store import BUCKET
from bench.subjects import Holdall, HoldallOnS3, Naive, NaiveRaw, Nginx, Subject

Kind = Callable[[str, Server, Path], Subject]
Start = Callable[[Path], AbstractContextManager[Server]]

_OWN: Final[dict[str, tuple[Kind, Start]]] = {
    "holdall": (Holdall, partial(servers.holdall, settings={"DURABILITY": "os"})),
    "holdall-fsync": (Holdall, partial(servers.holdall, settings={"DURABILITY": "fsync"})),
    "nginx": (Nginx, servers.nginx),
    "copyparty": (peers.Copyparty, opponents.copyparty),
    "tus-server": (peers.TusServer, opponents.tus_server),
    "starlette": (peers.Starlette, opponents.starlette),
    "naive-2x8": (Naive, partial(servers.naive, small=True)),
    "rclone-http": (peers.Rclone, partial(opponents.rclone, protocol="http", bucket=BUCKET)),
    "rclone-webdav": (peers.Rclone, partial(opponents.rclone, protocol="webdav", bucket=BUCKET)),
    "rclone-s3": (peers.RcloneS3, partial(opponents.rclone, protocol="s3", bucket=BUCKET)),
}
"""The subjects that have a server to themselves."""


@contextmanager
def started(folder: Path, names: Sequence[str]) -> Iterator[list[Subject]]:
    """Start the servers of the named subjects and lend the subjects, in the order of the names."""
    with ExitStack() as stack:

        @cache
        def naive() -> Server:
            return stack.enter_context(servers.naive(folder / "naive-server"))

        @cache
        def seaweedfs() -> SeaweedFS:
            return stack.enter_context(opponents.seaweedfs(folder / "seaweedfs-server"))

        def holdall_on_s3(name: str, home: Path) -> Subject:
            store = seaweedfs().store
            settings = {"DURABILITY": "os", **store.settings()}
            server = stack.enter_context(servers.holdall(home, settings))
            return HoldallOnS3(name, server, home, store)

        sharing: dict[str, Callable[[str, Path], Subject]] = {
            "naive": lambda name, home: Naive(name, naive(), home),
            "naive-raw": lambda name, home: NaiveRaw(name, naive(), home),
            "seaweedfs": lambda name, home: peers.SeaweedFiler(name, seaweedfs().filer, home),
            "seaweedfs-s3": lambda name, home: peers.SeaweedS3(name, seaweedfs().s3, home),
            "boto3": lambda name, home: peers.Boto3(name, seaweedfs().s3, home, seaweedfs().store),
            "holdall-s3": holdall_on_s3,
        }

        def make(name: str) -> Subject:
            home = folder / name
            home.mkdir()
            if name in sharing:
                return sharing[name](name, home)
            kind, start = _OWN[name]
            return kind(name, stack.enter_context(start(home)), home)

        yield [make(name) for name in names]


def seed(subject: Subject, fixture: Fixture, wanted: set[str]) -> None:
    """Store with `subject` what is `wanted` of the `big` file and the `small` ones."""
    if "small" in wanted:
        fixture.small[subject.name] = [subject.seed(file) for file in fixture.small_files]
    if "big" in wanted:
        fixture.big[subject.name] = subject.seed(fixture.big_file)
