"""What a collection asks of its files, with the service's own limits laid over it."""

import time
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Self

from sqlalchemy import select

from models import Collection, now
from services.collection_fields import is_name
from services.database import Database
from services.errors import CollectionNotFound, TooLarge, TypeNotAllowed
from services.mimetype import matches, same_type

KNOWN_FOR: Final = 0.5


@dataclass(frozen=True, slots=True)
class Limits:
    """The service's own limits, which no collection widens. Sizes in bytes."""

    max_size: int
    max_files: int
    allowed_types: tuple[str, ...]
    default_backend: str


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for a new file of one collection. Sizes in bytes, `expires_in` in seconds.

    `max_size` bounds one file, `max_files` and `max_bytes` the collection (`services.quotas`).
    """

    collection: str
    visibility: str
    backend: str
    max_size: int
    allowed_types: tuple[tuple[str, ...], ...]
    on_mismatch: str
    expires_in: int | None
    max_files: int | None = None
    max_bytes: int | None = None

    @property
    def has_quota(self) -> bool:
        """Whether the collection bounds how many files or bytes it holds in all."""
        return self.max_files is not None or self.max_bytes is not None

    def at_most(self, size: int) -> Self:
        """Return this policy for files of at most `size` bytes."""
        return replace(self, max_size=min(self.max_size, size))

    def check_size(self, size: int) -> None:
        """Raise TooLarge when a file of `size` bytes is over the limit."""
        if size > self.max_size:
            raise TooLarge(f"A file may have at most {self.max_size} bytes")

    def check_type(self, content_type: str, declared: str | None) -> None:
        """Raise TypeNotAllowed when the sniffed type is not taken, or may not differ."""
        if not all(matches(content_type, patterns) for patterns in self.allowed_types):
            raise TypeNotAllowed(f"Files of type {content_type} are not accepted here")
        if self.on_mismatch == "reject" and not same_type(declared, content_type):
            raise TypeNotAllowed(f"The content is {content_type}, not {declared}")

    def expiry(self) -> datetime | None:
        """Return when a file published now ends, or None."""
        return None if self.expires_in is None else now() + timedelta(seconds=self.expires_in)


class Policies:
    """Look up what a collection asks."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits
        self._known: dict[str, tuple[Policy, float]] = {}

    def of(self, name: str) -> Policy:
        """Return the policy of collection `name`, as it was KNOWN_FOR seconds ago at the most.

        Raises CollectionNotFound.
        """
        known, moment = self._known.get(name), time.monotonic()
        if known is None or known[1] < moment:
            # Counted from before the read: one that has to wait brings nothing younger.
            known = self._known[name] = (self._read(name), moment + KNOWN_FOR)
        return known[0]

    def look_again(self, name: str) -> Policy:
        """Return the policy as it is now. Raises CollectionNotFound."""
        self._known.pop(name, None)
        return self.of(name)

    def _read(self, name: str) -> Policy:
        row = None
        if is_name(name):  # a database may choke on what is none
            with self._database.read() as session:
                row = session.scalar(select(Collection).where(Collection.name == name))
        if row is None:
            raise CollectionNotFound(f"No collection is called {name[:64]!r}")
        limits = self._limits
        return Policy(
            collection=row.name,
            visibility=row.visibility,
            backend=row.backend or limits.default_backend,
            max_size=min(row.max_size or limits.max_size, limits.max_size),
            allowed_types=tuple(
                patterns
                for patterns in (limits.allowed_types, tuple(row.allowed_types or ()))
                if patterns
            ),
            on_mismatch=row.on_mismatch,
            expires_in=row.expires_in,
            max_files=row.max_files,
            max_bytes=row.max_bytes,
        )
