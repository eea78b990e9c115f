"""A key that is taken away while its bytes are still on the way: nothing comes of them."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from sqlalchemy import update

from app import Holdall
from models import ApiKey, now
from services.caller import EVERYONE, Caller
from services.errors import KeyInvalid
from services.intake import Declaration
from services.keys import NewKey
from services.listing import Query
from services.resumed import Request
from tests.conftest import MakeApp, objects, parts
from tests.services.uploading import database_of, row_of
from tests.support.keyed import keyed_app, new_key


def revoke(app: Holdall, key: NewKey) -> None:
    parts(app).keys.revoke(EVERYONE, key.info.id)


def expire(app: Holdall, key: NewKey) -> None:
    over = update(ApiKey).where(ApiKey.id == key.info.id)
    with database_of(app).write() as session:
        session.execute(over.values(expires_at=now() - timedelta(seconds=1)))


@pytest.fixture
def app(app_with: MakeApp) -> Holdall:
    return keyed_app(app_with)


@pytest.mark.parametrize("take_away", (revoke, expire))
def test_a_body_that_outlives_its_key_becomes_no_file(
    app: Holdall, take_away: Callable[[Holdall, NewKey], None]
) -> None:
    key, services = new_key(app, "write"), parts(app)
    caller = Caller(owner=key.info.id, scopes=frozenset({"write"}))
    with services.ingest.admit(caller, Declaration("a.txt")) as intake:
        intake.feed(b"half of it, ")
        take_away(app, key)
        intake.feed(b"and the rest")
        intake.inspect()
        with pytest.raises(KeyInvalid):
            services.publishing.publish([intake])
    assert objects(app) == []
    assert services.listing.page(EVERYONE, Query()).total == 0


def test_a_resumable_upload_ends_with_its_key(app: Holdall) -> None:
    key, uploads = new_key(app, "write"), parts(app).uploads
    caller = Caller(owner=key.info.id, scopes=frozenset({"write"}))
    begun = uploads.create(caller, Declaration("a.txt", size=12), protocol="tus")

    def read(idle: Callable[[], None]) -> Iterator[bytes]:
        yield b"half of it, "[:6]
        revoke(app, key)
        yield b"half of it, "[6:]

    with pytest.raises(KeyInvalid):
        uploads.append(caller, begun.id, 0, Request(read, 12))
    assert objects(app) == []
    assert row_of(app, begun.id) is None
