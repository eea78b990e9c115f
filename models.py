"""The tables, typed. No queries and no I/O here: services read and write them.

Times are aware datetimes in UTC; sizes are bytes. Ids that clients see are 130 random bits in
lowercase base32; `number` is the internal order in which files appeared, and pages lists.
"""

from datetime import UTC, datetime
from typing import Any, Final

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}

BigIntegerKey = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite numbers rows by itself only in a column whose type is exactly INTEGER."""

Ascii = String().with_variant(String(collation="C"), "postgresql")
"""Text that both databases compare byte by byte, so that pages agree on the order."""


class UTCDateTime(TypeDecorator[datetime]):
    """An aware datetime, kept in UTC; SQLite has no place for a zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def _only(condition: str) -> dict[str, Any]:
    """Make an index partial, on both databases."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


_LIVE = "state = 'ready' AND deleted_at IS NULL"
_OWNED = "owner IS NOT NULL"

UNMEASURED: Final = {
    "sqlite": "substr(content_type, 1, 6) = 'image/' AND (media IS NULL OR media = 'null')",
    "postgresql": "substr(content_type, 1, 6) = 'image/'"
    " AND (media IS NULL OR json_typeof(media) = 'null')",
}
"""Images whose width and height nobody has noted; JSON has two ways to hold nothing."""

HELD: Final = "state <> 'expired' OR key <> ''"
"""Uploads that still hold something, or answer to their clients."""
UNCONFIRMED: Final = "protocol = 'direct' AND file_id IS NULL"
"""Uploads that go from the client to the store, and are no file yet."""


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 (SQLAlchemy's own declaration)
        str: Ascii,
        datetime: UTCDateTime,
        dict[str, Any]: JSON,
        list[str]: JSON,
    }


db = SQLAlchemy(metadata=Base.metadata)
"""Engines by application; the tables below are plain SQLAlchemy."""


class Collection(Base):
    """A named policy that files belong to. `default` always exists; None means no limit.

    `visibility` is `public` or `private`, `on_mismatch` `correct` or `reject`, and `delivery`
    `proxy`, `redirect` or `x-accel`.
    """

    __tablename__ = "collections"

    name: Mapped[str] = mapped_column(primary_key=True)
    visibility: Mapped[str] = mapped_column(default="public")
    allowed_types: Mapped[list[str] | None]
    on_mismatch: Mapped[str] = mapped_column(default="correct")
    max_size: Mapped[int | None] = mapped_column(BigInteger)
    max_files: Mapped[int | None] = mapped_column(BigInteger)
    max_bytes: Mapped[int | None] = mapped_column(BigInteger)
    expires_in: Mapped[int | None] = mapped_column(BigInteger)
    backend: Mapped[str | None]
    delivery: Mapped[str] = mapped_column(default="proxy")
    cache_max_age: Mapped[int] = mapped_column(default=3600)
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)


class ApiKey(Base):
    """A caller's key. Only the SHA-256 of the secret is kept."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String())
    hash: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    hint: Mapped[str]
    scopes: Mapped[list[str]]
    collection: Mapped[str | None] = mapped_column(ForeignKey("collections.name"))
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class File(Base):
    """What a user sees: a name and a type for the object `key` on the backend `backend`.

    `state` is `ready`, or `pending` while the object may not be there yet; a file with a
    `deleted_at` is in the trash. `etag` is fixed when the file is published. `sha256` is null until
    a job has read bytes that never passed through the service. `family` is the part of the type
    before the slash, and `folded` the name as searches and sorting see it.
    """

    __tablename__ = "files"

    number: Mapped[int] = mapped_column(BigIntegerKey, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(unique=True)
    collection: Mapped[str] = mapped_column(ForeignKey("collections.name"))
    owner: Mapped[str | None] = mapped_column(ForeignKey("api_keys.id"))
    visibility: Mapped[str]
    state: Mapped[str]
    backend: Mapped[str]
    key: Mapped[str]
    filename: Mapped[str] = mapped_column(String())
    folded: Mapped[str]
    content_type: Mapped[str]
    family: Mapped[str]
    declared_type: Mapped[str | None] = mapped_column(String())
    size: Mapped[int] = mapped_column(BigInteger)
    etag: Mapped[str]
    sha256: Mapped[str | None]
    annotations: Mapped[dict[str, Any]] = mapped_column("metadata")
    media: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("backend", "key"),
        Index(None, "folded", "number"),
        Index(None, "size", "number"),
        # Lists in the order of arrival, which are counted without a look at their rows.
        *(
            Index(
                "_".join(("ix_files_live", *kept)),
                *(*kept, "number", "expires_at", "state", "deleted_at"),
                **_only(rows),
            )
            for kept, rows in (
                (("collection",), _LIVE),
                (("family",), _LIVE),
                (("content_type",), _LIVE),
                (("owner",), f"{_LIVE} AND {_OWNED}"),
                (("collection", "family"), _LIVE),
                (("owner", "family"), f"{_LIVE} AND {_OWNED}"),
            )
        ),
        *(
            Index(None, kept, sort, "number")
            for kept in ("collection", "family", "content_type")
            for sort in ("folded", "size")
        ),
        Index(None, "owner", "folded", "number", **_only(_OWNED)),
        Index(None, "owner", "size", "number", **_only(_OWNED)),
        Index("ix_files_unhashed", "number", **_only("sha256 IS NULL")),
        Index(
            "ix_files_unmeasured",
            "number",
            sqlite_where=text(UNMEASURED["sqlite"]),
            postgresql_where=text(UNMEASURED["postgresql"]),
        ),
        Index("ix_files_pending", "number", **_only("state <> 'ready'")),
        Index("ix_files_expires_at", "expires_at", "number", **_only("expires_at IS NOT NULL")),
        Index("ix_files_deleted_at", "deleted_at", "number", **_only("deleted_at IS NOT NULL")),
        *(
            Index(f"ix_files_trash_{columns[0]}", *columns, **_only("deleted_at IS NOT NULL"))
            for columns in (("number",), ("folded", "number"), ("size", "number"))
        ),
        {"sqlite_autoincrement": True},
    )


