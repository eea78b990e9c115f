"""A short way for the commonest request: a public file, by GET or HEAD, ahead of the framework.

It takes the same steps as `views.delivery` over the same planner, so that no header differs, and
leaves out what Flask does around a view. Whatever it is not made for (a private or missing file, a
query but for a thumbnail's, a body, another method) it hands on untouched; an error goes along, so
that nothing is tried twice.
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

from services import delivery
from services.cors import CorsPolicy
from services.delivery import PUBLIC, DeliveryRequest, Plan
from services.stored import StoredFile
from views.bodies import attach
from views.current import Services
from views.delivery import FAILED, delivery_request
from views.observing import Observed
from views.proxies import Application, announced
from views.thumbnails import only_wanted, planned

_PREFIX: Final = "/uploads/"
_BARE: Final = "/uploads/<file_id>"
_NAMED: Final = "/uploads/<file_id>/<path:filename>"
_QUERIES: Final = ("", "w=", "h=", "fi", "fo")
_STATUS: Final = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


class DeliveryFront:
    """A WSGI application before another: answers for public files, and hands on all else."""

    def __init__(self, application: Application, services: Services) -> None:
        self._application = application
        self._services = services
        self._files = services.files
        self._storages = services.storages
        self._ways = services.ways
        self._cors = CorsPolicy(services.settings.cors_origins)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if not path.startswith(_PREFIX) or not _is_bare(environ):
            return self._application(environ, start_response)
        observed = Observed.begin(environ.get("HTTP_X_REQUEST_ID", ""))
        file_id, slash, name = path[len(_PREFIX) :].partition("/")
        try:
            found = (
                self._answer(environ, file_id, name or None) if _is_routed(slash, name) else None
            )
        except Exception as error:
            environ[FAILED] = error
            found = None
        if found is None:
            return self._application(environ, start_response)
        plan, sent = found
        start_response(_STATUS[plan.status], [*plan.headers, ("X-Request-ID", observed.request_id)])
        observed.end(
            method=environ["REQUEST_METHOD"],
            path=path,
            route=_NAMED if name else _BARE,
            status=plan.status,
            length=plan.length,
            client=environ.get("REMOTE_ADDR", ""),
        )
        return sent

    def _answer(
        self, environ: dict[str, Any], file_id: str, name: str | None
    ) -> tuple[Plan, Iterable[bytes]] | None:
        """Plan the answer and open its bytes, or return None for a file that is not for all."""
        file = self._files.for_delivery(file_id)
        if file is None or file.visibility != "public":
            return None
        # WSGI gives the path's bytes as Latin-1 (PEP 3333).
        filename = None if name is None else name.encode("latin-1").decode("utf-8", "replace")
        asked = delivery_request(environ, filename, download=False)
        if environ.get("QUERY_STRING"):
            return self._thumbnail(environ, file, asked)
        way = self._ways.of(file, announced(environ))
        now = datetime.now(UTC)
        plan = delivery.plan(file, asked, access=PUBLIC, cors=self._cors, now=now, way=way)
        plan = self._ways.told(plan, file)
        wrap = environ.get("wsgi.file_wrapper")
        return plan, attach(plan, self._storages[file.backend], file.key, file.size, wrap)

    def _thumbnail(
        self, environ: dict[str, Any], file: StoredFile, asked: DeliveryRequest
    ) -> tuple[Plan, Iterable[bytes]] | None:
        """Answer with a thumbnail, or return None for a query that asks for anything else."""
        size = only_wanted(environ["QUERY_STRING"])
        if size is None:
            return None
        answer = planned(self._services, file, asked, size, PUBLIC, announced(environ))
        return answer.plan, attach(*answer, environ.get("wsgi.file_wrapper"))


def _is_bare(environ: dict[str, Any]) -> bool:
    """Say whether a request is a GET or HEAD without a query, but for w=…, and without a body.

    A body that nobody reads has the connection closed, which is what the framework's way does.
    """
    return (
        environ["REQUEST_METHOD"] in ("GET", "HEAD")
        and environ.get("QUERY_STRING", "")[:2] in _QUERIES
        and environ.get("CONTENT_LENGTH", "0") in ("", "0")
        and "HTTP_TRANSFER_ENCODING" not in environ
    )


def _is_routed(slash: str, name: str) -> bool:
    """Say whether the URL map has a view for what follows the file's id."""
    if not name:
        return not slash
    return not name.startswith("/") and "\n" not in name
