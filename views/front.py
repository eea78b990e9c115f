"""A short way for the commonest request: a public file, by GET or HEAD, ahead of the framework.

It leaves out what Flask does around a view. Whatever it is not made for (a private or missing file,
a query but for a thumbnail's, a body, another method) it hands on untouched; an error goes along,
so that nothing is tried twice.
"""

from collections.abc import Iterable
from typing import Any

from services.delivery import Plan
from views.bodies import attach
from views.current import Services
from views.delivery import FAILED, delivery_request
from views.observing import Observed, write
from views.proxies import Application, announced
from views.public import PREFIX, STATUS, PublicFiles, ended, filename_of, is_plain, is_routed


class DeliveryFront:
    """A WSGI application before another: answers for public files, and hands on all else."""

    def __init__(self, application: Application, services: Services) -> None:
        self._application = application
        self._files = services.files
        self._public = PublicFiles(services)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if not path.startswith(PREFIX) or not _is_bare(environ):
            return self._application(environ, start_response)
        observed = Observed.begin(environ.get("HTTP_X_REQUEST_ID", ""))
        file_id, slash, name = path[len(PREFIX) :].partition("/")
        try:
            found = self._answer(environ, file_id, name) if is_routed(slash, name) else None
        except Exception as error:
            environ[FAILED] = error
            found = None
        if found is None:
            return self._application(environ, start_response)
        plan, sent = found
        start_response(STATUS[plan.status], [*plan.headers, ("X-Request-ID", observed.request_id)])
        client = environ.get("REMOTE_ADDR", "")
        method = environ["REQUEST_METHOD"]
        write((ended(observed, method, path, plan.status, plan.length, client),))
        return sent

    def _answer(
        self, environ: dict[str, Any], file_id: str, name: str
    ) -> tuple[Plan, Iterable[bytes]] | None:
        """Plan the answer and open its bytes, or return None for what is not for all."""
        file = self._files.for_delivery(file_id)
        if file is None or file.visibility != "public":
            return None
        asked = delivery_request(environ, filename_of(name), download=False)
        query = environ.get("QUERY_STRING", "")
        about = self._public.about(file, asked, query, announced(environ))
        if about is None:
            return None
        return about.plan, attach(*about, environ.get("wsgi.file_wrapper"))


def _is_bare(environ: dict[str, Any]) -> bool:
    """Say whether a request is a GET or HEAD without a query, but for w=…, and without a body.

    A body that nobody reads has the connection closed, which is what the framework's way does.
    """
    return (
        environ["REQUEST_METHOD"] in ("GET", "HEAD")
        and is_plain(environ.get("QUERY_STRING", ""))
        and environ.get("CONTENT_LENGTH", "0") in ("", "0")
        and "HTTP_TRANSFER_ENCODING" not in environ
    )
