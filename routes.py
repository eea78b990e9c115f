"""The URL map: every URL of the service, its method, and the view that answers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flask_openapi3.models.tag import Tag
from flask_openapi3.openapi import OpenAPI

from views import (
    archive,
    collection_shapes,
    collections,
    delivery,
    direct,
    direct_shapes,
    files,
    gate,
    health,
    keys,
    links,
    metrics,
    openapi,
    pages,
    session,
    session_shapes,
    trash,
    tus,
    uploads,
)
from views import schemas as shape
from views.direct_shapes import FORM_OF_ONE
from views.documentation import BODY, FORM, KEY, KEY_OR_LINK, ZIP, answers, errors
from views.gate import Need

UPLOADS = Tag(name="uploads", description="Bytes in")
DIRECT = Tag(name="direct uploads", description="Bytes that go to the storage itself")
FILES = Tag(name="files", description="Files that exist")
COLLECTIONS = Tag(name="collections", description="What is asked of files, and how much is used")
KEYS = Tag(name="keys", description="Who may do what")
SESSION = Tag(name="session", description="Signing in with a browser")
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
COLLECTION = answers(200, collection_shapes.Collection)
COLLECTION_MADE = answers(201, collection_shapes.Collection) | COLLECTION
USAGES = answers(200, collection_shapes.UsageList)
FILE_CONFIRMED = {"200": shape.File} | FILE_MADE

SIGNED_IN = answers(200, session_shapes.Session, 401, 429, 503)
READINESS = answers(200, shape.Readiness) | answers(503, shape.Readiness)

ROUTES = (
    Route("post", "/api/upload", uploads.create, UPLOADS, answers(201, shape.FileOrFiles), FORM),
    Route(
        "put", "/api/upload/<path:filename>", uploads.put, UPLOADS, answers(201, shape.File), BODY
    ),
    Route("get", "/api/files", files.index, FILES, answers(200, shape.FileList)),
    Route("post", "/api/files/delete", files.delete_many, FILES, answers(200, shape.Deletions)),
    Route("post", "/api/files/trash", trash.put, FILES, answers(200, shape.Trashings)),
    Route("post", "/api/files/restore", trash.restore, FILES, answers(200, shape.Restorings)),
    Route("get", "/api/files/<id>", files.read, FILES, answers(200, shape.File)),
    Route("patch", "/api/files/<id>", files.change, FILES, answers(200, shape.File)),
    Route("delete", "/api/files/<id>", files.delete, FILES, answers(204)),
    Route("get", "/api/archive", archive.archive, FILES, ZIP),
    Route("post", "/api/files/<id>/link", links.make, FILES, answers(201, shape.Link)),
    Route("post", "/api/upload-links", links.make_upload, UPLOADS, answers(201, shape.UploadLink)),
    Route("post", "/api/direct", direct.begin, DIRECT, answers(201, direct_shapes.DirectUpload)),
    Route("post", "/api/direct/confirm", direct.confirm_key, DIRECT, FILE_CONFIRMED),
    Route("delete", "/api/direct/<id>", direct.end, DIRECT, answers(204)),
    Route("post", "/api/direct/<id>/confirm", direct.confirm, DIRECT, FILE_CONFIRMED),
    Route(
        "get",
        "/api/direct/s3/params",
        direct.params,
        DIRECT,
        answers(200, direct_shapes.FormUpload, 409, 507),
    ),
    Route(
        "post",
        "/api/direct/s3/multipart",
        direct.create_multipart,
        DIRECT,
        answers(200, direct_shapes.MultipartUpload),
    ),
    Route(
        "get",
        "/api/direct/s3/multipart/<id>",
        direct.list_parts,
        DIRECT,
        answers(200, direct_shapes.PartsStored, 409),
    ),
    Route(
        "delete",
        "/api/direct/s3/multipart/<id>",
        direct.abort,
        DIRECT,
        answers(200, direct_shapes.Nothing),
    ),
    Route(
        "get",
        "/api/direct/s3/multipart/<id>/<number>",
        direct.sign_part,
        DIRECT,
        answers(200, direct_shapes.PartUpload, 409, 507),
    ),
    Route(
        "post",
        "/api/direct/s3/multipart/<id>/complete",
        direct.complete,
        DIRECT,
        answers(200, direct_shapes.Completed),
    ),
    Route("put", "/api/direct/whole/<id>", direct.put_whole, DIRECT, answers(200), BODY),
    Route("post", "/api/direct/whole/<id>", direct.post_whole, DIRECT, answers(201), FORM_OF_ONE),
    Route("put", "/api/direct/parts/<id>/<number>", direct.put_part, DIRECT, answers(200), BODY),
    Route(
        "get",
        "/api/collections",
        collections.index,
        COLLECTIONS,
        answers(200, collection_shapes.CollectionList),
    ),
    Route("get", "/api/collections/<name>", collections.read, COLLECTIONS, COLLECTION),
    Route("put", "/api/collections/<name>", collections.put, COLLECTIONS, COLLECTION_MADE),
    Route("patch", "/api/collections/<name>", collections.change, COLLECTIONS, COLLECTION),
    Route("delete", "/api/collections/<name>", collections.delete, COLLECTIONS, answers(204)),
    Route(
        "get",
        "/api/collections/<name>/usage",
        collections.usage_of_collection,
        COLLECTIONS,
        answers(200, collection_shapes.Usage),
    ),
    Route("get", "/api/usage", collections.usage, COLLECTIONS, USAGES),
    Route("get", "/api/keys/<id>/usage", collections.usage_of_key, COLLECTIONS, USAGES),
    Route("post", "/api/keys", keys.create, KEYS, answers(201, shape.NewKey)),
    Route("get", "/api/keys", keys.index, KEYS, answers(200, shape.KeyList)),
    Route("get", "/api/keys/<id>", keys.read, KEYS, answers(200, shape.Key)),
    Route("delete", "/api/keys/<id>", keys.revoke, KEYS, answers(204)),
    Route("get", "/api/session", session.read, SESSION, SIGNED_IN),
    Route("post", "/api/session", session.begin, SESSION, SIGNED_IN),
    Route("delete", "/api/session", session.end, SESSION, answers(204, None, 503)),
    Route("get", "/api/health", health.health, OPERATIONS, answers(200, shape.Health)),
    Route("get", "/api/ready", health.ready, OPERATIONS, READINESS),
)

PLAIN = (
    ("/", pages.index, ("GET",)),
    ("/static/<version>/<path:name>", pages.part, ("GET",)),
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

NEEDS: dict[Callable[..., Any], Need] = {
    uploads.create: Need.UPLOAD,
    uploads.put: Need.UPLOAD,
    files.index: Need.READ,
    archive.archive: Need.READ,
    files.delete_many: Need.DELETE,
    trash.put: Need.DELETE,
    trash.restore: Need.DELETE,
    files.read: Need.READ,
    files.change: Need.WRITE,
    files.delete: Need.DELETE,
    links.make: Need.READ,
    links.make_upload: Need.WRITE,
    direct.begin: Need.UPLOAD,
    direct.confirm: Need.UPLOAD,
    direct.confirm_key: Need.UPLOAD,
    direct.end: Need.UPLOAD,
    direct.params: Need.UPLOAD,
    direct.create_multipart: Need.UPLOAD,
    direct.list_parts: Need.UPLOAD,
    direct.abort: Need.UPLOAD,
    direct.sign_part: Need.UPLOAD,
    direct.complete: Need.UPLOAD,
    direct.put_whole: Need.NOTHING,  # its URL is signed
    direct.post_whole: Need.NOTHING,
    direct.put_part: Need.NOTHING,
    collections.index: Need.READ,
    collections.read: Need.READ,
    collections.put: Need.ADMIN_OF_ALL,
    collections.change: Need.ADMIN_OF_ALL,
    collections.delete: Need.ADMIN_OF_ALL,
    collections.usage: Need.ANY_SCOPE,
    collections.usage_of_key: Need.ADMIN_OF_ALL,
    collections.usage_of_collection: Need.ADMIN,
    keys.create: Need.ADMIN_OF_ALL,
    keys.index: Need.ADMIN_OF_ALL,
    keys.read: Need.ADMIN_OF_ALL,
    keys.revoke: Need.ADMIN_OF_ALL,
    tus.create: Need.UPLOAD,
    tus.resource: Need.UPLOAD,
    tus.options: Need.NOTHING,
    delivery.serve: Need.NOTHING,  # public files are for all; it asks for the others
    delivery.preflight: Need.NOTHING,
    session.read: Need.NOTHING,  # it says whether anybody is signed in
    session.begin: Need.NOTHING,
    session.end: Need.NOTHING,
    metrics.metrics: Need.NOTHING,  # it has a token of its own
    health.health: Need.NOTHING,
    health.ready: Need.NOTHING,
    openapi.document: Need.NOTHING,
    openapi.page: Need.NOTHING,
    openapi.start: Need.NOTHING,
    openapi.asset: Need.NOTHING,
    pages.index: Need.NOTHING,  # what it shows it asks the API for
    pages.part: Need.NOTHING,
}
"""What a caller must have for each view, asked for before it runs: a view that is not here ends
the start."""


SHOWN = {need: KEY for need in Need} | {Need.UPLOAD: KEY_OR_LINK, Need.NOTHING: []}
"""What the document says that a request has to show."""


def register(app: OpenAPI) -> None:
    """Give every URL to `app`."""
    for route in ROUTES:
        add = getattr(app, route.method)
        add(route.url, doc_ui=False, endpoint=_endpoint(route.view))(route.view)
    for url, view, methods in PLAIN:
        app.add_url_rule(
            url,
            _endpoint(view),
            view,
            methods=methods,
            provide_automatic_options=False,
        )
    views = {each.view for each in ROUTES} | {view for _, view, _ in PLAIN}
    gate.register(app, {_endpoint(view): NEEDS[view] for view in views})


def describe(app: OpenAPI) -> None:
    """Give `app` every operation with all that its document says of it."""
    for route in ROUTES:
        add = getattr(app, route.method)
        add(
            route.url,
            tags=[route.tag],
            responses=_documented(route),
            security=SHOWN[NEEDS[route.view]],
            openapi_extensions=route.extra,
            endpoint=_endpoint(route.view),
        )(route.view)


def _documented(route: Route) -> dict[str, Any]:
    expected = errors(
        route.method,
        route.url,
        route.view,
        keyed=NEEDS[route.view] is not Need.NOTHING,
        takes_file=route.tag in (UPLOADS, DIRECT),
    )
    return dict(sorted((expected | route.answers).items()))


def _endpoint(view: Callable[..., Any]) -> str:
    return f"{view.__module__}.{view.__name__}"
