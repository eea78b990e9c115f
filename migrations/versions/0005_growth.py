"""Indexes by which lists are counted without a look at their rows; none of what nobody asks for."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

LIVE = "state = 'ready' AND deleted_at IS NULL"
LIVE_COLUMNS = ("expires_at", "state", "deleted_at")
"""All that a count looks at; SQLite reads the row for a column that the condition alone names."""
EXPIRING = "expires_at IS NOT NULL"
TRASHED = "deleted_at IS NOT NULL"
PENDING = "state <> 'ready'"
OWNED = "owner IS NOT NULL"

FEWER = (
    ("ix_files_live_collection", ["collection", "number", *LIVE_COLUMNS], LIVE),
    ("ix_files_live_family", ["family", "number", *LIVE_COLUMNS], LIVE),
    ("ix_files_live_content_type", ["content_type", "number", *LIVE_COLUMNS], LIVE),
    ("ix_files_live_owner", ["owner", "number", *LIVE_COLUMNS], f"{LIVE} AND {OWNED}"),
    ("ix_files_live_collection_family", ["collection", "family", "number", *LIVE_COLUMNS], LIVE),
    (
        "ix_files_live_owner_family",
        ["owner", "family", "number", *LIVE_COLUMNS],
        f"{LIVE} AND {OWNED}",
    ),
    ("ix_files_owner_folded_number", ["owner", "folded", "number"], OWNED),
    ("ix_files_owner_size_number", ["owner", "size", "number"], OWNED),
    ("ix_files_unhashed", ["number"], "sha256 IS NULL"),
    ("ix_files_pending", ["number"], PENDING),
    ("ix_files_expires_at", ["expires_at", "number"], EXPIRING),
    ("ix_files_trash_number", ["number"], TRASHED),
    ("ix_files_trash_folded", ["folded", "number"], TRASHED),
    ("ix_files_trash_size", ["size", "number"], TRASHED),
)
"""Indexes of some rows: their names, their columns, and of which."""

UNMEASURED = {
    "sqlite": "substr(content_type, 1, 6) = 'image/' AND (media IS NULL OR media = 'null')",
    "postgresql": "substr(content_type, 1, 6) = 'image/'"
    " AND (media IS NULL OR json_typeof(media) = 'null')",
}
"""Images whose width and height nobody has noted."""

WHOLE = (["content_type", "folded", "number"], ["content_type", "size", "number"])
"""Columns of new indexes of all rows."""

FORMER = (
    ["collection", "number"],
    ["family", "number"],
    ["content_type", "number"],
    ["owner", "number"],
    ["collection", "family", "number"],
    ["owner", "folded", "number"],
    ["owner", "size", "number"],
    ["sha256"],
)
"""Columns of indexes that give way."""

CHANGED = {
    "ix_files_pending": (["state", "number"], PENDING),
    "ix_files_expires_at": (["expires_at"], EXPIRING),
}
"""Indexes that keep their names, as they were before."""

HELD = "state <> 'expired' OR key <> ''"
"""Uploads that still hold something, or answer to their clients."""

UNCONFIRMED = "protocol = 'direct' AND file_id IS NULL"
"""Uploads that go from the client to the store, and are no file yet."""


def upgrade() -> None:
    # Old ones first, for an upgrade to want no more room on the disk than the tables have.
    for columns in FORMER:
        op.drop_index("_".join(("ix_files", *columns)), "files")
    for name in CHANGED:
        op.drop_index(name, "files")
    for name, columns, rows in FEWER:
        _create(name, "files", columns, rows)
    for columns in WHOLE:
        op.create_index("_".join(("ix_files", *columns)), "files", columns)
    _create("ix_files_unmeasured", "files", ["number"], UNMEASURED[op.get_bind().dialect.name])
    _create("ix_uploads_held", "uploads", ["expires_at", "id"], HELD)
    _create("ix_uploads_unconfirmed", "uploads", ["file_id"], UNCONFIRMED)
    op.create_index("ix_uploads_key", "uploads", ["key"])
    op.create_index("ix_counters_owner", "counters", ["owner"])
    if op.get_bind().dialect.name == "sqlite":
        _prefer_the_trash()


def _prefer_the_trash() -> None:
    """Have SQLite take the trash for small in each of its orders, as revision 0004 does in one."""
    for name, stat in (("number", "2 1"), ("folded", "2 1 1"), ("size", "2 1 1")):
        op.execute(
            "INSERT INTO sqlite_stat1 (tbl, idx, stat)"
            f" VALUES ('files', 'ix_files_trash_{name}', '{stat}')"
        )
    op.execute("ANALYZE sqlite_schema")


def downgrade() -> None:
    op.drop_index("ix_counters_owner", "counters")
    for name in ("key", "unconfirmed", "held"):
        op.drop_index(f"ix_uploads_{name}", "uploads")
    op.drop_index("ix_files_unmeasured", "files")
    for columns in WHOLE:
        op.drop_index("_".join(("ix_files", *columns)), "files")
    for name, _, _ in FEWER:
        op.drop_index(name, "files")
    for columns in FORMER:
        op.create_index("_".join(("ix_files", *columns)), "files", columns)
    for name, (columns, rows) in CHANGED.items():
        _create(name, "files", columns, rows)


def _create(name: str, table: str, columns: list[str], rows: str) -> None:
    """Make an index of some rows."""
    where = sa.text(rows)
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)
