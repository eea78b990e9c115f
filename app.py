"""Puts the service together: settings, database, storage, services, URLs; and the WSGI `app`."""

import logging
from typing import Any

import routes
from cli.backup import backup
from cli.collections import collections
from cli.doctor import doctor
from cli.fsck import fsck
from cli.gc import gc
from cli.keys import keys
from cli.loading import loaded
from cli.migrate import migrate_storage
from config import ConfigurationError, Settings, load_settings
from models import db
from services.backends import open_storages
from storage.errors import StorageError, StorageFull
from views import body, direct, errors, observing, origins, sites, tus
from views.at_once import AtOnce
from views.current import EXTENSION, Services
from views.direct_link import LinkInPath
from views.front import DeliveryFront
from views.proxies import Trust, TrustedProxies
from views.upload_front import UploadFront
from views.upload_together import UploadsTogether
from wiring.application import Holdall
from wiring.ground import make_folders, open_database, secrets_of
from wiring.services import Wiring

__all__ = ("Holdall", "create_app", "prepare")

log = logging.getLogger("holdall.start")


def create_app(settings: Settings | None = None) -> Holdall:
    """Make the application: folders and tables that are missing are made too.

    Raises ConfigurationError when a setting cannot be worked with.
    """
    settings = settings or load_settings()
    make_folders(settings)
    app = Holdall()
    secrets = secrets_of(settings)
    app.config["SECRET_KEY"], app.config["SECRET_KEY_FALLBACKS"] = secrets[0], secrets[1:]
    database = open_database(app, settings)
    storages = open_storages(settings)
    services = Wiring(settings, secrets, database, storages, app.loop).services()
    app.extensions[EXTENSION] = services
    errors.register(app)
    observing.register(app)
    sites.register(app, settings)
    body.register(app)
    tus.register(app)
    direct.register(app)
    routes.register(app)
    origins.register(app, settings)
    for command in (backup, collections, doctor, fsck, gc, keys, migrate_storage):
        app.cli.add_command(command)
    _put_fronts(app, services)
    return app


def _put_fronts(app: Holdall, services: Services) -> None:
    """Put what answers before Flask does in front of it; the last one meets a request first."""
    trust = Trust(services.settings.trusted_proxies)
    app.at_once = AtOnce(services, trust)
    app.together = UploadsTogether(services, trust).answer
    front = LinkInPath(UploadFront(app.wsgi_app, services))
    app.wsgi_app = TrustedProxies(DeliveryFront(front, services), trust)  # type: ignore[method-assign]


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
            getattr(storages[backend.name], "make_ready", lambda: None)()
        except StorageFull as error:
            log.warning("files can be read and deleted only", extra={"reason": str(error)})
        except StorageError as error:
            raise ConfigurationError([f"{backend.variable}: {error}"]) from error
        finally:
            for storage in storages.values():
                storage.close()
            db.engine.dispose()


def __getattr__(name: str) -> Any:
    """Make the WSGI application when a server first asks this module for `app`."""
    if name == "app":
        return globals().setdefault("app", loaded(create_app))
    raise AttributeError(name)
