"""The Flask application itself: one event loop a process, and the OpenAPI document.

It knows neither settings nor which URLs there are; `routes` are asked for the document.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Final

from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI
from werkzeug.routing import Rule

import routes
from services.loop import EventLoop
from views import cookies, errors, parameters, schemas
from views.at_once import AtOnce
from views.current import EXTENSION, Services
from views.documentation import SECURITY
from views.json_body import StrictRequest
from views.upload_together import Outcome

VERSION: Final = "0.1.0"

_API: Final[dict[str, Any]] = {
    "info": Info(title="Holdall", version=VERSION),
    "static_folder": None,
    "doc_ui": False,
    "security_schemes": SECURITY,
    "validation_error_status": 400,
    "validation_error_model": schemas.Error,
    "validation_error_callback": errors.invalid_parameters,
}


class _Rule(Rule):
    """A URL that is matched; what builds one, half of a start, is compiled where one is built."""

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        compiled = super()._compile_builder

        def build(rule: Rule, **values: Any) -> tuple[str, str]:
            return compiled(append_unknown)(rule, **values)

        return build


class Holdall(OpenAPI):
    """A Flask application whose asynchronous views share one event loop a process."""

    request_class = StrictRequest
    url_rule_class = _Rule
    session_interface = cookies.NoSessions()
    at_once: AtOnce
    """Answers requests without a wait, or says that it takes one."""
    together: Callable[..., list[Outcome]]
    """Answer several small forms, each as far as it can be (`views.upload_together`)."""

    def __init__(self) -> None:
        super().__init__("app", **_API)
        self.loop = EventLoop()
        self.url_map.merge_slashes = False  # a redirect would go to whatever host is named
        self.json.sort_keys = False  # type: ignore[attr-defined]

    @property
    def api_doc(self) -> dict[str, Any]:
        """The OpenAPI document, made when it is first asked for: it takes as long as a start."""
        if not self.spec_json:
            described = OpenAPI("description", **_API)
            routes.describe(described)
            self.spec_json = described.api_doc
        return dict(self.spec_json)

    def async_to_sync(self, func: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
        """Return a function that runs `func` on the loop and waits for it."""

        def run(*args: Any, **kwargs: Any) -> Any:
            return self.loop.run(func(*args, **kwargs))

        return run

    @staticmethod
    def create_view_func(
        func: Callable[..., Any],
        header: Any,
        cookie: Any,
        path: Any,
        query: Any,
        form: Any,
        body: Any,
        raw: Any,
        *options: Any,
        **more: Any,
    ) -> Callable[..., Any]:
        """Return a view behind the validation of what a request gives it."""
        given = (header, cookie, path, query, form, body, raw)
        whole: Callable[..., Any] = OpenAPI.create_view_func(func, *given, *options, **more)
        is_plain = not (header or cookie or form or body or raw)
        return parameters.without_query(func, whole, path, query) if is_plain else whole

    def begin_background_work(self) -> None:
        """Begin what goes on beside requests; a server calls it in each worker, after the fork."""
        services: Services = self.extensions[EXTENSION]
        services.expiry.start()
        services.collector.start()
        services.hashing.start()
        services.media.start()
        services.mirroring.start()
