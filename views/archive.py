"""GET and HEAD of many files as one zip: chooses them, asks for the plan, attaches the bytes."""

from dataclasses import replace
from datetime import UTC, datetime

from flask import Response, request

from services import delivery
from services.archive import Archive
from services.cors import CorsPolicy
from services.delivery import PERSONAL, Headers
from services.errors import InvalidField
from services.filenames import clean_filename
from services.listing import Query
from services.stored import StoredFile
from views.bodies import PlannedResponse, attach
from views.current import caller, services
from views.delivery import delivery_request
from views.schemas import ArchiveQuery

_SET_ELSEWHERE = ("access-control-", "vary")


def archive(query: ArchiveQuery) -> Response:
    """Send files as one zip, uncompressed: those named, or all that a list would show."""
    chosen = _chosen(query)
    now = datetime.now(UTC)
    shown = _as_file(chosen, clean_filename(query.filename), now)
    asked = delivery_request(request.environ, None, download=True)
    # Each range is a pass over the whole archive, and one is what a download needs to go on.
    headers = {name: value for name, value in asked.headers.items() if name != "range"}
    if "," not in (wanted := asked.headers.get("range", "")) and wanted:
        headers["range"] = wanted
    plan = delivery.plan(
        shown, replace(asked, headers=headers), access=PERSONAL, cors=CorsPolicy(()), now=now
    )
    sent = attach(plan, chosen, "", chosen.size, None)
    return PlannedResponse(
        sent, plan.status, _own(plan.headers), direct_passthrough=bool(plan.pieces)
    )


def _chosen(query: ArchiveQuery) -> Archive:
    if query.ids is None:
        wanted = Query(search=query.q, content_type=query.type, collection=query.collection)
        if not (wanted.filtered or wanted.collection):
            raise InvalidField("An archive is asked for by ids, or by collection, q or type")
        return services().archives.of_query(caller(), wanted)
    if query.collection or query.q or query.type:
        raise InvalidField("ids name the files: collection, q and type choose others")
    return services().archives.of_ids(caller(), query.ids.split(","))


def _as_file(chosen: Archive, filename: str, now: datetime) -> StoredFile:
    """Return the archive as what a plan is made for."""
    return StoredFile(
        id="",
        filename=filename,
        content_type="application/zip",
        size=chosen.size,
        etag=chosen.etag,
        sha256=None,
        owner=None,
        visibility="private",
        backend="",
        key="",
        collection="",
        created_at=chosen.modified,
        cache_max_age=0,
        delivery="proxy",
    )


def _own(headers: Headers) -> Headers:
    """Leave out what the API says of other origins, which is said for all of it alike."""
    return tuple(each for each in headers if not each[0].lower().startswith(_SET_ELSEWHERE))
