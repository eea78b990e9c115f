"""A real nginx with the sample configuration, its addresses and folders changed as people would.

Every change has to find what it changes exactly as often as is expected, so that the sample cannot
move away from what is tested. Knows nothing of what the service answers.
"""

import os
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import Child, free_ports

NAMES_EACH_PUT = '#"~^PUT '
SAMPLE = Path(__file__).parents[2] / "deploy" / "nginx.conf"


def configured(
    folder: Path, *, port: int, services: Sequence[int], store: int, uploads: Path
) -> str:
    """Return the sample for these ports, with all that nginx writes in `folder`."""
    servers = " ".join(f"server 127.0.0.1:{service};" for service in services)
    text = SAMPLE.read_text()
    for line, there, count in (
        ("user www-data;", "user root;" if os.geteuid() == 0 else "", 1),
        ("worker_rlimit_nofile 65536;", "daemon off;", 1),
        ("worker_connections 16384;", "worker_connections 512;", 1),
        ("pid /run/nginx.pid;", f"pid {folder}/nginx.pid;", 1),
        ("/var/log/nginx/", f"{folder}/", 2),
        ("server 127.0.0.1:5000;", servers, 1),
        ("127.0.0.1:9000;", f"127.0.0.1:{store};", 2),
        ("listen 80;", f"listen 127.0.0.1:{port};", 1),
        ("alias /app/data/uploads/;", f"alias {uploads}/;", 1),
        ("http {", "http {\n" + _temporary(folder), 1),
    ):
        assert text.count(line) == count, f"the sample has {line!r} {text.count(line)} times"
        text = text.replace(line, there)
    assert not re.search(r"/(?:app|run|var)/", text)
    if len(services) > 1:
        assert NAMES_EACH_PUT in text
        text = text.replace(NAMES_EACH_PUT, NAMES_EACH_PUT.removeprefix("#"))
    return text


def _temporary(folder: Path) -> str:
    names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return "".join(f"    {name}_temp_path {folder}/{name};\n" for name in names)


@contextmanager
def nginx(folder: Path, *, service: int, store: int, uploads: Path) -> Iterator[int]:
    """Run the sample in front of a service and a store of this machine; yield nginx's port."""
    (port,) = free_ports(1)
    configuration = folder / "nginx.conf"
    configuration.write_text(
        configured(folder, port=port, services=[service], store=store, uploads=uploads)
    )
    log = folder / "nginx.log"
    command = ["/usr/sbin/nginx", "-e", str(log), "-c", str(configuration)]
    child = Child(command, log=log)
    try:
        child.wait_until(lambda: listens(port), seconds=10)
        yield port
    finally:
        child.stop()


def listens(port: int) -> bool:
    """Say whether a server takes connections at `port`."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
