"""The API on collections: list, read, make, change and delete them, and ask how much is used."""

from dataclasses import asdict
from typing import Any

from flask import Response, jsonify

from services.collections import CollectionInfo
from services.usage import Usage
from views.collection_shapes import CollectionFields, CollectionPath
from views.current import caller, services
from views.schemas import KeyPath, moment_text


def index() -> Response:
    """List the collections that the caller may use, and what each asks of files."""
    items = [collection_json(each) for each in services().collections.all(caller())]
    return jsonify(items=items, total=len(items))


def read(path: CollectionPath) -> Response:
    """Read what one collection asks of files."""
    return jsonify(collection_json(services().collections.get(caller(), path.name)))


def put(path: CollectionPath, body: CollectionFields) -> Response:
    """Make a collection, or replace what one asks: fields that are left out are as by default."""
    info, new = services().collections.put(caller(), path.name, _given(body))
    response = jsonify(collection_json(info))
    if new:
        response.status_code = 201
        url = f"{services().settings.public_url}/api/collections/{info.name}"
        response.headers["Location"] = url
    return response


def change(path: CollectionPath, body: CollectionFields) -> Response:
    """Change what a collection asks: only the fields that are sent; null takes a limit away."""
    info = services().collections.change(caller(), path.name, _given(body))
    return jsonify(collection_json(info))


def delete(path: CollectionPath) -> Response:
    """Delete a collection that has no files, uploads or keys any more."""
    services().collections.delete(caller(), path.name)
    response = Response(status=204)
    del response.headers["Content-Type"]
    return response


def usage() -> Response:
    """Say how much the caller's own files and unfinished uploads use, by collection."""
    return _usages(services().usages.of_caller(caller()))


def usage_of_key(path: KeyPath) -> Response:
    """Say how much a key's files and unfinished uploads use, by collection."""
    return _usages(services().usages.of_key(caller(), path.id))


def usage_of_collection(path: CollectionPath) -> Response:
    """Say how much is used of a collection, by everyone."""
    return jsonify(asdict(services().usages.of_collection(caller(), path.name)))


def _given(body: CollectionFields) -> dict[str, Any]:
    return body.model_dump(exclude_unset=True)


def _usages(usages: list[Usage]) -> Response:
    return jsonify(items=[asdict(each) for each in usages], total=len(usages))


def collection_json(info: CollectionInfo) -> dict[str, Any]:
    """Render a collection in the shape of `Collection`."""
    moments = {name: moment_text(getattr(info, name)) for name in ("created_at", "updated_at")}
    return asdict(info) | moments
