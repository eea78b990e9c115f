"""A process that runs one PostgreSQL until its standard input ends: `postgres_keeper.py FOLDER`.

With `durable` behind the folder it keeps what it wrote through a loss of power, at a cost.
It prints the folder of the server's socket once connections are accepted. Its parent need do
nothing to end it: a parent that dies closes the pipe.
"""

import signal
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
from pgserver.postgres_server import get_server

_FASTER_THAN_SAFE = ("fsync = off", "synchronous_commit = off", "full_page_writes = off")


def main(folder: Path, *, durable: bool) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with get_server(folder, cleanup_mode="stop") as server:
        host = parse_qs(urlsplit(server.get_uri()).query)["host"][0]
        with psycopg.connect(f"host={host} user=postgres", autocommit=True) as connection:
            for setting in () if durable else _FASTER_THAN_SAFE:
                connection.execute(f"ALTER SYSTEM SET {setting}".encode())
            connection.execute("SELECT pg_reload_conf()")
        print(host, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]), durable="durable" in sys.argv[2:])
