"""Whether the process is alive, and whether everything it stands on answers."""

from flask import Response, jsonify

from views.current import services
from views.errors import RETRY_AFTER


def health() -> Response:
    """Say that the process is alive; nothing else is touched."""
    return jsonify(status="healthy", service="backend")


async def ready() -> Response:
    """Ask the database and every storage backend at the same time, each with a deadline.

    A member of a mirrored backend may be down: the others have what it has.
    """
    parts = services()
    answers = await parts.probes.ask(parts.settings.ready_timeout)
    up = parts.probes.suffice(answers)
    response = jsonify(
        status="ready" if up else "unavailable",
        checks={name: "up" if answered else "down" for name, answered in answers.items()},
    )
    if not up:
        response.status_code = 503
        response.headers["Retry-After"] = RETRY_AFTER
    return response
