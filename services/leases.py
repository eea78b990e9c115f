"""Tasks that one instance at a time does: whoever holds the lease, until it ends or is renewed."""

from datetime import timedelta

from sqlalchemy import delete, insert, update
from sqlalchemy.exc import IntegrityError

from models import Lease, now
from services.database import Database
from storage.keys import random_name


class Leases:
    """Leases in the database, under a name that this object alone has."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._holder = random_name()

    def take(self, name: str, *, seconds: float) -> bool:
        """Take or renew the lease on `name`, and say whether it is ours now."""
        until = now() + timedelta(seconds=seconds)
        mine = update(Lease).where(Lease.name == name, Lease.holder == self._holder)
        try:
            with self._database.write() as session:
                renewed = session.execute(mine.values(expires_at=until).returning(Lease.name))
                if renewed.first() is not None:
                    return True
                over = delete(Lease).where(Lease.name == name, Lease.expires_at <= now())
                session.execute(over)
                values = {"name": name, "holder": self._holder, "expires_at": until}
                session.execute(insert(Lease).values(values))
        except IntegrityError:
            return False
        return True
