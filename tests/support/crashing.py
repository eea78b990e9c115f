"""The service with named points at which its process kills itself.

`gunicorn -c gunicorn.conf.py tests.support.crashing:app`, or `flask --app` the same, reads

    CRASH_AT=ingest-renamed        kill -9 when the point is reached
    CRASH_AT=part-put:2            … for the second time
    CRASH_AT=@/some/file           the same words, read from a file that is made later

A file is removed by the crash, so that the worker that takes the place of the killed one goes on.
The points stand here and not in the service: they are wrapped around its functions from outside,
once its modules are imported, and an image of the service holds no such code (.dockerignore).
"""

import functools
import importlib
import os
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Final

VARIABLE: Final = "CRASH_AT"


@dataclass(frozen=True, slots=True)
class Point:
    """A moment: before or after a call of one of `targets`, which are `module:attribute`."""

    targets: tuple[str, ...]
    before: bool = False


def after(*targets: str) -> Point:
    return Point(targets)


def before(*targets: str) -> Point:
    return Point(targets, before=True)


POINTS: Final = {
    # A file that comes whole, to local disk and to S3.
    "ingest-opened": after("storage.folders:Folders.open_temporary"),
    "ingest-written": after("storage.files:FileWriter.write"),
    "ingest-synced": before("storage.folders:Folders.settle_as"),
    "ingest-renamed": after("os:rename"),
    "ingest-folder-synced": after("storage.folders:Folders.settle_as"),
    "ingest-put": after("storage.s3:S3Storage.put"),
    "ingest-inspected": after("services.ingest:Intake.inspect"),
    "ingest-inserted": after("services.publishing:count"),
    "ingest-committed": after("services.publishing:Publishing._told"),
    "answered": after("gunicorn.workers.gthread:ThreadWorker.handle_request"),
    # An upload in several requests.
    "upload-begun": after("services.resumable:Uploads.create"),
    "append-opened": after(
        "storage.local_resumable:LocalResumable.append", "storage.s3_resumable:S3Resumable.append"
    ),
    "append-written": after(
        "storage.local_resumable:LocalAppender.write", "storage.multipart:PartStream.write"
    ),
    "append-kept": after(
        "storage.local_resumable:LocalAppender.keep", "storage.s3_resumable:PartAppender.keep"
    ),
    "append-completed": after(
        "storage.local_resumable:LocalAppender.complete",
        "storage.s3_resumable:PartAppender.complete",
    ),
    "append-noted": after("services.resumable:Uploads._checkpoint"),
    "upload-finished": after(
        "storage.local_resumable:LocalResumable.finish", "storage.s3_resumable:S3Resumable.finish"
    ),
    "upload-published": after("services.endings:Endings.finish"),
    "upload-joined": after("services.joining:Joining.join"),
    "upload-ended": after("services.endings:Endings.end"),
    "upload-freed": after("services.endings:Endings.free"),
    # Parts of an S3 store, and their records here.
    "multipart-begun": after("storage.s3_multipart:S3Multipart.begin"),
    "part-put": after("storage.s3_multipart:S3Multipart.put_part"),
    "multipart-completing": before("storage.s3_multipart:S3Multipart.complete"),
    "multipart-completed": after("storage.s3_multipart:S3Multipart.complete"),
    # A file that a client sent to the store itself.
    "direct-begun": after("services.direct_rows:Rows.add"),
    "direct-named": before("services.direct_confirm:Confirming._held"),
    "direct-copied": after("services.direct_confirm:Confirming._held"),
    "direct-agreed": after("services.direct_confirm:Confirming.agree"),
    "direct-published": after("services.direct_confirm:Confirming._publish"),
    "direct-confirmed": after("services.direct:Direct._finished"),
    # A file that goes.
    "delete-row": after("services.files:Files.remove_rows"),
    "delete-object": after("services.files:Files.remove_object"),
    # Files that move to another backend.
    "move-sent": after("services.migration_moving:Mover._send"),
    "move-verified": after("services.migration_moving:Mover._copied"),
    "move-switching": before("services.migration_run:Run._commit_once"),
    "move-switched": after("services.migration_run:Run._commit_once"),
    "move-source-deleted": after("services.migration_leftovers:Leftovers._delete_one"),
}
"""Every point by name."""


class Crashes:
    """What is to happen at the points: nothing, or one kill."""

    def __init__(self, order: str) -> None:
        self._order = order
        self._reached: Counter[str] = Counter()
        self._lock = Lock()

    def reach(self, name: str) -> None:
        """Kill this process, if it is its turn."""
        wanted, _, number = self._wanted().partition(":")
        if name != wanted:
            return
        with self._lock:
            self._reached[name] += 1
            if self._reached[name] == int(number or 1):
                if self._order.startswith("@"):
                    Path(self._order[1:]).unlink()
                os.kill(os.getpid(), signal.SIGKILL)

    def _wanted(self) -> str:
        if not self._order.startswith("@"):
            return self._order
        try:
            return Path(self._order[1:]).read_text()
        except FileNotFoundError:
            return ""


def found(target: str) -> tuple[Any, str, Callable[..., Any]]:
    """Return where a function stands, its name there, and itself. Raises AttributeError."""
    module, _, path = target.partition(":")
    owner: Any = importlib.import_module(module)
    *way, name = path.split(".")
    for step in way:
        owner = getattr(owner, step)
    # What a class has inherited is not its own to wrap.
    function = vars(owner)[name] if isinstance(owner, type) else getattr(owner, name)
    return owner, name, function


def install(crashes: Crashes) -> None:
    """Put every point around its functions."""
    for name, point in POINTS.items():
        for target in point.targets:
            owner, attribute, function = found(target)
            setattr(owner, attribute, _wrapped(name, point, function, crashes))


def _wrapped(
    name: str, point: Point, function: Callable[..., Any], crashes: Crashes
) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if point.before:
            crashes.reach(name)
        result = function(*args, **kwargs)
        if not point.before:
            crashes.reach(name)
        return result

    return call


def __getattr__(name: str) -> Any:
    """Make the WSGI application when a server or a command first asks for `app`."""
    if name != "app":
        raise AttributeError(name)
    import app

    install(Crashes(os.environ.get(VARIABLE, "")))
    globals()["app"] = app.app
    return app.app
