"""What a view works with: the service's parts, and who asks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from flask import current_app

from config import Settings
from services.caller import ANONYMOUS, EVERYONE, Caller
from services.expiry import Expiry
from services.files import Files
from services.ingest import Ingest
from services.listing import Listing
from services.loop import EventLoop
from services.probes import Probes
from services.publishing import Publishing
from services.resumable import Uploads
from storage.base import Storage

EXTENSION = "holdall"


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of one application, made once by `create_app`."""

    settings: Settings
    storages: Mapping[str, Storage]
    loop: EventLoop
    ingest: Ingest
    publishing: Publishing
    files: Files
    uploads: Uploads
    expiry: Expiry
    listing: Listing
    probes: Probes


def services() -> Services:
    """Return the parts of the application that handles this request."""
    return cast(Services, current_app.extensions[EXTENSION])


def uploader() -> Caller:
    """Return who sends a file: the holder of a key, or of the signed upload link in the URL."""
    return caller()


def caller() -> Caller:
    """Return who makes this request."""
    return EVERYONE if services().settings.auth_mode == "open" else ANONYMOUS
