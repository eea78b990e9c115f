"""What the tests of growth share: databases with many files, what a statement costs, and all that
a service does to them.

A cost is counted in steps of SQLite's machine, which are the same in each run, and not in seconds.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

from flask.testing import FlaskClient
from sqlalchemy import event, update

from app import Holdall
from bench.growth_rows import OWNERS, fill
from bench.growth_turns import Grown
from models import File, Upload, db
from services.caller import EVERYONE, Caller
from services.listing import Query
from tests.conftest import parts
from tests.http.test_tus import begin, patch
from tests.http.test_uploads import PNG
from tests.services.collecting import collect
from tests.services.uploading import database_of

GROWING = (
    *("files", "uploads", "reservations", "used_links", "mirror_tasks"),
    *("idempotency_keys", "failures"),
)
"""Tables that have the more rows the more a service is used; counters are by collection and key."""

BOUNDS = {"LOOKED_AT": 20, "COUNTED": 50, "COMMON": 2, "WORTH": 1}
"""What `services.leading` counts at the most, as much smaller as these databases are."""

ORDERS = ("-created", "name", "-size")
KEY = Caller(owner=OWNERS[3], scopes=frozenset({"read"}))

Step = Callable[[Holdall, FlaskClient], object]
Captured = list[tuple[str, Any]]


def filled(app: Holdall, number: int) -> Holdall:
    """Have an application's database hold so many files."""
    with app.app_context():
        fill(db.engine, number)
        db.engine.dispose()
    return app


@contextmanager
def captured(app: Holdall) -> Iterator[Captured]:
    """Note the statements, and their values, that the application sends to its database."""
    engine, sent = database_of(app).engine, []

    def note(_: object, __: object, statement: str, values: Any, ___: object, many: bool) -> None:
        sent.append((statement, values[0] if many else values))

    event.listen(engine, "before_cursor_execute", note)
    yield sent
    event.remove(engine, "before_cursor_execute", note)


@contextmanager
def steps_counted(app: Holdall) -> Iterator[list[int]]:
    """Count the tens of steps that SQLite takes for the application."""
    engine, count = database_of(app).engine, [0]
    engine.dispose()

    def add() -> None:
        count[0] += 1

    def watch(connection: Any, _: object) -> None:
        connection.set_progress_handler(add, 10)

    event.listen(engine, "connect", watch)
    yield count
    event.remove(engine, "connect", watch)
    engine.dispose()


def lists() -> dict[str, Step]:
    """Return every filter and every word by itself, in every order."""
    steps: dict[str, Step] = {}
    filters: tuple[dict[str, Any], ...] = (
        {},
        {"content_type": "image/*"},
        {"content_type": "image/png"},
        {"collection": "papers"},
    )
    searched: tuple[dict[str, Any], ...] = (
        {},
        {"search": ".png"},
        {"search": "needle"},
        {"search": "0042"},
        {"search": "ri"},
    )
    for chosen, sort in product((*filters, *searched[1:]), ORDERS):
        query = Query(**chosen, sort=sort)
        steps[f"list {query}"] = _listing(EVERYONE, query)
        steps[f"a key's list {query}"] = _listing(KEY, query)
    for sort in (*ORDERS, "deleted", "-deleted"):
        query = Query(trashed=True, sort=sort)
        steps[f"list {query}"] = _listing(EVERYONE, query)
    return steps


def combined() -> dict[str, Step]:
    """Return all filters and words together, in every order."""
    filters: tuple[dict[str, Any], ...] = (
        {"content_type": "image/*"},
        {"content_type": "image/png"},
        {},
    )
    words = (None, ".png", "needle", "ri")
    steps: dict[str, Step] = {}
    for chosen, search, sort, trashed in product(filters, words, ORDERS, (False, True)):
        query = Query(**chosen, collection="papers", search=search, sort=sort, trashed=trashed)
        steps[f"list {query}"] = _listing(EVERYONE, query)
        steps[f"a key's list {query}"] = _listing(KEY, query)
    return steps


def _listing(caller: Caller, query: Query) -> Step:
    query = replace(query, limit=4)

    def step(app: Holdall, client: FlaskClient) -> None:
        page = parts(app).listing.page(caller, query)
        if page.cursor:
            parts(app).listing.page(caller, replace(query, cursor=page.cursor))

    return step


