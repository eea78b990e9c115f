"""The queue of what is still to be done on the storages of mirrored backends."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ASCII = sa.String().with_variant(sa.String(collation="C"), "postgresql")
MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "mirror_tasks",
        sa.Column("backend", ASCII, nullable=False),
        sa.Column("member", ASCII, nullable=False),
        sa.Column("key", ASCII, nullable=False),
        sa.Column("action", ASCII, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("due_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("backend", "member", "key", name="pk_mirror_tasks"),
    )
    for column in ("due_at", "created_at"):
        columns = ["backend", "member", column]
        op.create_index(f"ix_mirror_tasks_backend_member_{column}", "mirror_tasks", columns)


def downgrade() -> None:
    op.drop_table("mirror_tasks")
