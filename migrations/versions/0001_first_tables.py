"""The first tables, the `default` collection, and the search index of names."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ASCII = sa.String().with_variant(sa.String(collation="C"), "postgresql")
MOMENT = sa.DateTime(timezone=True)
ROW_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

SQLITE_SEARCH = (
    "CREATE VIRTUAL TABLE file_search USING fts5"
    " (folded, content='files', content_rowid='number', tokenize='trigram')",
    "CREATE TRIGGER files_search_insert AFTER INSERT ON files BEGIN"
    " INSERT INTO file_search (rowid, folded) VALUES (new.number, new.folded); END",
    "CREATE TRIGGER files_search_delete AFTER DELETE ON files BEGIN"
    " INSERT INTO file_search (file_search, rowid, folded)"
    " VALUES ('delete', old.number, old.folded); END",
    "CREATE TRIGGER files_search_update AFTER UPDATE OF folded ON files BEGIN"
    " INSERT INTO file_search (file_search, rowid, folded)"
    " VALUES ('delete', old.number, old.folded);"
    " INSERT INTO file_search (rowid, folded) VALUES (new.number, new.folded); END",
)

# pg_trgm is a contrib module, which not every PostgreSQL has; arrays and GIN are everywhere.
POSTGRESQL_SEARCH = (
    "CREATE FUNCTION holdall_grams(name text) RETURNS text[]"
    " LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN"
    " ARRAY(SELECT DISTINCT substr(name, start, 3)"
    " FROM generate_series(1, length(name) - 2) AS start)",
    "ALTER TABLE files ADD COLUMN grams text[] GENERATED ALWAYS AS (holdall_grams(folded)) STORED",
    "CREATE INDEX ix_files_grams ON files USING gin (grams)",
)


def upgrade() -> None:
    op.create_table(
        "collections",
        sa.Column("name", ASCII, nullable=False),
        sa.Column("visibility", ASCII, nullable=False),
        sa.Column("allowed_types", sa.JSON(), nullable=True),
        sa.Column("on_mismatch", ASCII, nullable=False),
        sa.Column("max_size", sa.BigInteger(), nullable=True),
        sa.Column("max_files", sa.BigInteger(), nullable=True),
        sa.Column("max_bytes", sa.BigInteger(), nullable=True),
        sa.Column("expires_in", sa.BigInteger(), nullable=True),
        sa.Column("backend", ASCII, nullable=True),
        sa.Column("delivery", ASCII, nullable=False),
        sa.Column("cache_max_age", sa.Integer(), nullable=False),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_collections"),
    )
    op.create_table(
        "idempotency_keys",
        sa.Column("owner", ASCII, nullable=False),
        sa.Column("key", ASCII, nullable=False),
        sa.Column("request", ASCII, nullable=False),
        sa.Column("file_ids", sa.JSON(), nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("owner", "key", name="pk_idempotency_keys"),
    )
    op.create_index("ix_idempotency_keys_expires_at", "idempotency_keys", ["expires_at"])

    op.create_table(
        "leases",
        sa.Column("name", ASCII, nullable=False),
        sa.Column("holder", ASCII, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", ASCII, nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("hint", ASCII, nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("collection", ASCII, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=True),
        sa.Column("last_used_at", MOMENT, nullable=True),
        sa.Column("revoked_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(
            ["collection"], ["collections.name"], name="fk_api_keys_collection"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("hash", name="uq_api_keys_hash"),
    )
    op.create_table(
        "counters",
        sa.Column("collection", ASCII, nullable=False),
        sa.Column("owner", ASCII, nullable=False),
        sa.Column("files", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("reserved_files", sa.BigInteger(), nullable=False),
        sa.Column("reserved_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["collection"], ["collections.name"], name="fk_counters_collection"
        ),
        sa.PrimaryKeyConstraint("collection", "owner", name="pk_counters"),
    )
    op.create_table(
        "files",
        sa.Column("number", ROW_NUMBER, autoincrement=True, nullable=False),
        sa.Column("id", ASCII, nullable=False),
        sa.Column("collection", ASCII, nullable=False),
        sa.Column("owner", ASCII, nullable=True),
        sa.Column("visibility", ASCII, nullable=False),
        sa.Column("state", ASCII, nullable=False),
        sa.Column("backend", ASCII, nullable=False),
        sa.Column("key", ASCII, nullable=False),
        sa.Column("filename", sa.String(), nullable=False),
        sa.Column("folded", ASCII, nullable=False),
        sa.Column("content_type", ASCII, nullable=False),
        sa.Column("family", ASCII, nullable=False),
        sa.Column("declared_type", sa.String(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("etag", ASCII, nullable=False),
        sa.Column("sha256", ASCII, nullable=True),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("media", sa.JSON(), nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=True),
        sa.Column("deleted_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["collection"], ["collections.name"], name="fk_files_collection"),
        sa.ForeignKeyConstraint(["owner"], ["api_keys.id"], name="fk_files_owner"),
        sa.PrimaryKeyConstraint("number", name="pk_files"),
        sa.UniqueConstraint("backend", "key", name="uq_files_backend_key"),
        sa.UniqueConstraint("id", name="uq_files_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_files_collection_number", "files", ["collection", "number"])
    op.create_index("ix_files_content_type_number", "files", ["content_type", "number"])
    op.create_index(
        "ix_files_deleted_at",
        "files",
        ["deleted_at"],
        sqlite_where=sa.text("deleted_at IS NOT NULL"),
        postgresql_where=sa.text("deleted_at IS NOT NULL"),
    )
    op.create_index(
        "ix_files_expires_at",
        "files",
        ["expires_at"],
        sqlite_where=sa.text("expires_at IS NOT NULL"),
        postgresql_where=sa.text("expires_at IS NOT NULL"),
    )
    op.create_index("ix_files_family_number", "files", ["family", "number"])
    op.create_index("ix_files_folded_number", "files", ["folded", "number"])
    op.create_index("ix_files_owner_number", "files", ["owner", "number"])
    op.create_index(
        "ix_files_pending",
        "files",
        ["state", "number"],
        sqlite_where=sa.text("state <> 'ready'"),
        postgresql_where=sa.text("state <> 'ready'"),
    )
    op.create_index("ix_files_sha256", "files", ["sha256"])
    op.create_index("ix_files_size_number", "files", ["size", "number"])

    op.create_table(
        "uploads",
        sa.Column("id", ASCII, nullable=False),
        sa.Column("protocol", ASCII, nullable=False),
        sa.Column("state", ASCII, nullable=False),
        sa.Column("collection", ASCII, nullable=False),
        sa.Column("owner", ASCII, nullable=True),
        sa.Column("filename", sa.String(), nullable=False),
        sa.Column("declared_type", sa.String(), nullable=True),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("backend", ASCII, nullable=False),
        sa.Column("key", ASCII, nullable=False),
        sa.Column("length", sa.BigInteger(), nullable=True),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("ingest_state", sa.JSON(), nullable=False),
        sa.Column("storage_state", sa.JSON(), nullable=False),
        sa.Column("protocol_state", sa.JSON(), nullable=False),
        sa.Column("reserved_bytes", sa.BigInteger(), nullable=False),
        sa.Column("file_id", ASCII, nullable=True),
        sa.Column("lock_holder", ASCII, nullable=True),
        sa.Column("lock_until", MOMENT, nullable=True),
        sa.Column("lock_wanted_at", MOMENT, nullable=True),
        sa.Column("created_at", MOMENT, nullable=False),
        sa.Column("updated_at", MOMENT, nullable=False),
        sa.Column("expires_at", MOMENT, nullable=True),
        sa.ForeignKeyConstraint(["collection"], ["collections.name"], name="fk_uploads_collection"),
        sa.ForeignKeyConstraint(["owner"], ["api_keys.id"], name="fk_uploads_owner"),
        sa.PrimaryKeyConstraint("id", name="pk_uploads"),
    )
    op.create_index("ix_uploads_expires_at", "uploads", ["expires_at"])

    dialect = op.get_bind().dialect.name
    for statement in SQLITE_SEARCH if dialect == "sqlite" else POSTGRESQL_SEARCH:
        op.execute(statement)
    op.execute(
        "INSERT INTO collections"
        " (name, visibility, on_mismatch, delivery, cache_max_age, created_at, updated_at) VALUES"
        " ('default', 'public', 'record', 'proxy', 3600, CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)"
    )


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        op.execute("DROP TABLE file_search")
    for table in ("uploads", "files", "counters", "api_keys", "leases", "idempotency_keys"):
        op.drop_table(table)
    op.drop_table("collections")
    if op.get_bind().dialect.name != "sqlite":
        op.execute("DROP FUNCTION holdall_grams(text)")
