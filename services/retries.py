"""What a client's retry is answered with: the files of the request that it repeats.

It must not know how files are published.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import delete, insert
from sqlalchemy.orm import Session

from models import Base, IdempotencyKey, now
from services.caller import Caller
from services.database import Writing
from services.errors import InvalidField
from services.statements import Prepared

KEPT_FOR: Final = timedelta(hours=24)
"""How long an Idempotency-Key is answered with what it was first answered with."""

_TABLE: Final = Base.metadata.tables[IdempotencyKey.__tablename__]
_INSERT: Final = Prepared(
    lambda dialect: insert(_TABLE).inline(), [column.name for column in _TABLE.columns]
)


@dataclass(frozen=True, slots=True)
class Retry:
    """A client's name for one upload, and what tells its request from others."""

    owner: str
    key: str
    request: str

    @property
    def place(self) -> tuple[str, str]:
        """Where it stands among others."""
        return self.owner, self.key

    @classmethod
    def named(cls, caller: Caller, key: str | None, request: str) -> "Retry | None":
        """Read an Idempotency-Key; None when there is none. Raises InvalidField."""
        if key is None:
            return None
        if not 0 < len(key) <= 255 or not key.isascii() or not key.isprintable():
            raise InvalidField("Idempotency-Key is not 1 to 255 printable ASCII characters")
        owner = f"link:{caller.link.id}" if caller.link else caller.owner or ""
        return cls(owner, key, request)


def remember(writing: Writing, answers: Iterable[tuple[Retry, Sequence[str]]]) -> None:
    """Write down requests and the ids of their files. Raises IntegrityError for one that is there.

    All who write several do so in one order, before they lock anything else, so that no two wait
    for each other.
    """
    moment = now()
    rows = [
        {
            "owner": retry.owner,
            "key": retry.key,
            "request": retry.request,
            "file_ids": list(file_ids),
            "expires_at": moment + KEPT_FOR,
        }
        for retry, file_ids in sorted(answers, key=lambda answer: answer[0].place)
    ]
    if rows:
        _INSERT.run(writing, rows)


def forget_if_over(session: Session, retry: Retry) -> None:
    """Forget a key that has ended and is there still."""
    session.execute(
        delete(IdempotencyKey).where(
            IdempotencyKey.owner == retry.owner,
            IdempotencyKey.key == retry.key,
            IdempotencyKey.expires_at <= now(),
        )
    )