class Upload(Base):
    """A transfer that has not finished, and all that another process needs to go on with it.

    `ingest_state` and `storage_state` are what those two gave to be kept. `lock_holder` works on
    it until `lock_until`, and lets go when `lock_wanted_at` is set.
    """

    __tablename__ = "uploads"

    id: Mapped[str] = mapped_column(primary_key=True)
    protocol: Mapped[str]
    state: Mapped[str]
    collection: Mapped[str] = mapped_column(ForeignKey("collections.name"))
    owner: Mapped[str | None] = mapped_column(ForeignKey("api_keys.id"))
    filename: Mapped[str] = mapped_column(String())
    declared_type: Mapped[str | None] = mapped_column(String())
    annotations: Mapped[dict[str, Any]] = mapped_column("metadata")
    backend: Mapped[str]
    key: Mapped[str]
    length: Mapped[int | None] = mapped_column(BigInteger)
    offset: Mapped[int] = mapped_column(BigInteger, default=0)
    ingest_state: Mapped[dict[str, Any]]
    storage_state: Mapped[dict[str, Any]]
    protocol_state: Mapped[dict[str, Any]]
    file_id: Mapped[str | None]
    lock_holder: Mapped[str | None]
    lock_until: Mapped[datetime | None]
    lock_wanted_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)
    expires_at: Mapped[datetime | None] = mapped_column(index=True)

    __table_args__ = (
        Index(None, "key"),
        Index("ix_uploads_held", "expires_at", "id", **_only(HELD)),
        Index("ix_uploads_unconfirmed", "file_id", **_only(UNCONFIRMED)),
    )


class Counter(Base):
    """How many files and bytes a collection holds for one owner; "" stands for no owner.

    Changed in the transactions that publish, trash and delete, so that it never lags. What is in
    the trash is part of `files` and `bytes`, and told apart beside them.
    """

    __tablename__ = "counters"

    collection: Mapped[str] = mapped_column(ForeignKey("collections.name"), primary_key=True)
    owner: Mapped[str] = mapped_column(primary_key=True, index=True)
    files: Mapped[int] = mapped_column(BigInteger, default=0)
    bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    trashed_files: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    trashed_bytes: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")


class Reservation(Base):
    """Room in a collection's quota that one unfinished upload holds, until `expires_at`."""

    __tablename__ = "reservations"

    id: Mapped[str] = mapped_column(primary_key=True)
    collection: Mapped[str] = mapped_column(ForeignKey("collections.name"), index=True)
    owner: Mapped[str | None] = mapped_column(ForeignKey("api_keys.id"))
    files: Mapped[int] = mapped_column(BigInteger)
    bytes: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[datetime] = mapped_column(index=True)


class UsedLink(Base):
    """A signed upload link that has had its one file; kept until it would have expired."""

    __tablename__ = "used_links"

    id: Mapped[str] = mapped_column(primary_key=True)
    file_id: Mapped[str]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class Failure(Base):
    """How many wrong keys a client has shown since its window began, which ends at `until`."""

    __tablename__ = "failures"

    client: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int]
    until: Mapped[datetime] = mapped_column(index=True)


class Lease(Base):
    """A task that one instance at a time may do, until `expires_at`."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str]
    expires_at: Mapped[datetime]


class MirrorTask(Base):
    """What is still to be done on one storage of a mirrored backend: `action` `copy` or `delete`.

    `member` is to get the object from the others, or to lose it. It is tried from `due_at` on;
    `attempts` are those that failed for this object alone.
    """

    __tablename__ = "mirror_tasks"

    backend: Mapped[str] = mapped_column(primary_key=True)
    member: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    action: Mapped[str]
    attempts: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(default=now)
    due_at: Mapped[datetime] = mapped_column(default=now)

    __table_args__ = (
        Index(None, "backend", "member", "due_at"),
        Index(None, "backend", "member", "created_at"),
    )


class IdempotencyKey(Base):
    """The answer to an upload that its client may send again."""

    __tablename__ = "idempotency_keys"

    owner: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request: Mapped[str]
    file_ids: Mapped[list[str]]
    expires_at: Mapped[datetime] = mapped_column(index=True)
