"""Direct uploads when steps break off, run at once, or never come; and who may go on with one."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from app import Holdall
from models import ApiKey, File, now
from services.caller import ANONYMOUS, Caller, UploadLink
from services.direct import Direct
from services.errors import Conflict, FileNotFound, Locked, NotSignedIn
from services.intake import Declaration
from services.locks import Locks
from storage.capabilities import Multipart as MultipartStore
from storage.errors import StorageUnavailable
from tests.conftest import parts
from tests.http.test_direct import Multipart, begin, content_of, send
from tests.http.test_direct_refused import HTML, collection
from tests.http.test_uploads import PNG
from tests.services.uploading import PART, change, database_of, row_of, storage_of, stored

FILE = Declaration("a.bin", size=10)


def direct(app: Holdall) -> Direct:
    return parts(app).direct


def end(app: Holdall, upload_id: str) -> None:
    """Let an upload have expired a second ago."""
    change(app, upload_id, expires_at=now() - timedelta(seconds=1))


def sweep(app: Holdall) -> int:
    return parts(app).expiry.run()


def files(client: FlaskClient) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = client.get("/api/files").get_json()["items"]
    return items


def break_once(monkeypatch: pytest.MonkeyPatch, target: object, name: str, *, after: bool) -> None:
    """Let a method's next call break off before or after its act, and work again from then on."""
    works = getattr(target, name)

    def fail(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(target, name, works)
        if after:
            works(*arguments, **options)
        raise StorageUnavailable("it is down")

    monkeypatch.setattr(target, name, fail)


def sent_whole(client: FlaskClient, content: bytes = PNG) -> dict[str, Any]:
    begun = begin(client, content)
    assert send(client, begun, content).status == 200
    return begun


def sent_in_parts(client: FlaskClient) -> Multipart:
    upload = Multipart(client)
    upload.put(1, content_of(PART))
    upload.put(2, PNG)
    return upload


# Steps that break off


@pytest.mark.parametrize("after", (False, True), ids=("before", "after"))
@pytest.mark.parametrize("step", ("copy", "publish"))
def test_a_confirmation_that_broke_off_is_done_again(
    app: Holdall, client: FlaskClient, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    begun = sent_whole(client)
    target = storage_of(app) if step == "copy" else parts(app).publishing
    break_once(monkeypatch, target, step, after=after)
    assert client.post(begun["confirm_url"]).status_code == 503
    again = client.post(begun["confirm_url"])
    assert again.status_code in (200, 201), again.data
    (file,) = files(client)
    assert again.get_json() == file
    assert client.get(file["url"]).data == PNG
    end(app, begun["id"])
    sweep(app)
    assert len(stored(app)) == 1
    assert client.get(file["url"]).data == PNG


@pytest.mark.parametrize("after", (False, True), ids=("before", "after"))
@pytest.mark.parametrize("step", ("complete", "publish"))
def test_a_completion_that_broke_off_is_done_again(
    app: Holdall, client: FlaskClient, monkeypatch: pytest.MonkeyPatch, step: str, after: bool
) -> None:
    upload = sent_in_parts(client)
    target = storage_of(app) if step == "complete" else parts(app).publishing
    break_once(monkeypatch, target, step, after=after)
    assert upload.complete().status_code == 503
    again = upload.complete()
    assert again.status_code == 200, again.data
    (file,) = files(client)
    assert client.get(file["url"]).data == content_of(PART) + PNG
    assert len(stored(app)) == 1


@pytest.mark.parametrize("step", ("complete", "publish"))
def test_a_completion_that_broke_off_is_finished_when_it_expires(
    app: Holdall, client: FlaskClient, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    upload = sent_in_parts(client)
    target = storage_of(app) if step == "complete" else parts(app).publishing
    break_once(monkeypatch, target, step, after=step == "complete")
    assert upload.complete().status_code == 503
    end(app, upload.id)
    assert sweep(app) == 0
    (file,) = files(client)
    assert client.get(file["url"]).data == content_of(PART) + PNG
    assert len(stored(app)) == 1
    sweep(app)
    assert row_of(app, upload.id) is None


@pytest.mark.parametrize("step", ("copy", "publish"))
def test_a_confirmation_that_broke_off_for_good_is_collected(
    app: Holdall, client: FlaskClient, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    begun = sent_whole(client)
    target = storage_of(app) if step == "copy" else parts(app).publishing
    break_once(monkeypatch, target, step, after=step == "copy")
    assert client.post(begun["confirm_url"]).status_code == 503
    end(app, begun["id"])
    assert sweep(app) == 1
    assert stored(app) == []
    assert files(client) == []


def test_bytes_that_change_while_they_are_looked_at_are_not_published(
    app: Holdall, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = PNG.ljust(len(HTML), b"\0")
    name = collection(client, "pictures", allowed_types=["image/*"])
    begun = begin(client, content, collection=name)
    assert send(client, begun, content).status == 200
    storage = storage_of(app)
    copy = storage.copy

    def swap(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(storage, "copy", copy)
        assert send(client, begun, HTML.ljust(len(content))).status == 200
        return copy(*arguments, **options)

    monkeypatch.setattr(storage, "copy", swap)
    assert client.post(begun["confirm_url"]).status_code == 409
    assert files(client) == []
    assert client.post(begun["confirm_url"]).status_code == 415
    assert stored(app) == []


def test_a_part_that_was_replaced_is_no_part_that_was_named(
    app: Holdall, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload = Multipart(client)
    upload.put(1, PNG)
    signed = upload.sign(1).get_json()
    storage = storage_of(app)
    assert isinstance(storage, MultipartStore)
    complete = storage.complete

    def swap(*arguments: Any) -> Any:
        monkeypatch.setattr(storage, "complete", complete)
        # The service itself takes no part by now; a store does.
        assert send(client, signed, HTML).status in (200, 409)
        return complete(*arguments)

    monkeypatch.setattr(storage, "complete", swap)
    answer = upload.complete()
    assert answer.status_code in (200, 409), answer.data
    if answer.status_code == 409:
        assert files(client) == []
        (part,) = upload.listed().get_json()
        answer = upload.complete([part])
        assert client.get(answer.get_json()["url"]).data == HTML
    else:
        assert client.get(answer.get_json()["url"]).data == PNG
    assert len(stored(app)) == 1


# At once


@pytest.mark.parametrize("how", ("whole", "parts"))
def test_confirmations_at_once_make_one_file(app: Holdall, client: FlaskClient, how: str) -> None:
    upload = sent_in_parts(client) if how == "parts" else None
    begun = {} if upload else sent_whole(client)
    statuses, ids = [], set()
    together = threading.Barrier(6)

    def confirm() -> None:
        mine = app.test_client()
        together.wait()
        if upload is None:
            answer = mine.post(begun["confirm_url"])
        else:
            answer = mine.post(
                f"{upload.url}/complete", query_string=upload.key, json={"parts": upload.parts}
            )
        statuses.append(answer.status_code)
        if answer.status_code < 300:
            ids.add(answer.get_json()["id"])

    threads = [threading.Thread(target=confirm) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) <= {200, 201, 423}, statuses
    assert len(ids) == len(files(client)) == len(stored(app)) == 1


def test_who_comes_while_another_is_at_it_waits(local_app: Holdall) -> None:
    client = local_app.test_client()
    begun = sent_whole(client)
    with Locks(database_of(local_app)).hold(begun["id"]):
        end(local_app, begun["id"])
        with pytest.raises(Locked):
            direct(local_app).expire(begun["id"])
    assert sweep(local_app) == 1
    assert stored(local_app) == []


# Whose it is


def key(app: Holdall, name: str, *, collection: str | None = None) -> Caller:
    """Return the holder of a new key that may read, write and delete."""
    scopes = ["read", "write", "delete"]
    row = ApiKey(
        id=name * 26,
        name=name,
        hash=name.encode() * 32,
        hint="",
        scopes=scopes,
        collection=collection,
    )
    with database_of(app).write() as session:
        session.add(row)
    return Caller(name * 26, frozenset(scopes), collection)


def test_what_is_anothers_is_not_found(local_app: Holdall) -> None:
    mine, other = key(local_app, "a"), key(local_app, "b")
    uploads = direct(local_app)
    whole, in_parts = uploads.begin_put(mine, FILE), uploads.begin_parts(mine, FILE)
    link = UploadLink("l" * 26, None, int(now().timestamp()) + 600)
    by_link = Caller("a" * 26, frozenset({"write"}), "default", link)
    for caller in (other, by_link):
        for ask in (
            lambda caller=caller: uploads.confirm(caller, whole.id),
            lambda caller=caller: uploads.confirm_key(caller, whole.key),
            lambda caller=caller: uploads.abort(caller, whole.id),
            lambda caller=caller: uploads.sign_part(caller, in_parts.id, in_parts.key, 1),
            lambda caller=caller: uploads.parts(caller, in_parts.id, in_parts.key),
            lambda caller=caller: uploads.complete(caller, in_parts.id, in_parts.key, [(1, "")]),
            lambda caller=caller: uploads.abort(caller, in_parts.id, in_parts.key),
        ):
            with pytest.raises(FileNotFound):
                ask()
    with pytest.raises(NotSignedIn):
        uploads.confirm(ANONYMOUS, whole.id)
    with pytest.raises(Conflict):
        uploads.confirm(mine, whole.id)
    uploads.abort(mine, in_parts.id, in_parts.key)
    assert row_of(local_app, whole.id) is not None


def test_a_link_has_one_file_by_this_way_too(app: Holdall, client: FlaskClient) -> None:
    answer = client.post("/api/upload-links", json={"expires_in": 600, "max_size": 1000})
    by = f"/api/direct/by/{answer.get_json()['token']}"
    asked = {"filename": "a", "size": len(PNG)}
    one, two = (client.post(by, json=asked).get_json() for _ in range(2))
    assert client.post(by, json=asked | {"size": 1001}).status_code == 413
    send(client, one, PNG)
    send(client, two, PNG)
    first = client.post(f"{by}/confirm", json={"key": one["key"]})
    second = client.post(f"{by}/confirm", json={"key": two["key"]})
    assert (first.status_code, second.status_code) == (201, 410), second.data
    assert client.post(by, json=asked).status_code == 410
    assert [file["id"] for file in files(client)] == [first.get_json()["id"]]
    end(app, two["id"])
    sweep(app)
    assert len(stored(app)) == 1


def test_a_file_that_is_gone_is_told_as_gone(client: FlaskClient) -> None:
    begun = sent_whole(client)
    file = client.post(begun["confirm_url"]).get_json()
    assert client.delete(f"/api/files/{file['id']}").status_code == 204
    assert client.post(begun["confirm_url"]).status_code == 404
    assert files(client) == []


def test_it_stays_on_the_backend_where_its_bytes_are(app: Holdall, client: FlaskClient) -> None:
    name = collection(client)
    begun = begin(client, PNG, collection=name)
    send(client, begun, PNG)
    other = "local" if parts(app).settings.storage_backend == "s3" else None
    if other is not None:
        assert client.patch(f"/api/collections/{name}", json={"backend": other}).status_code == 200
    file = client.post(begun["confirm_url"]).get_json()
    assert client.get(file["url"]).data == PNG
    with database_of(app).read() as session:
        backend = session.scalar(select(File.backend).where(File.id == file["id"]))
    assert backend == parts(app).settings.storage_backend
