"""Whether each collection's backend exists and can do what the collection asks of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sqlalchemy import inspect, select

from config import Settings
from models import Collection
from services.backends import open_backend
from services.doctor.database import Unusable, connected, read_url
from services.doctor.findings import Finding, fail, ok, warn
from storage.capabilities import Filed, Presigner

NAME: Final = "collections"
_NEEDED: Final[dict[str, tuple[type, ...]]] = {
    "redirect": (Presigner,),
    "x-accel": (Filed, Presigner),
}
"""For each delivery by another server, the capabilities of which a backend needs one."""


def collections(settings: Settings) -> Iterator[Finding]:
    """Hold what the collections ask for against the backends that there are."""
    try:
        rows = _rows(settings)
    except Unusable:
        return
    doubts = [finding for row in rows for finding in _doubts(settings, *row)]
    yield from doubts
    if rows and not doubts:
        yield ok(NAME, f"{len(rows)}, each on a backend that can do what it asks")


def _rows(settings: Settings) -> list[tuple[str, str | None, str]]:
    """Return name, backend and delivery of every collection; none where there is no table yet."""
    url = read_url(settings.database_url)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
        return []
    with connected(settings.database_url) as connection:
        if not inspect(connection).has_table(Collection.__tablename__):
            return []
        asked = select(Collection.name, Collection.backend, Collection.delivery)
        return [(*row,) for row in connection.execute(asked.order_by(Collection.name))]


def _doubts(
    settings: Settings, name: str, backend_name: str | None, delivery: str
) -> Iterator[Finding]:
    chosen = backend_name or settings.storage_backend
    backend = settings.backends.get(chosen)
    if backend is None:
        message = f"{name} keeps its files on {chosen!r}, which is not configured"
        yield fail(NAME, f"{message}: uploads to it fail", f"STORAGE_{chosen.upper()}_URL")
        return
    if delivery not in _NEEDED:
        return
    try:
        storage = open_backend(settings, backend)
    except ValueError:
        return
    able = isinstance(storage, _NEEDED[delivery])
    storage.close()
    if not able:
        message = f"{name} asks for delivery by {delivery}, which {chosen} cannot do"
        yield warn(NAME, f"{message}: its files are sent by the service itself")
