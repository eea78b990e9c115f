"""The admin API on API keys: make one, list them, look at one, revoke one."""

from flask import Response, jsonify

from services.keys import KeyInfo
from views.current import caller, services
from views.schemas import KeyPath, KeyRequest, moment_text


def create(body: KeyRequest) -> Response:
    """Make a key. Its secret is in this answer and in no other."""
    made = services().keys.create(
        caller(),
        name=body.name,
        scopes=body.scopes,
        collection=body.collection,
        expires_in=body.expires_in,
    )
    response = jsonify(**key_json(made.info), key=made.secret)
    response.status_code = 201
    response.headers["Location"] = f"{services().settings.public_url}/api/keys/{made.info.id}"
    return response


def index() -> Response:
    """List every key, the newest first; those that have ended too."""
    items = [key_json(key) for key in services().keys.all(caller())]
    return jsonify(items=items, total=len(items))


def read(path: KeyPath) -> Response:
    """Read one key's fields."""
    return jsonify(key_json(services().keys.get(caller(), path.id)))


def revoke(path: KeyPath) -> Response:
    """Revoke a key: within a second no worker takes it any more.

    The last key that administers the service cannot be revoked here.
    """
    services().keys.revoke(caller(), path.id)
    response = Response(status=204)
    del response.headers["Content-Type"]
    return response


def key_json(key: KeyInfo) -> dict[str, object]:
    """Render a key in the shape of `Key`."""
    moments = {
        name: None if moment is None else moment_text(moment)
        for name, moment in (
            ("created_at", key.created_at),
            ("expires_at", key.expires_at),
            ("last_used_at", key.last_used_at),
            ("revoked_at", key.revoked_at),
        )
    }
    return {
        "id": key.id,
        "name": key.name,
        "hint": key.hint,
        "scopes": key.scopes,
        "collection": key.collection,
        "state": key.state,
        **moments,
    }
