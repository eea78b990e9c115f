"""`python -m deploy.scale`: run the deployment until Ctrl-C or SIGTERM, and leave nothing."""

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from deploy.scale.site import Site, site
from tests.support.nginx import listens
from tests.support.processes import NotReady


def main(words: list[str]) -> int:
    options = _options(words)
    if listens(options.port):
        print(f"port {options.port} is taken: name another one, PORT=8081", file=sys.stderr)
        return 2
    print("Starting SeaweedFS, PostgreSQL, Holdall and nginx …", flush=True)
    try:
        with (
            _ended_by_signals(),
            _folder() as folder,
            site(
                folder, instances=options.instances, volumes=options.volumes, port=options.port
            ) as running,
        ):
            print(_told(running, folder), flush=True)
            signal.pause()
    except KeyboardInterrupt:
        print("\nStopped; nothing is left.")
    except NotReady as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _options(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m deploy.scale", description=__doc__)
    parser.add_argument("--instances", type=int, default=2, help="Holdalls behind nginx")
    parser.add_argument("--volumes", type=int, default=2, help="volume servers, 2 or more")
    parser.add_argument("--port", type=int, default=8080, help="nginx's port of 127.0.0.1")
    options = parser.parse_args(words)
    if options.instances < 1 or options.volumes < 2:
        parser.error("at least one instance, and two volume servers, since each object is on two")
    return options


def _told(running: Site, folder: Path) -> str:
    nodes = ", ".join(instance.url for instance in running.instances)
    return f"""
Holdall   {running.url}   behind it {nodes}
Key       {running.key}
Data      {folder}, {running.store.volumes} volume servers; all of it goes at the end

  curl -T README.md -H "Authorization: Bearer {running.key}" {running.url}/api/upload/README.md

Ctrl-C stops all."""


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Have SIGTERM and SIGHUP end the program as Ctrl-C does, once: the second time is too late."""

    def end(_number: int, _frame: FrameType | None) -> None:
        for number in signals:
            signal.signal(number, lambda *_: None)
        raise KeyboardInterrupt

    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in signals:
        signal.signal(number, end)
    yield


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="holdall-scale-"))
    # Where PostgreSQL's package has its lock, and which it would otherwise leave in /tmp.
    (folder / "run").mkdir(mode=0o700)
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder / "run"))
    # PostgreSQL runs as a user of its own when it is started by root.
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
