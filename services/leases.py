"""Tasks that one instance at a time does: whoever holds the lease, until it ends or is renewed."""

from datetime import datetime, timedelta

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

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

    def renew(self, name: str, *, seconds: float) -> bool:
        """Renew the lease on `name` if it is still ours, and say whether it is."""
        until = now() + timedelta(seconds=seconds)
        mine = update(Lease).where(Lease.name == name, Lease.holder == self._holder)
        with self._database.write() as session:
            renewed = session.execute(mine.values(expires_at=until).returning(Lease.name))
            return renewed.first() is not None

    def holds(self, session: Session, name: str) -> bool:
        """Say whether the lease on `name` is ours, and keep it so until the transaction ends.

        One that is over is still ours while nobody has taken it.
        """
        mine = select(Lease.name).where(Lease.name == name, Lease.holder == self._holder)
        return session.execute(mine.with_for_update()).first() is not None

    def ends_at(self, name: str) -> datetime | None:
        """Return when the lease on `name` ends, whoever has it, or None when nobody has."""
        with self._database.read() as session:
            return session.scalar(select(Lease.expires_at).where(Lease.name == name))

    def give_back(self, name: str) -> None:
        """End the lease on `name` if it is ours."""
        with self._database.write() as session:
            mine = delete(Lease).where(Lease.name == name, Lease.holder == self._holder)
            session.execute(mine)
