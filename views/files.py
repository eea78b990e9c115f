"""The API on files that exist: list, read, change, delete one or many."""

import asyncio
from urllib.parse import urlencode

from flask import Response, jsonify, request

from services.files import FileInfo
from services.listing import Query
from views import metrics
from views.current import caller, services
from views.schemas import FileChange, FilePath, ListQuery, Many, file_json


def index(query: ListQuery) -> Response:
    """List files, a page at a time."""
    wanted = Query(
        limit=query.limit,
        cursor=query.cursor,
        search=query.q,
        content_type=query.type,
        collection=query.collection,
        sort=query.sort or ("-deleted" if query.trashed else "-created"),
        trashed=query.trashed,
    )
    page = services().listing.page(caller(), wanted)
    public_url = services().settings.public_url
    response = jsonify(
        items=[file_json(file, public_url) for file in page.items],
        total=page.total,
        total_exact=page.total_exact,
        next_cursor=page.cursor,
    )
    if page.cursor is not None:
        following = urlencode([*_other_arguments(), ("cursor", page.cursor)])
        response.headers["Link"] = f'<{public_url}{request.path}?{following}>; rel="next"'
    return response


def read(path: FilePath) -> Response:
    """Read one file's fields."""
    return _shown(services().files.get(caller(), path.id))


def change(path: FilePath, body: FileChange) -> Response:
    """Rename a file, or change its metadata."""
    return _shown(
        services().files.change(caller(), path.id, filename=body.filename, metadata=body.metadata)
    )


def delete(path: FilePath) -> Response:
    """Delete one file."""
    services().files.delete(caller(), path.id)
    metrics.DELETED.inc()
    response = Response(status=204)
    del response.headers["Content-Type"]
    return response


async def delete_many(body: Many) -> Response:
    """Delete many files: their rows at once, then their objects side by side."""
    files = services().files
    ids = list(dict.fromkeys(body.ids))
    removed = await asyncio.to_thread(files.remove_rows, caller(), ids)
    await files.remove_objects(removed)
    gone = {each.id for each in removed}
    metrics.DELETED.inc(len(gone))
    items = [{"id": each, "status": "deleted" if each in gone else "not_found"} for each in ids]
    return jsonify(items=items, total=len(gone))


def _shown(file: FileInfo) -> Response:
    return jsonify(file_json(file, services().settings.public_url))


def _other_arguments() -> list[tuple[str, str]]:
    return [(name, value) for name, value in request.args.items(multi=True) if name != "cursor"]
