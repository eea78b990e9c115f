"""Figures for Prometheus, summed over all workers, for those who may see them."""

import ipaddress
from collections.abc import Iterator
from hmac import compare_digest
from typing import Final

from flask import Response, request
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client import REGISTRY as THIS_PROCESS
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.values import ValueClass

from models import now
from services.errors import NotSignedIn
from services.gc import Collected
from services.gc_items import Kind
from services.mirroring import Pair
from views.current import services
from views.sites import require_own_host

REQUESTS: Final = Counter("holdall_requests", "Requests answered", ["method", "route", "status"])
DURATION: Final = Histogram(
    "holdall_request_seconds",
    "Seconds from the request's headers to the response's headers",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
)
RECEIVED: Final = Counter("holdall_received_bytes", "Bytes of files taken in")
SENT: Final = Counter("holdall_sent_bytes", "Bytes announced in responses")
PUBLISHED: Final = Counter("holdall_files_published", "Files that became ready")
DELETED: Final = Counter("holdall_files_deleted", "Files deleted")
COLLECTED: Final = Counter("holdall_gc_collected", "Things that were left and removed", ["kind"])
COLLECTED_BYTES: Final = Counter("holdall_gc_collected_bytes", "Bytes of them", ["kind"])
GC_PROBLEMS: Final = Counter("holdall_gc_problems", "Stores that a look could not go through")
_MEMBER: Final = ["backend", "member"]
MIRRORED: Final = Counter(
    "holdall_mirror_done", "Objects copied to or deleted from mirrors", [*_MEMBER, "action"]
)
MIRROR_FAILED: Final = Counter(
    "holdall_mirror_failed", "Tries that failed to do so", [*_MEMBER, "action"]
)


_LEFT_BY_PROXIES: Final = ("Forwarded", "Via", "X-Forwarded-For", "X-Real-IP")


def metrics() -> Response:
    """Show the figures to the holder of METRICS_TOKEN or, when there is none, to this machine."""
    _authorise()
    registry = THIS_PROCESS
    if ValueClass.__name__ == "MmapedValue":
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    shown = generate_latest(registry) + generate_latest(_QueueNow())
    return Response(shown, content_type=CONTENT_TYPE_LATEST)


class _QueueNow:
    """What mirrors wait for, of all instances together, asked of the database when it is shown."""

    def collect(self) -> Iterator[Metric]:
        length = GaugeMetricFamily(
            "holdall_mirror_queue_length", "Objects to copy or delete", labels=_MEMBER
        )
        oldest = GaugeMetricFamily(
            "holdall_mirror_queue_oldest_seconds", "Age of the oldest of these", labels=_MEMBER
        )
        for waiting in services().mirroring.waiting():
            length.add_metric(list(waiting.pair), waiting.number)
            age = 0.0 if waiting.oldest is None else (now() - waiting.oldest).total_seconds()
            oldest.add_metric(list(waiting.pair), age)
        yield from (family for family in (length, oldest) if family.samples)


def count_collected(collected: Collected) -> None:
    """Add what was left and is removed now."""
    for kind, number in collected.number.items():
        COLLECTED.labels(str(kind)).inc(number)
        COLLECTED_BYTES.labels(str(kind)).inc(collected.size[kind])
    GC_PROBLEMS.inc(len(collected.problems))


def count_expired(uploads: int, files: int, trash: int) -> None:
    """Add uploads and files that have expired, and files that have left the trash."""
    COLLECTED.labels(str(Kind.UPLOAD)).inc(uploads)
    COLLECTED.labels(str(Kind.FILE)).inc(files)
    COLLECTED.labels(str(Kind.TRASH)).inc(trash)


def count_mirrored(pair: Pair, action: str, done: bool) -> None:
    """Add one try to copy to or delete from a mirror."""
    (MIRRORED if done else MIRROR_FAILED).labels(*pair, action).inc()


def _authorise() -> None:
    token = services().settings.metrics_token.get_secret_value()
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if token:
        if scheme.lower() == "bearer" and compare_digest(given.strip().encode(), token.encode()):
            return
        raise NotSignedIn("The metrics need their token")
    # A proxy on this machine makes every client look local, unless it says whom it speaks for.
    forwarded = any(name in request.headers for name in _LEFT_BY_PROXIES)
    address = ipaddress.ip_address(request.remote_addr or "0.0.0.0")
    if forwarded or not address.is_loopback:
        raise NotSignedIn("The metrics are for this machine only, unless METRICS_TOKEN is set")
    require_own_host(services().settings)
