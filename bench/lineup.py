"""Who is measured: starts the servers of a run and pairs each with the doors that are used.

A case is done by the subjects that ALONE names for it; else a subject takes part in the cases that
PARTS names for it, or in all.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from bench import servers
from bench.servers import Server
from bench.store import Store
from bench.subjects import Holdall, HoldallOnS3, Naive, NaiveRaw, Nginx, Subject

PARTS = {
    "naive-raw": ("put",),
    "holdall-fsync": ("put", "post", "small-upload"),
    "holdall-s3": ("put", "post", "get"),
}
ALONE = {
    "tus-put": ("holdall", "holdall-fsync", "holdall-s3"),
    "tus": ("holdall", "holdall-fsync", "holdall-s3"),
    "tus-many": ("holdall", "holdall-fsync"),
    "tus-sparse": ("holdall-s3",),
}
OPPONENTS = ("naive", "naive-2x8", "nginx")
"""`naive` runs under Holdall's gunicorn.conf.py, `naive-2x8` with two workers of eight threads."""


def takes_part(subject: str, case: str) -> bool:
    """Say whether the subject is measured in the case."""
    if case in ALONE:
        return subject in ALONE[case]
    return case in PARTS.get(subject, (case,))


Kind = Callable[[str, Server, Path], Subject]


@contextmanager
def lineup(
    folder: Path, against: tuple[str, ...], cases: tuple[str, ...], *, s3: bool
) -> Iterator[list[Subject]]:
    """Start all that take part in any of `cases` against the named opponents, Holdall first."""
    with ExitStack() as stack:
        gathered: list[Subject] = []

        def join(name: str, kind: Kind, run: Callable[[Path], Server]) -> None:
            if any(takes_part(name, case) for case in cases):
                home = folder / name
                home.mkdir()
                gathered.append(kind(name, run(home), home))

        def holdall(home: Path, **settings: str) -> Server:
            return stack.enter_context(servers.holdall(home, settings))

        join("holdall", Holdall, lambda home: holdall(home, DURABILITY="os"))
        if "naive" in against:
            plain = stack.enter_context(servers.naive(folder / "naive-server"))
            join("naive", Naive, lambda _: plain)
            join("naive-raw", NaiveRaw, lambda _: plain)
        if "naive-2x8" in against:
            small = stack.enter_context(servers.naive(folder / "naive-small", small=True))
            join("naive-2x8", Naive, lambda _: small)
        if "nginx" in against and servers.has_nginx():
            join("nginx", Nginx, lambda home: stack.enter_context(servers.nginx(home)))
        join("holdall-fsync", Holdall, lambda home: holdall(home, DURABILITY="fsync"))
        if s3:
            store = stack.enter_context(_store(folder / "s3"))
            settings = store.settings()
            join(
                "holdall-s3",
                partial(HoldallOnS3, store=store),
                lambda home: holdall(home, DURABILITY="os", **settings),
            )
        yield gathered


@contextmanager
def _store(folder: Path) -> Iterator[Store]:
    """Run a SeaweedFS."""
    # Here, because only this case needs what `tests` needs.
    from tests.support.servers import seaweedfs

    folder.mkdir()
    with seaweedfs(folder) as server:
        yield Store(server.endpoint, server.access_key_id, server.secret_access_key)
