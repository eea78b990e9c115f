"""Reservations of quotas, used upload links, wrong keys; what they replace goes."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ASCII = sa.String().with_variant(sa.String(collation="C"), "postgresql")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "reservations",
        sa.Column("id", ASCII, nullable=False),
        sa.Column("collection", ASCII, nullable=False),
        sa.Column("owner", ASCII, nullable=True),
        sa.Column("files", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.ForeignKeyConstraint(
            ["collection"], ["collections.name"], name="fk_reservations_collection"
        ),
        sa.ForeignKeyConstraint(["owner"], ["api_keys.id"], name="fk_reservations_owner"),
        sa.PrimaryKeyConstraint("id", name="pk_reservations"),
    )
    op.create_index("ix_reservations_collection", "reservations", ["collection"])
    op.create_index("ix_reservations_expires_at", "reservations", ["expires_at"])
    op.create_table(
        "used_links",
        sa.Column("id", ASCII, nullable=False),
        sa.Column("file_id", ASCII, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_used_links"),
    )
    op.create_index("ix_used_links_expires_at", "used_links", ["expires_at"])
    op.create_table(
        "failures",
        sa.Column("client", ASCII, nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("until", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("client", name="pk_failures"),
    )
    op.create_index("ix_failures_until", "failures", ["until"])
    op.execute("UPDATE collections SET on_mismatch = 'correct' WHERE on_mismatch = 'record'")
    op.drop_column("counters", "reserved_files")
    op.drop_column("counters", "reserved_bytes")
    op.drop_column("uploads", "reserved_bytes")


def downgrade() -> None:
    zero = {"nullable": False, "server_default": "0"}
    op.add_column("uploads", sa.Column("reserved_bytes", sa.BigInteger(), **zero))
    op.add_column("counters", sa.Column("reserved_bytes", sa.BigInteger(), **zero))
    op.add_column("counters", sa.Column("reserved_files", sa.BigInteger(), **zero))
    op.execute("UPDATE collections SET on_mismatch = 'record' WHERE on_mismatch = 'correct'")
    for table in ("failures", "used_links", "reservations"):
        op.drop_table(table)
