"""GET, HEAD and OPTIONS under `/uploads`: finds the file, asks for the plan, attaches the bytes.

What an answer says is decided in `services.delivery`; nothing is added to it here.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from flask import Response, after_this_request, request

from services import delivery
from services.caller import ANONYMOUS
from services.cors import CorsPolicy
from services.delivery import PERSONAL, PUBLIC, Access, DeliveryRequest
from services.errors import FileNotFound
from services.stored import StoredFile
from services.thumbnails_wanted import PARAMETERS, wanted
from storage.errors import ObjectNotFound
from views.bodies import PlannedResponse, respond
from views.current import caller, services
from views.links import shown_link
from views.proxies import announced
from views.thumbnails import planned

FAILED = "holdall.delivery_failed"
"""Where `views.front` leaves the error that ended its try at the same request."""

_VARIABLES = tuple(
    (name, "HTTP_" + name.upper().replace("-", "_")) for name in delivery.REQUEST_HEADERS
)


def serve(file_id: str, filename: str | None = None) -> Response:
    """Send the file, or as much of it as is asked for. The id decides; the name is for people."""
    asked, cors = _asked(filename), _cors()
    try:
        return _served(file_id, asked, cors)
    except Exception:
        _add_to_error(delivery.error_headers(asked, cors=cors))
        raise


def _served(file_id: str, asked: DeliveryRequest, cors: CorsPolicy) -> Response:
    """Answer with the file; one that was moved since it was found is sent from its new place.

    Raises FileNotFound for one that was deleted since.
    """
    try:
        if FAILED in request.environ:
            raise request.environ[FAILED]
        return _sent(file_id, asked, cors)
    except ObjectNotFound:
        pass
    try:
        return _sent(file_id, asked, cors)
    except ObjectNotFound:
        if services().files.for_delivery(file_id) is None:
            raise FileNotFound from None
        raise


def _sent(file_id: str, asked: DeliveryRequest, cors: CorsPolicy) -> Response:
    """Answer with the file. Raises FileNotFound, and ObjectNotFound where its object is gone."""
    file, access = _find(file_id, asked.filename)
    if not PARAMETERS.isdisjoint(request.args):
        size = wanted(request.args.to_dict(flat=False))
        if size is not None:
            with_ways = announced(request.environ)
            return respond(*planned(services(), file, asked, size, access, with_ways))
    way = services().ways.of(file, announced(request.environ))
    plan = delivery.plan(file, asked, access=access, cors=cors, now=datetime.now(UTC), way=way)
    plan = services().ways.told(plan, file)
    return respond(plan, services().storages[file.backend], file.key, file.size)


def preflight(file_id: str, filename: str | None = None) -> Response:
    """Answer OPTIONS the same for every id, so that it tells nothing of what exists."""
    plan = delivery.plan_options(_asked(filename), cors=_cors())
    return PlannedResponse((), plan.status, plan.headers)


def _asked(filename: str | None) -> DeliveryRequest:
    """Read of the request what a plan depends on."""
    asks = request.args.get("download", "0") not in ("0", "false")
    download = asks or request.args.get("disposition") == "attachment"
    return delivery_request(request.environ, filename, download=download)


def delivery_request(
    environ: Mapping[str, Any], filename: str | None, *, download: bool
) -> DeliveryRequest:
    """Read of a WSGI environment what a plan depends on."""
    headers = {name: environ[variable] for name, variable in _VARIABLES if variable in environ}
    return DeliveryRequest(environ["REQUEST_METHOD"], headers, filename, download)


def _cors() -> CorsPolicy:
    return CorsPolicy(services().settings.cors_origins)


def _find(file_id: str, filename: str | None) -> tuple[StoredFile, Access]:
    """Return the file and by what right the caller has it.

    Raises FileNotFound for a file that the caller may not have, as for one that does not exist,
    LinkInvalid and LinkExpired.
    """
    signed = shown_link()
    file = services().files.for_delivery(file_id)
    if file is not None and signed is not None:
        return replace(file, filename=filename or file.filename), signed
    if file is not None and file.visibility == "public":
        return file, PUBLIC
    # Asked for a missing file too: that a wrong key is refused must not tell that there is one.
    who = caller() if signed is None else ANONYMOUS
    if file is not None and who.may_read(
        owner=file.owner, collection=file.collection, visibility=file.visibility
    ):
        return file, PERSONAL
    raise FileNotFound


def _add_to_error(headers: delivery.Headers) -> None:
    """Put `headers` on the answer that the error handler is going to make."""

    @after_this_request
    def add(response: Response) -> Response:
        for name, value in headers:
            response.headers[name] = value
        return response
