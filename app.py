"""Puts the service together: settings, database, storage, services, URLs; and the WSGI `app`."""

import logging
import os
import re
from collections.abc import Callable, Coroutine, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from flask import Response, request
from flask_cors import CORS
from flask_migrate import Migrate, upgrade
from flask_openapi3.models.info import Info
from flask_openapi3.openapi import OpenAPI
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

import routes
from cli.backup import backup
from cli.collections import collections
from cli.doctor import doctor
from cli.fsck import fsck
from cli.gc import gc
from cli.keys import keys as keys_group
from cli.loading import loaded
from cli.migrate import migrate_storage
from config import ConfigurationError, Settings, load_settings
from config.secrets import secret_in
from models import db
from services import cors
from services.archive import Archives, Sources
from services.collections import Collections
from services.database import Database, engine_options, prepare_engine, upgrade_lock
from services.direct import Direct
from services.direct_confirm import Confirming
from services.direct_receipt import Receipt
from services.direct_rows import Rows
from services.direct_urls import OwnUrls
from services.expiry import Expiry
from services.failures import Failures
from services.files import Files
from services.gc import Collector
from services.hashing import Hashing
from services.ingest import Ingest
from services.keys import Keys
from services.links import Links
from services.listing import Listing
from services.locks import Locks
from services.loop import EventLoop
from services.mimetype import Sniffer
from services.mirroring import Mirrors
from services.mirroring_work import Mirroring
from services.policy import Limits, Policies
from services.probes import Probes
from services.publishing import Publishing
from services.quotas import Quotas
from services.renaming import Renaming
from services.resumable import Uploads
from services.rows_at_once import RowsAtOnce
from services.sessions import Sessions
from services.thumbnails import Thumbnails
from services.thumbnails_media import Media
from services.thumbnails_pool import Pool
from services.trash import Trash
from services.usage import Usages
from services.used_links import UsedLinks
from services.ways import Ways
from storage import Storages, open_mirror, open_storage
from storage.aio import AsyncStorage
from storage.base import Storage
from storage.errors import StorageError, StorageFull
from storage.folders import sync_names
from views import (
    body,
    cookies,
    direct,
    errors,
    metrics,
    observing,
    parameters,
    schemas,
    sites,
    tus,
)
from views.at_once import AtOnce, Ready
from views.current import EXTENSION, Services
from views.direct_link import LinkInPath
from views.documentation import SECURITY
from views.front import DeliveryFront
from views.json_body import StrictRequest
from views.proxies import Trust, TrustedProxies
from views.upload_front import UploadFront

log = logging.getLogger("holdall.start")

VERSION = "0.1.0"
MIGRATIONS = Path(__file__).parent / "migrations"


_API: dict[str, Any] = {
    "info": Info(title="Holdall", version=VERSION),
    "static_folder": None,
    "doc_ui": False,
    "security_schemes": SECURITY,
    "validation_error_status": 400,
    "validation_error_model": schemas.Error,
    "validation_error_callback": errors.invalid_parameters,
}


class Holdall(OpenAPI):
    """A Flask application whose asynchronous views share one event loop a process."""

    request_class = StrictRequest
    at_once: Callable[..., Ready | None]
    """Answer a request without a wait, or say by None that it takes one (`views.at_once`)."""

    def __init__(self, loop: EventLoop) -> None:
        super().__init__("app", **_API)
        self._loop = loop

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
            return self._loop.run(func(*args, **kwargs))

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


def create_app(settings: Settings | None = None) -> Holdall:
    """Make the application: folders and tables that are missing are made too.

    Raises ConfigurationError when a setting cannot be worked with.
    """
    settings = settings or load_settings()
    _make_folders(settings)
    app = Holdall(EventLoop())
    secrets = _secrets(settings)
    app.config["SECRET_KEY"], app.config["SECRET_KEY_FALLBACKS"] = secrets[0], secrets[1:]
    app.url_map.merge_slashes = False  # a redirect would go to whatever host the request names
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.session_interface = cookies.NoSessions()
    database = _open_database(app, settings)
    storages = open_storages(settings)
    app.extensions[EXTENSION] = _services(settings, secrets, database, storages, app._loop)
    errors.register(app)
    observing.register(app)
    sites.register(app, settings)
    body.register(app)
    tus.register(app)
    direct.register(app)
    routes.register(app)
    app.cli.add_command(backup)
    app.cli.add_command(collections)
    app.cli.add_command(doctor)
    app.cli.add_command(fsck)
    app.cli.add_command(gc)
    app.cli.add_command(keys_group)
    app.cli.add_command(migrate_storage)
    _allow_origins(app, settings)
    app.wsgi_app = UploadFront(app.wsgi_app, app.extensions[EXTENSION])  # type: ignore[method-assign]
    app.wsgi_app = LinkInPath(app.wsgi_app)  # type: ignore[method-assign]
    trust = Trust(settings.trusted_proxies)
    services: Services = app.extensions[EXTENSION]
    app.at_once = AtOnce(services, trust).answer
    front = DeliveryFront(app.wsgi_app, services)
    app.wsgi_app = TrustedProxies(front, trust)  # type: ignore[method-assign]
    return app


