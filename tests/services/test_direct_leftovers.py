"""Direct uploads that are never confirmed, and what the stores hold that no row knows of."""

from datetime import timedelta

from flask.testing import FlaskClient
from sqlalchemy import func, select

from app import Holdall
from models import Reservation, now
from services.gc_items import Kind
from storage.capabilities import Multipart as MultipartStore
from tests.http.test_direct import Multipart, begin, params, send
from tests.http.test_direct_refused import HTML, collection
from tests.http.test_uploads import PNG
from tests.services.collecting import collect, kinds
from tests.services.test_direct import end, files, sent_in_parts, sent_whole, sweep
from tests.services.uploading import change, database_of, row_of, storage_of, stored

AHEAD = timedelta(seconds=-5)
"""A grace that makes everything old, by any clock."""


def test_what_is_never_confirmed_goes(app: Holdall, client: FlaskClient) -> None:
    whole, empty, form = sent_whole(client), begin(client, PNG), params(client)
    upload, nothing = sent_in_parts(client), Multipart(client)
    for upload_id in (whole["id"], empty["id"], form["id"], upload.id, nothing.id):
        end(app, upload_id)
    assert client.post(whole["confirm_url"]).status_code == 410
    assert upload.sign(3).status_code == upload.complete().status_code == 410
    assert sweep(app) == 5
    assert stored(app) == []
    assert files(client) == []
    assert client.post(whole["confirm_url"]).status_code == 404
    assert sweep(app) == 0


def test_what_is_alive_stays(app: Holdall, client: FlaskClient) -> None:
    whole, upload = sent_whole(client), sent_in_parts(client)
    before = stored(app)
    assert sweep(app) == 0
    assert collect(app, grace=AHEAD) == []
    assert stored(app) == before
    assert client.post(whole["confirm_url"]).status_code == 201
    assert upload.complete().status_code == 200


def test_what_no_row_knows_goes_when_it_is_old(app: Holdall, client: FlaskClient) -> None:
    storage = storage_of(app)
    assert isinstance(storage, MultipartStore)
    alive = sent_in_parts(client)
    lost = storage.begin("ab/lost")
    storage.put_part("ab/lost", lost, 1, PNG)
    with storage.create("00/" + "a" * 26) as writer:
        writer.write(PNG)
        writer.commit()
    assert collect(app, grace=timedelta(days=1)) == []
    assert kinds(collect(app, grace=AHEAD)) == {Kind.MULTIPART: 1, Kind.STAGING: 1}
    assert alive.complete().status_code == 200
    assert len(stored(app)) == 1


def test_signing_parts_keeps_an_upload_alive(local_app: Holdall) -> None:
    upload = Multipart(local_app.test_client())
    change(local_app, upload.id, expires_at=now() + timedelta(seconds=30))
    assert upload.sign(1).status_code == 200
    row = row_of(local_app, upload.id)
    assert row is not None and row.expires_at is not None
    assert row.expires_at > now() + timedelta(hours=23)


def test_room_is_given_back(app: Holdall, client: FlaskClient) -> None:
    name = collection(client, max_bytes=10_000, allowed_types=["image/*"])
    refused = begin(client, HTML, collection=name)
    send(client, refused, HTML)
    assert client.post(refused["confirm_url"]).status_code == 415
    expired = begin(client, HTML, collection=name)
    end(app, expired["id"])
    sweep(app)
    kept = begin(client, PNG, collection=name)
    send(client, kept, PNG)
    assert client.post(kept["confirm_url"]).status_code == 201
    with database_of(app).read() as session:
        assert session.scalar(select(func.count()).select_from(Reservation)) == 0
