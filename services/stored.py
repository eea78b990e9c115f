"""A file as delivery needs it: the few columns of one indexed query, and no ORM object."""

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A ready file. `size` is in bytes, `created_at` aware UTC, `cache_max_age` in seconds.

    `etag` has no quotes; `sha256` is lowercase hex, or None where no one has read the bytes yet.
    `delivery` is its collection's way of sending bytes: `proxy`, `redirect` or `x-accel`.
    `expires_at` is when the file ends, None for never.
    """

    id: str
    filename: str
    content_type: str
    size: int
    etag: str
    sha256: str | None
    owner: str | None
    visibility: str
    backend: str
    key: str
    collection: str
    created_at: datetime
    cache_max_age: int
    delivery: str
    expires_at: datetime | None = None

    def is_there(self) -> bool:
        """Say whether the file has not ended."""
        return self.expires_at is None or self.expires_at > datetime.now(UTC)
