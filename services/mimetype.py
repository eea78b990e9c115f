"""What bytes are, by their content. The only place that knows libmagic.

libmagic decides. Where it can say no more than "text" or "a zip" or "an old Office file", the
bytes themselves or, within tables of types that no browser runs, the filename's extension say
more. A declared type is never believed.
"""

import hashlib
import logging
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from threading import Lock, local
from typing import Final, Protocol

from services.containers import office_type

SNIFFED: Final = 8192
"""How many of a file's first bytes are looked at."""

REMEMBERED: Final = 4096
"""How many heads a process knows the type of without asking again."""

UNKNOWN: Final = "application/octet-stream"
EMPTY: Final = "application/x-empty"

_TEXT_BY_EXTENSION: Final = {
    "css": "text/css",
    "csv": "text/csv",
    "tsv": "text/tab-separated-values",
    "json": "application/json",
    "geojson": "application/geo+json",
    "md": "text/markdown",
    "markdown": "text/markdown",
    "ics": "text/calendar",
    "vcf": "text/vcard",
    "vtt": "text/vtt",
    "yaml": "application/yaml",
    "yml": "application/yaml",
}
_OLE_BY_EXTENSION: Final = {
    "doc": "application/msword",
    "xls": "application/vnd.ms-excel",
    "ppt": "application/vnd.ms-powerpoint",
    "msg": "application/vnd.ms-outlook",
}
_OLE: Final = frozenset({"application/CDFV2", "application/x-ole-storage"})
_SCRIPTS: Final = frozenset(
    {"application/javascript", "text/javascript", "application/x-javascript", "text/ecmascript"}
)

log = logging.getLogger("holdall.mimetype")


class Detector(Protocol):
    """Something that names the type of bytes; libmagic, or what stands in for it in a test."""

    def from_buffer(self, head: bytes) -> str: ...


def libmagic() -> Detector:
    """Load libmagic with the database that came with it. Takes some 30 ms."""
    import pylibmagic  # noqa: F401 (says where its libmagic and magic database are)
    from magic import Magic

    detector: Detector = Magic(mime=True)
    return detector


class Sniffer:
    """Ask libmagic in bounded time: in threads of its own, each with its own libmagic.

    When libmagic fails or takes longer than `patience` seconds the answer is UNKNOWN. Threads
    that hang are left behind and replaced, at most one pool of them at a time. What it said of the
    last REMEMBERED heads is kept: the same bytes come again, and are of the same type then.
    """

    def __init__(self, load: type[Detector] | None = None, *, patience: float = 2.0) -> None:
        self._load = load or libmagic
        self._patience = patience
        self._lock = Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._mine = local()
        self._known: OrderedDict[bytes, str] = OrderedDict()

    def content_type(self, head: bytes, filename: str) -> str:
        """Return the type of a file that begins with `head`, refined where that is safe."""
        if not head:
            return EMPTY
        return refined(self._ask(head[:SNIFFED]), head, filename)

    def _ask(self, head: bytes) -> str:
        name = hashlib.blake2b(head, digest_size=16).digest()
        known = self._known.get(name)
        if known is not None:
            return known
        pool = self._running()
        try:
            # Another thread may have given up on the pool since: that is a failure like others.
            told = pool.submit(self._detect, head).result(self._patience)
            self._remember(name, told)
            return told
        except FutureTimeout:
            log.error("libmagic did not answer in time", extra={"seconds": self._patience})
            self._replace(pool)
        except Exception as error:
            log.error("libmagic failed", extra={"reason": type(error).__name__})
        return UNKNOWN

    def _remember(self, name: bytes, told: str) -> None:
        with self._lock:
            self._known[name] = told
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)

    def _detect(self, head: bytes) -> str:
        detector: Detector | None = getattr(self._mine, "detector", None)
        if detector is None:
            detector = self._mine.detector = self._load()
        return detector.from_buffer(head)

    def _running(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(4, thread_name_prefix="sniff")
            return self._pool

    def _replace(self, stuck: ThreadPoolExecutor) -> None:
        with self._lock:
            if self._pool is stuck:
                self._pool = None
        stuck.shutdown(wait=False, cancel_futures=True)


def refined(detected: str, head: bytes, filename: str) -> str:
    """Return a more exact type than libmagic's, never one that a browser would run."""
    extension = filename.rpartition(".")[2].lower()
    if detected in _SCRIPTS:
        return "text/plain"
    if detected == "text/plain":
        return _TEXT_BY_EXTENSION.get(extension, detected)
    if detected in _OLE:
        return _OLE_BY_EXTENSION.get(extension, detected)
    if head.startswith(b"PK\x03\x04"):
        return office_type(head, extension) or detected
    return detected


def family(content_type: str) -> str:
    """Return the part before the slash: `image` for `image/png`."""
    return content_type.partition("/")[0]


def matches(content_type: str, patterns: tuple[str, ...]) -> bool:
    """Say whether a type is one of `patterns`: `image/png`, `image/*`, `*/*`."""
    wanted = {content_type.lower(), f"{family(content_type).lower()}/*", "*/*"}
    return not wanted.isdisjoint(patterns)


def same_type(declared: str | None, sniffed: str) -> bool:
    """Say whether a declared type agrees with the sniffed one, parameters aside.

    Nothing declared, or a type that says nothing, disagrees with nothing.
    """
    bare = (declared or "").partition(";")[0].strip().lower()
    return bare in ("", UNKNOWN, "binary/octet-stream", sniffed.lower())
