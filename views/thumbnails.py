"""Thumbnails under `/uploads`: reads of a query which one is wanted, and plans the answer.

What they are is decided in `services.thumbnails_wanted`, what an answer says in
`services.delivery`; both ways to a file (`views.delivery`, `views.front`) come through here.
"""

from collections.abc import Set
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, NamedTuple
from urllib.parse import parse_qs

from services import delivery
from services.cors import CorsPolicy
from services.delivery import Access, DeliveryRequest, Plan
from services.stored import StoredFile
from services.thumbnails import Source
from services.thumbnails_wanted import PARAMETERS, Wanted, variant_of, wanted
from views.current import Services

_CONDITIONS: Final = frozenset(
    {"if-match", "if-none-match", "if-modified-since", "if-unmodified-since"}
)
_DECIDED: Final = (304, 412)


class Planned(NamedTuple):
    """An answer: its plan, and where the object that it is about is opened, and how long it is."""

    plan: Plan
    source: Source
    key: str
    size: int


def only_wanted(query: str) -> Wanted | None:
    """Return the thumbnail that a query asks for, None where it asks for anything else, or wrongly.

    Raises InvalidField for a mistake in a parameter that is known.
    """
    try:
        values = parse_qs(query, keep_blank_values=True, max_num_fields=len(PARAMETERS) + 1)
    except ValueError:
        return None
    return wanted(values) if PARAMETERS.issuperset(values) else None


def planned(
    services: Services,
    file: StoredFile,
    asked: DeliveryRequest,
    size: Wanted,
    access: Access,
    announced: Set[str],
    *,
    makes: bool = True,
) -> Planned:
    """Plan the answer with a thumbnail of a file that the caller may read.

    One that is not kept is made, unless not `makes`: that is an ObjectNotFound then. A condition
    that can be judged by the ETag alone is judged before that. Raises NotAnImage, ObjectNotFound,
    and what making it raises.
    """
    variant = variant_of(file, size, asked.headers.get("accept", ""))
    shown = variant.shown(file, 0)
    if asked.filename == file.filename:
        # The link with the current name stays the one that caches keep.
        asked = replace(asked, filename=shown.filename)
    now = datetime.now(UTC)
    cors = CorsPolicy(services.settings.cors_origins)
    vary = "Accept" if size.is_negotiated else ""
    if not _CONDITIONS.isdisjoint(asked.headers):
        plan = delivery.plan(shown, asked, access=access, cors=cors, now=now, vary=vary)
        if plan.status in _DECIDED:
            return Planned(plan, services.storages[file.backend], variant.key, 0)
    # What another server says would leave out that it hangs on Accept.
    way = None if size.is_negotiated else services.ways.of(shown, announced)
    whole = asked.method == "GET" and "range" not in asked.headers and way is None
    find = services.thumbnails.ready if makes else services.thumbnails.kept
    ready = find(file, variant, opens=whole)
    try:
        shown = replace(shown, size=ready.size)
        way = way if ready.is_kept else None
        plan = delivery.plan(shown, asked, access=access, cors=cors, now=now, way=way, vary=vary)
        plan = services.ways.told(plan, shown)
    except BaseException:
        ready.close()
        raise
    return Planned(plan, ready.source, variant.key, ready.size)
