"""What the tests of resumable uploads share: an application's own uploads, rows and leftovers.

It knows the services and the stores behind them, and must not know HTTP beyond tus's few words.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from flask.testing import FlaskClient
from sqlalchemy import select, update
from werkzeug.test import TestResponse

from app import Holdall
from models import Upload, db
from services.caller import EVERYONE
from services.database import Database
from services.intake import Declaration
from storage.base import Storage
from storage.capabilities import Resumable
from storage.s3_session import new_session
from tests.conftest import parts
from tests.http.test_tus import begin, content, file_of, head, patch

PART = 5 * 1024 * 1024
Change = Callable[..., Any]


def database_of(app: Holdall) -> Database:
    """Return the application's database, as another process would open it."""
    with app.app_context():
        return Database(db.engine)


def storage_of(app: Holdall) -> Storage:
    """Return the storage that new files go to."""
    storage = parts(app).storages[parts(app).settings.storage_backend]
    assert isinstance(storage, Resumable)
    return storage


def begun(app: Holdall, length: int = 10) -> str:
    """Begin an upload and return its id."""
    declared = Declaration("a.bin", size=length)
    return parts(app).uploads.create(EVERYONE, declared, protocol="tus").id


def row_of(app: Holdall, upload_id: str) -> Upload | None:
    with database_of(app).read() as session:
        return session.scalar(select(Upload).where(Upload.id == upload_id))


def change(app: Holdall, upload_id: str, **values: object) -> None:
    """Change the row of an upload behind its back."""
    with database_of(app).write() as session:
        session.execute(update(Upload).where(Upload.id == upload_id).values(**values))


def expires_at(app: Holdall, upload_id: str, moment: datetime) -> None:
    change(app, upload_id, expires_at=moment)


def stored(app: Holdall) -> list[str]:
    """Return all that the storage of new files holds, finished or not."""
    settings = parts(app).settings
    if settings.storage_backend == "local":
        found = (settings.data_dir / "uploads").rglob("*")
        return sorted(path.name for path in found if path.is_file())
    return _in_bucket(app)


def _in_bucket(app: Holdall) -> list[str]:
    backend = parts(app).settings.backends["s3"]
    url = urlsplit(backend.url)
    client = new_session().client(
        "s3",
        endpoint_url=parse_qs(url.query)["endpoint"][0],
        region_name="us-east-1",
        aws_access_key_id=backend.access_key_id,
        aws_secret_access_key=backend.secret_access_key,
    )
    try:
        objects = client.list_objects_v2(Bucket=url.netloc).get("Contents", [])
        uploads = client.list_multipart_uploads(Bucket=url.netloc).get("Uploads", [])
    finally:
        client.close()
    return sorted([o["Key"] for o in objects] + [u["Key"] for u in uploads])


@dataclass
class Sent:
    """An upload under way over tus: its content, and what the application knows of it."""

    app: Holdall
    client: FlaskClient
    url: str
    whole: bytes

    @classmethod
    def begin(cls, app: Holdall, size: int, **headers: str) -> "Sent":
        client = app.test_client()
        return cls(app, client, begin(client, size, **headers), content(size))

    @property
    def id(self) -> str:
        return self.url.rpartition("/")[2]

    def send(self, start: int = 0, stop: int | None = None) -> TestResponse:
        return patch(self.client, self.url, start, self.whole[start:stop])

    def head(self) -> TestResponse:
        return head(self.client, self.url)

    def offset(self) -> int:
        return int(self.head().headers["Upload-Offset"])

    def file(self) -> dict[str, Any]:
        """Return the file that it became."""
        return file_of(self.client, self.head())
