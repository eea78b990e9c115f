"""Applications that ask for keys, and clients that have one."""

from typing import Any

from flask.testing import FlaskClient
from sqlalchemy import select

from app import Holdall
from models import Base, Collection, Failure
from services.caller import EVERYONE
from services.keys import NewKey
from tests.conftest import SECRET, MakeApp, parts
from tests.services.uploading import database_of

PRIVATE = "vault"


def keyed_app(app_with: MakeApp, **variables: str) -> Holdall:
    """Make an application in `keys` mode, with a private collection beside `default`."""
    app = app_with(AUTH_MODE="keys", SECRET_KEY=SECRET, **variables)
    with database_of(app).write() as session:
        if session.get(Collection, PRIVATE) is None:
            session.add(Collection(name=PRIVATE, visibility="private"))
    return app


def new_key(app: Holdall, *scopes: str, **more: Any) -> NewKey:
    return parts(app).keys.create(EVERYONE, name="a key", scopes=scopes, **more)


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def holder(app: Holdall, secret: str) -> FlaskClient:
    """Return a client that shows `secret` with every request."""
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {secret}"
    return client


def holder_of(app: Holdall, *scopes: str, **more: Any) -> FlaskClient:
    """Return a client with a key of its own."""
    return holder(app, new_key(app, *scopes, **more).secret)


def rows(app: Holdall) -> dict[str, list[tuple[Any, ...]]]:
    """Return all that the database holds, but for counts of wrong keys and times of last use."""
    found = {}
    with database_of(app).read() as session:
        for table in Base.metadata.sorted_tables:
            if table.name != Failure.__tablename__:
                columns = [column for column in table.c if column.name != "last_used_at"]
                every = session.execute(select(*columns))
                found[table.name] = sorted((tuple(row) for row in every), key=repr)
    return found
