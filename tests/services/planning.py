"""A file and the steps that tests of the planner share."""

from base64 import b64encode
from datetime import UTC, datetime
from hashlib import sha256

from services.cors import CorsPolicy
from services.delivery import PUBLIC, Access, DeliveryRequest, Plan, plan
from services.handoff import Way
from services.stored import StoredFile

CONTENT = bytes(range(256)) * 4
CREATED = datetime(2024, 5, 17, 12, 0, 0, 987_654, tzinfo=UTC)
MODIFIED = "Fri, 17 May 2024 12:00:00 GMT"
EARLIER = "Fri, 17 May 2024 11:59:59 GMT"
NOW = datetime(2024, 6, 1, tzinfo=UTC)
DIGEST = f"sha-256=:{b64encode(sha256(CONTENT).digest()).decode()}:"
FILE = StoredFile(
    id="q7f3k2m5n6p7r2s3t4v5w6x7y2",
    filename="photo.png",
    content_type="image/png",
    size=len(CONTENT),
    etag=sha256(CONTENT).hexdigest(),
    sha256=sha256(CONTENT).hexdigest(),
    owner=None,
    visibility="public",
    backend="local",
    collection="default",
    key="k7/k7q2",
    created_at=CREATED,
    cache_max_age=86_400,
    delivery="proxy",
)
ETAG = f'"{FILE.etag}"'
LISTED = CorsPolicy(("https://app.example.org",))


def ask(
    headers: dict[str, str] | None = None,
    *,
    file: StoredFile = FILE,
    method: str = "GET",
    filename: str | None = "photo.png",
    download: bool = False,
    access: Access = PUBLIC,
    cors: CorsPolicy = LISTED,
    now: datetime = NOW,
    way: Way | None = None,
) -> Plan:
    """Plan a request for FILE by its current name, with the given headers."""
    request = DeliveryRequest(method, headers or {}, filename, download)
    return plan(file, request, access=access, cors=cors, now=now, way=way)


def headers_of(answer: Plan) -> dict[str, str]:
    """Return the headers by lowercase name, and see that none is there twice."""
    named = {name.lower(): value for name, value in answer.headers}
    assert len(named) == len(answer.headers)
    return named


def body_of(answer: Plan, content: bytes = CONTENT) -> bytes:
    """Put the body together as a view would."""
    return b"".join(
        piece if isinstance(piece, bytes) else content[piece.start : piece.stop]
        for piece in answer.pieces
    )
