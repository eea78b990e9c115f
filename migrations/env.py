"""Run migrations on the application's own engine; `flask db` and the start of the service do."""

from alembic import context
from flask import current_app

from models import Base

SEARCH_TABLES = ("file_search",)
"""Made by hand in the first migration: the models do not know the search index."""


def include_name(name: str | None, kind: str, _parents: object) -> bool:
    """Leave the search index out when models and database are compared."""
    if kind == "table":
        return not (name or "").startswith(SEARCH_TABLES)
    return not (kind in ("column", "index") and (name or "").endswith("grams"))


def run() -> None:
    engine = current_app.extensions["migrate"].db.engine
    with engine.execution_options(writes=True).connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            include_name=include_name,
            render_as_batch=connection.dialect.name == "sqlite",
        )
        with context.begin_transaction():
            context.run_migrations()


run()