def doors() -> dict[str, Step]:
    """Return what clients do beside lists."""
    return {
        "a raw upload": lambda app, client: put(client),
        "a form": _form,
        "a retried upload": _retried,
        "a resumable upload": _resumable,
        "a direct upload": _direct,
        "a download": lambda app, client: client.get(put(client)["url"]),
        "a look": lambda app, client: client.get(f"/api/files/{put(client)['id']}"),
        "a change": _change,
        "the trash and back": _trashed,
        "a delete": lambda app, client: client.delete(f"/api/files/{put(client)['id']}"),
        "an archive": _archive,
        "a collection": _collection,
        "usage": _usage,
        "keys": _keys,
    }


def chores() -> dict[str, Step]:
    """Return what a service does by itself."""
    return {
        "expiry": lambda app, client: parts(app).expiry.run(),
        "what expiry would do": _due,
        "expiry of some": _expire,
        "gc": lambda app, client: Grown(app).collect(),
        "hashing": lambda app, client: parts(app).hashing.run(),
        "measuring": lambda app, client: parts(app).media.run(),
        "mirroring": lambda app, client: parts(app).mirroring.run(),
    }


def whole() -> dict[str, Step]:
    """Return what goes through all there is, a page at a time."""
    return {"gc of everything": lambda app, client: collect(app)}


def put(client: FlaskClient) -> dict[str, Any]:
    file: dict[str, Any] = client.put("/api/upload/ferry.png", data=PNG).get_json()
    return file


def _form(app: Holdall, client: FlaskClient) -> None:
    client.post("/api/upload", data={"file": [(io.BytesIO(PNG), f"{n}.png") for n in range(2)]})


def _retried(app: Holdall, client: FlaskClient) -> None:
    for _ in range(2):
        client.put("/api/upload/ferry.png", data=PNG, headers={"Idempotency-Key": "a"})


def _resumable(app: Holdall, client: FlaskClient) -> None:
    url = begin(client, 20)
    patch(client, url, 0, b"x" * 10)
    client.head(url, headers={"Tus-Resumable": "1.0.0"})
    patch(client, url, 10, b"x" * 10)
    client.delete(begin(client, 20), headers={"Tus-Resumable": "1.0.0"})


def _direct(app: Holdall, client: FlaskClient) -> None:
    client.post("/api/direct", json={"filename": "a.png", "size": len(PNG)})


def _change(app: Holdall, client: FlaskClient) -> None:
    url = f"/api/files/{put(client)['id']}"
    client.patch(url, json={"filename": "harbour.png", "metadata": {"a": "b"}})


def _trashed(app: Holdall, client: FlaskClient) -> None:
    ids = {"ids": [put(client)["id"] for _ in range(2)]}
    for what in ("trash", "restore", "trash", "delete"):
        client.post(f"/api/files/{what}", json=ids)


def _archive(app: Holdall, client: FlaskClient) -> None:
    assert client.get(f"/api/archive?ids={put(client)['id']}").status_code == 200
    for query in (Query(search="needle"), Query(collection="seldom")):
        parts(app).archives.of_query(EVERYONE, query)


def _collection(app: Holdall, client: FlaskClient) -> None:
    client.put("/api/collections/new", json={"max_files": 5, "expires_in": 60})
    client.put("/api/upload/a.png?collection=new", data=PNG)
    client.delete("/api/collections/new")
    client.delete("/api/collections/papers")


def _usage(app: Holdall, client: FlaskClient) -> None:
    client.get("/api/usage")
    client.get("/api/collections/papers/usage")
    client.get(f"/api/keys/{OWNERS[3]}/usage")


def _keys(app: Holdall, client: FlaskClient) -> None:
    key = client.post("/api/keys", json={"name": "a", "scopes": ["read"]}).get_json()
    client.get("/api/keys")
    client.delete(f"/api/keys/{key['id']}")


def _due(app: Holdall, client: FlaskClient) -> None:
    expiry = parts(app).expiry
    for due in (expiry.due_uploads(), expiry.due_files(), expiry.due_trash()):
        list(due)


def _expire(app: Holdall, client: FlaskClient) -> None:
    over = datetime.now(UTC) - timedelta(days=60)
    ids = [put(client)["id"] for _ in range(4)]
    upload_id = begin(client, 20).rpartition("/")[2]
    with database_of(app).write() as session:
        session.execute(update(File).where(File.id.in_(ids[:2])).values(expires_at=over))
        session.execute(update(File).where(File.id.in_(ids[2:])).values(deleted_at=over))
        session.execute(update(Upload).where(Upload.id == upload_id).values(expires_at=over))
    _due(app, client)
    assert parts(app).expiry.run() >= 5
