"""The API on the trash: put files there, and take them out again. `GET /api/files` lists it."""

from flask import Response, jsonify

from views.current import caller, services
from views.schemas import Many


def put(body: Many) -> Response:
    """Put files into the trash, from which they can be restored until it is emptied."""
    ids = list(dict.fromkeys(body.ids))
    return _told(ids, services().trash.put(caller(), ids), "trashed")


def restore(body: Many) -> Response:
    """Take files out of the trash: they are as they were, and so are their links."""
    ids = list(dict.fromkeys(body.ids))
    return _told(ids, services().trash.restore(caller(), ids), "restored")


def _told(ids: list[str], moved: set[str], status: str) -> Response:
    items = [{"id": each, "status": status if each in moved else "not_found"} for each in ids]
    return jsonify(items=items, total=len(moved))
