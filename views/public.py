"""What both short ways to a public file have in common: `views.front` and `views.at_once`.

It takes the same steps as `views.delivery` over the same planner, so that no header differs.
"""

from collections.abc import Set
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

from services import delivery
from services.cors import CorsPolicy
from services.delivery import PUBLIC, DeliveryRequest
from services.stored import StoredFile
from views.current import Services
from views.observing import Ended, Observed
from views.thumbnails import Planned, only_wanted, planned

PREFIX: Final = "/uploads/"
STATUS: Final = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}
_BARE: Final = "/uploads/<file_id>"
_NAMED: Final = "/uploads/<file_id>/<path:filename>"
_QUERIES: Final = ("", "w=", "h=", "fi", "fo")


class PublicFiles:
    """Plans answers with public files, and with thumbnails of them."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._storages = services.storages
        self._ways = services.ways
        self._cors = CorsPolicy(services.settings.cors_origins)

    def about(
        self,
        file: StoredFile,
        asked: DeliveryRequest,
        query: str,
        announced: Set[str],
        *,
        makes: bool = True,
    ) -> Planned | None:
        """Plan the answer, or return None for a query that asks for anything but a thumbnail.

        One that is not kept is made, unless not `makes`: that is an ObjectNotFound then. Raises
        what planning and making raise.
        """
        if query:
            size = only_wanted(query)
            if size is None:
                return None
            return planned(self._services, file, asked, size, PUBLIC, announced, makes=makes)
        way = self._ways.of(file, announced)
        now = datetime.now(UTC)
        plan = delivery.plan(file, asked, access=PUBLIC, cors=self._cors, now=now, way=way)
        plan = self._ways.told(plan, file)
        return Planned(plan, self._storages[file.backend], file.key, file.size)


def is_plain(query: str) -> bool:
    """Say whether a query is none, or begins as that of a thumbnail."""
    return query[:2] in _QUERIES


def is_routed(slash: str, name: str) -> bool:
    """Say whether the URL map has a view for what follows the file's id."""
    if not name:
        return not slash
    return not name.startswith("/") and "\n" not in name


def filename_of(name: str) -> str | None:
    """Return the name in a URL, None for none: WSGI gives a path's bytes as Latin-1 (PEP 3333)."""
    return name.encode("latin-1").decode("utf-8", "replace") if name else None


def ended(
    observed: Observed, method: str, path: str, status: int, length: int, client: str
) -> Ended:
    """End a request with an answer."""
    route = _NAMED if "/" in path[len(PREFIX) :] else _BARE
    return observed.ended(
        method=method, path=path, route=route, status=status, length=length, client=client
    )