def prepare(settings: Settings) -> None:
    """Make everything ready for the first request, and prove that new files can be stored.

    Raises ConfigurationError with a line for each thing that stands in the way.
    """
    app = create_app(settings)
    with app.app_context():
        storages = app.extensions[EXTENSION].storages
        backend = settings.backends[settings.storage_backend]
        try:
            storages[backend.name].check()
        except StorageFull as error:
            log.warning("files can be read and deleted only", extra={"reason": str(error)})
        except StorageError as error:
            raise ConfigurationError([f"{backend.variable}: {error}"]) from error
        finally:
            for storage in storages.values():
                storage.close()
            db.engine.dispose()


def open_storages(settings: Settings) -> Storages:
    """Open every configured backend by name. Raises ConfigurationError for URLs that are wrong."""
    storages, problems = Storages(), []
    for backend in sorted(settings.backends.values(), key=lambda backend: bool(backend.members)):
        try:
            if backend.members:
                # One whose member is wrong is of no use; the member's own line says why.
                if storages.keys() >= {*backend.members}:
                    members = {name: storages[name] for name in backend.members}
                    storages[backend.name] = open_mirror(members)
                continue
            storages[backend.name] = open_storage(
                backend.url,
                scratch=settings.scratch,
                durable=settings.durable,
                access_key_id=backend.access_key_id,
                secret_access_key=backend.secret_access_key,
                public_endpoint=backend.public_endpoint,
            )
        except ValueError as error:
            problems.append(f"{backend.variable}: {error}")
    if problems:
        raise ConfigurationError(problems)
    return storages


def _services(
    settings: Settings,
    secrets: Sequence[str],
    database: Database,
    storages: dict[str, Storage],
    loop: EventLoop,
) -> Services:
    limits = Limits(
        max_size=settings.max_upload_size,
        max_files=settings.max_upload_files,
        allowed_types=settings.allowed_types,
        default_backend=settings.storage_backend,
    )
    policies = Policies(database, limits)
    keys = Keys(database, Failures(database))
    quotas = Quotas(database)
    sniffer = Sniffer()
    ingest = Ingest(policies, storages, sniffer, UsedLinks(database), quotas)
    pool = Pool(
        processes=settings.thumbnail_workers,
        seconds=settings.thumbnail_timeout,
        memory=settings.thumbnail_memory,
    )
    media = Media(
        database,
        storages,
        pool,
        scratch=settings.scratch,
        max_pixels=settings.thumbnail_max_pixels,
        interval=settings.sweep_interval,
    )
    mirrors = Mirrors(storages)
    publishing = Publishing(database, policies, mirrors, media.published)
    files = Files(database, storages, Renaming(policies, storages, sniffer), mirrors)
    uploads = Uploads(
        database,
        policies,
        storages,
        ingest,
        publishing,
        files,
        quotas,
        expires_in=timedelta(seconds=settings.upload_expires_in),
    )
    rows = Rows(
        database,
        policies,
        storages,
        quotas,
        expires_in=timedelta(seconds=settings.upload_expires_in),
    )
    own_urls = OwnUrls(secrets)
    locks = Locks(database)
    direct = Direct(
        rows,
        locks,
        Confirming(rows, storages, sniffer, publishing),
        storages,
        ingest,
        files,
        quotas,
        own_urls,
    )
    listing = Listing(database)

    def facades() -> dict[str, AsyncStorage]:
        return {name: AsyncStorage(storage) for name, storage in storages.items()}

    interval = settings.sweep_interval
    expiry = Expiry(
        database,
        uploads,
        direct,
        files,
        mirrors,
        trash_expires_in=timedelta(seconds=settings.trash_expires_in),
        interval=interval,
        on_dropped=metrics.count_expired,
    )
    return Services(
        settings=settings,
        storages=storages,
        loop=loop,
        ingest=ingest,
        publishing=publishing,
        files=files,
        rows_at_once=RowsAtOnce(database),
        uploads=uploads,
        direct=direct,
        receipt=Receipt(rows, locks, storages),
        own_urls=own_urls,
        expiry=expiry,
        collector=Collector(
            database,
            storages,
            expiry,
            files,
            scratch=settings.scratch,
            grace=timedelta(seconds=settings.gc_grace),
            interval=settings.gc_interval,
            on_collected=metrics.count_collected,
        ),
        hashing=Hashing(database, storages, interval=interval),
        mirroring=Mirroring(database, mirrors, on_task=metrics.count_mirrored),
        listing=listing,
        archives=Archives(database, listing, Sources(files, storages, facades(), loop)),
        keys=keys,
        sessions=Sessions(secrets, keys),
        trash=Trash(database),
        collections=Collections(database, storages),
        usages=Usages(database),
        links=Links(
            secrets,
            files,
            ingest,
            is_active=keys.is_active,
            keyless=settings.auth_mode == "open",
        ),
        media=media,
        thumbnails=Thumbnails(
            storages,
            pool,
            scratch=settings.scratch,
            max_pixels=settings.thumbnail_max_pixels,
            patience=settings.thumbnail_timeout,
            find=files.for_delivery,
            note=media.note,
        ),
        ways=Ways(storages),
        probes=Probes(
            database,
            {name: facade for name, facade in facades().items() if name not in mirrors.mirrored},
            {name: [*storage.members] for name, storage in mirrors.mirrored.items()},
        ),
    )


