"""Direct uploads of clients that go around what they may send: at once, out of order, late."""

import threading
from base64 import b64encode
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from app import Holdall
from models import Reservation
from services.errors import Gone, HoldallError, QuotaExceeded, TooLarge
from services.forms import FileStart
from tests.conftest import parts
from tests.http.test_direct import Multipart, begin, content_of, params, send, send_form
from tests.http.test_direct_refused import collection
from tests.http.test_tus import begin as begin_tus
from tests.http.test_uploads import PNG
from tests.services.uploading import PART, database_of, row_of, stored

SIZE = 900


def held(app: Holdall) -> list[int]:
    """Return how many bytes each reservation holds."""
    with database_of(app).read() as session:
        return list(session.scalars(select(Reservation.bytes)))


def sent_at_once(app: Holdall, upload: Multipart, count: int) -> list[HoldallError]:
    """Send parts that are all admitted before the first byte comes; return what refused any."""
    admitted, refusals = threading.Barrier(count), list[HoldallError]()

    def body() -> Iterator[bytes]:
        admitted.wait(20)
        yield content_of(SIZE)

    def put(number: int) -> None:
        try:
            parts(app).receipt.part(upload.id, number, SIZE, body())
        except HoldallError as refusal:
            refusals.append(refusal)

    threads = [threading.Thread(target=put, args=(each,)) for each in range(1, count + 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return refusals


@pytest.mark.parametrize(
    ("policy", "refusal"), (({"max_bytes": 1000}, QuotaExceeded), ({"max_size": 1000}, TooLarge))
)
def test_parts_that_come_at_once_and_are_too_much_end_their_upload(
    local_app: Holdall, policy: dict[str, Any], refusal: type[HoldallError]
) -> None:
    client = local_app.test_client()
    name = collection(client, **policy)
    upload = Multipart(client, metadata={"collection": name})
    refusals = sent_at_once(local_app, upload, 4)
    assert refusals
    assert {type(each) for each in refusals} <= {refusal, Gone}
    assert row_of(local_app, upload.id) is None
    assert stored(local_app) == []
    assert held(local_app) == []


def test_parts_that_come_at_once_and_fit_are_kept(local_app: Holdall) -> None:
    client = local_app.test_client()
    name = collection(client, max_bytes=4 * SIZE)
    upload = Multipart(client, metadata={"collection": name})
    assert sent_at_once(local_app, upload, 4) == []
    assert len(upload.listed().get_json()) == 4
    assert held(local_app) == [4 * SIZE]


def test_an_upload_given_up_while_bytes_come_holds_no_room(local_app: Holdall) -> None:
    client = local_app.test_client()
    name = collection(client, max_bytes=100_000_000)
    form = params(client, **{"metadata[collection]": name})

    def events() -> Iterator[FileStart | memoryview]:
        yield FileStart("file", "a.bin", None)
        yield memoryview(PNG)
        assert client.delete(f"/api/direct/{form['id']}").status_code == 204
        yield memoryview(bytes(20_000_000))

    with pytest.raises(Gone):
        parts(local_app).receipt.form(form["id"], None, events())
    assert held(local_app) == []
    assert stored(local_app) == []


def test_parts_are_counted_whatever_number_was_signed_first(
    app: Holdall, client: FlaskClient
) -> None:
    name = collection(client, max_bytes=2 * PART)
    upload = Multipart(client, metadata={"collection": name})
    assert upload.sign(10_000).status_code == 200
    refused = 0
    for number in range(1, 6):
        signed = upload.sign(number)
        if signed.status_code == 200:
            refused += send(client, signed.get_json(), content_of(PART)).status == 507
        else:
            refused += signed.status_code == 507
    assert refused >= 2


def test_a_form_is_no_larger_than_its_collection(app: Holdall, client: FlaskClient) -> None:
    name = collection(client, max_bytes=100_000)
    form = params(client, **{"metadata[collection]": name})
    assert send_form(client, form, content_of(300_000)).status >= 400
    assert stored(app) == []
    assert send_form(client, form, content_of(100_000)).status < 300
    assert client.post(form["confirm_url"]).status_code == 201


def test_a_type_that_no_database_has_text_for_does_no_harm(client: FlaskClient) -> None:
    begun = begin(client, PNG, content_type="image/\0png")
    assert send(client, begun, PNG).status == 200
    answer = client.post(begun["confirm_url"])
    assert answer.status_code == 201, answer.data
    assert answer.get_json()["declared_type"] == "image/png"
    told = f"filetype {b64encode(b'image/' + bytes(1) + b'png').decode()}"
    assert begin_tus(client, 3, Upload_Metadata=told)
