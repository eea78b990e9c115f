"""Wrong keys, counted for each client in the database that all workers and hosts share.

A client is an IPv4 address, or the /64 network of an IPv6 one, which a single subscriber has to
itself. A client that has shown MOST wrong keys since its window began is refused until WINDOW is
over, and until then nothing more is written for it. Only wrong keys are counted and refused: a
right one gets through all the same, or one broken client would lock out everybody behind the same
address.
"""

import ipaddress
import math
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

from sqlalchemy import bindparam, case, select
from sqlalchemy.dialects import postgresql, sqlite

from models import Base, Failure, now
from services.database import Database
from services.errors import TooManyFailures

MOST: Final = 20
WINDOW: Final = timedelta(minutes=1)


class Failures:
    """Count wrong keys. `clock` gives the time in UTC."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime] = now) -> None:
        self._database = database
        self._clock = clock

    def add(self, address: str | None) -> None:
        """Count one wrong key from `address`. Raises TooManyFailures once there are over MOST."""
        client, moment = client_of(address), self._clock()
        count, until = self._known(client)
        if until <= moment or count < MOST:
            values = {"client": client, "moment": moment, "ends": moment + WINDOW}
            with self._database.write() as session:
                count, until = session.execute(_upsert(self._database.dialect), values).one()
            if count <= MOST:
                return
        raise TooManyFailures(max(1, math.ceil((until - moment).total_seconds())))

    def _known(self, client: str) -> tuple[int, datetime]:
        query = select(Failure.count, Failure.until).where(Failure.client == client)
        with self._database.read() as session:
            row = session.execute(query).first()
        return (0, self._clock()) if row is None else (row[0], row[1])


def client_of(address: str | None) -> str:
    """Return what counts as one client: the address, or the /64 that an IPv6 address is in."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(parsed), 64), strict=False))


@cache
def _upsert(dialect: str) -> Any:
    """Return the statement that begins a client's window, or counts one more in it."""
    insert = sqlite.insert if dialect == "sqlite" else postgresql.insert
    failures = Base.metadata.tables[Failure.__tablename__]
    ends = bindparam("ends", type_=failures.c.until.type)
    moment = bindparam("moment", type_=failures.c.until.type)
    over = failures.c.until <= moment
    new = insert(failures).values(client=bindparam("client"), count=1, until=ends)
    return new.on_conflict_do_update(
        index_elements=["client"],
        set_={
            "count": case((over, 1), else_=failures.c.count + 1),
            "until": case((over, ends), else_=failures.c.until),
        },
    ).returning(failures.c.count, failures.c.until)
