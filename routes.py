"""The URL map: every URL of the service, its method, and the view that answers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flask_openapi3.models.tag import Tag
from flask_openapi3.openapi import OpenAPI

from views import delivery, files, health, metrics, openapi, tus, uploads
from views import schemas as shape
from views.documentation import BODY, FORM, answers

UPLOADS = Tag(name="uploads", description="Bytes in")
FILES = Tag(name="files", description="Files that exist")
OPERATIONS = Tag(name="operations", description="Is it up?")


@dataclass(frozen=True, slots=True)
class Route:
    """One documented operation."""

    method: str
    url: str
    view: Callable[..., Any]
    tag: Tag
    answers: dict[str, Any]
    extra: dict[str, Any] = field(default_factory=dict)


FILE_MADE = answers(201, shape.File)

ROUTES = (
    Route("post", "/api/upload", uploads.create, UPLOADS, FILE_MADE, FORM),
    Route(
        "put", "/api/upload/<path:filename>", uploads.put, UPLOADS, answers(201, shape.File), BODY
    ),
    Route("get", "/api/files", files.index, FILES, answers(200, shape.FileList)),
    Route("post", "/api/files/delete", files.delete_many, FILES, answers(200, shape.Deletions)),
    Route("get", "/api/files/<id>", files.read, FILES, answers(200, shape.File)),
    Route("patch", "/api/files/<id>", files.change, FILES, answers(200, shape.File)),
    Route("delete", "/api/files/<id>", files.delete, FILES, answers(204)),
    Route("get", "/api/health", health.health, OPERATIONS, answers(200, shape.Health)),
    Route("get", "/api/ready", health.ready, OPERATIONS, answers(200, shape.Readiness)),
)

PLAIN = (
    ("/uploads/<file_id>", delivery.serve, ("GET", "HEAD")),
    ("/uploads/<file_id>/<path:filename>", delivery.serve, ("GET", "HEAD")),
    ("/uploads/<file_id>", delivery.preflight, ("OPTIONS",)),
    ("/uploads/<file_id>/<path:filename>", delivery.preflight, ("OPTIONS",)),
    ("/api/tus", tus.options, ("OPTIONS",)),
    ("/api/tus", tus.create, ("POST",)),
    ("/api/tus/<upload_id>", tus.options, ("OPTIONS",)),
    ("/api/tus/<upload_id>", tus.resource, ("HEAD", "PATCH", "DELETE", "POST")),
    ("/metrics", metrics.metrics, ("GET",)),
    ("/api/openapi.json", openapi.document, ("GET",)),
    ("/api/docs", openapi.page, ("GET",)),
    ("/api/docs/start.js", openapi.start, ("GET",)),
    ("/api/docs/assets/<path:name>", openapi.asset, ("GET",)),
)
"""URLs outside of the JSON API: bytes, figures, and the API's own description."""


def register(app: OpenAPI) -> None:
    """Give every URL to `app`."""
    for route in ROUTES:
        add = getattr(app, route.method)
        add(
            route.url,
            tags=[route.tag],
            responses=route.answers,
            openapi_extensions=route.extra,
            endpoint=f"{route.view.__module__}.{route.view.__name__}",
        )(route.view)
    for url, view, methods in PLAIN:
        app.add_url_rule(
            url,
            f"{view.__module__}.{view.__name__}",
            view,
            methods=methods,
            provide_automatic_options=False,
        )