def _make_folders(settings: Settings) -> None:
    try:
        settings.scratch.mkdir(parents=True, exist_ok=True)
        if settings.durable:
            sync_names(settings.data_dir)
        writable = os.access(settings.data_dir, os.W_OK | os.X_OK)
    except OSError as error:
        raise ConfigurationError([f"DATA_DIR: cannot be used: {error.strerror}"]) from error
    if not writable:
        raise ConfigurationError(["DATA_DIR: is not writable"])


def _secrets(settings: Settings) -> list[str]:
    """Return the secret that was set, or the one that this DATA_DIR has, and then earlier ones."""
    earlier = [secret.get_secret_value() for secret in settings.secret_key_fallbacks]
    try:
        return [settings.secret_key.get_secret_value() or secret_in(settings.data_dir), *earlier]
    except OSError as error:
        reason = f"DATA_DIR: its secret_key cannot be used: {error.strerror}"
        raise ConfigurationError([reason]) from error


def _open_database(app: Holdall, settings: Settings) -> Database:
    app.config["SQLALCHEMY_DATABASE_URI"] = settings.database_url
    try:
        app.config["SQLALCHEMY_ENGINE_OPTIONS"] = engine_options(settings.database_url)
        db.init_app(app)
        Migrate(app, db, directory=str(MIGRATIONS))
        with app.app_context():
            engine: Engine = db.engine
            prepare_engine(engine, durable=settings.durable)
            with upgrade_lock(engine, settings.data_dir):
                upgrade()
    except SystemExit as error:
        # Flask-Migrate ends so, once it has logged why.
        raise ConfigurationError(["DATABASE_URL: its schema is not one of this version"]) from error
    except ValueError as error:
        # Its message quotes what was taken for a port, which may be a piece of the password.
        raise ConfigurationError(["DATABASE_URL: its port is not a number"]) from error
    except (SQLAlchemyError, ImportError, OSError) as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise ConfigurationError([f"DATABASE_URL: cannot be used: {reason}"]) from error
    return Database(engine)


def _allow_origins(app: Holdall, settings: Settings) -> None:
    """Let pages of the configured origins call the API; delivery plans its own headers."""
    if not settings.cors_origins:
        return
    CORS(
        app,
        resources={r"/api/.*": {"origins": [_exactly(each) for each in settings.cors_origins]}},
        methods=list(cors.ALLOWED_METHODS),
        allow_headers=list(cors.ALLOWED_HEADERS),
        expose_headers=list(cors.EXPOSED_HEADERS),
        max_age=cors.PREFLIGHT_MAX_AGE,
        send_wildcard=True,
    )
    if "*" not in settings.cors_origins:
        app.after_request(_vary_by_origin)


def _exactly(origin: str) -> str | re.Pattern[str]:
    """Have Flask-CORS match an origin as it stands: `[` or `*` in a string make it a pattern."""
    return origin if origin == "*" else re.compile(re.escape(origin) + r"\Z")


def _vary_by_origin(response: Response) -> Response:
    """Tell caches what Flask-CORS does not when a single origin is listed."""
    if request.path.startswith("/api/"):
        response.vary.add("Origin")
    return response


def __getattr__(name: str) -> Any:
    """Make the WSGI application when a server first asks this module for `app`."""
    if name == "app":
        return globals().setdefault("app", loaded(create_app))
    raise AttributeError(name)
