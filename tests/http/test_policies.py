"""What a collection asks of files holds at every door, and a refusal leaves nothing behind."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, cast

import pytest
from flask.testing import FlaskClient

from app import Holdall
from models import Upload
from services import policy
from services.caller import EVERYONE
from services.errors import Gone
from storage.base import Storage
from tests.conftest import MakeApp, objects, parts
from tests.http.doors import ALL, EVERY_DOOR, Door, Named, bare, file_by, tus_joined
from tests.http.test_uploads import PDF, PNG, code
from tests.services.test_quotas import reservations
from tests.services.uploading import database_of

RULES = "rules"
HTML = b"<!doctype html><html><script>alert(1)</script></html>" * 4


@pytest.fixture(autouse=True)
def policies_are_never_old(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(policy, "KNOWN_FOR", -1.0)
    yield


def ask(app: Holdall, **fields: Any) -> FlaskClient:
    """Have the collection ask these, and return a client."""
    parts(app).collections.set(EVERYONE, RULES, fields)
    return app.test_client()


def assert_nothing_is_left(app: Holdall) -> None:
    """Check that there are no files, objects and held room, and no upload of any file."""
    assert app.test_client().get("/api/files").get_json()["total"] == 0
    assert reservations(app) == []
    with database_of(app).read() as session:
        whole = [row for row in session.query(Upload) if row.protocol_state["role"] != "part"]
    assert [(row.state, row.offset) for row in whole if row.offset] == []
    assert objects(app) == []


def without_uploads(app: Holdall) -> None:
    """End the uploads that may yet go on another way: parts, and those whose length was refused."""
    with database_of(app).read() as session:
        ids = [row.id for row in session.query(Upload) if row.file_id is None]
    for each in ids:
        with suppress(Gone):
            parts(app).uploads.terminate(EVERYONE, each)
    parts(app).expiry.run()


@EVERY_DOOR
def test_types_are_those_of_the_bytes(local_app: Holdall, door: Door) -> None:
    client = ask(local_app, allowed_types=["image/*", "application/pdf"])
    for liar in (Named("a.png", "image/png", RULES), Named("a.pdf", "", RULES)):
        refused = door(client, HTML, liar)
        assert code(refused) == (415, "type_not_allowed")
        without_uploads(local_app)
        assert_nothing_is_left(local_app)
    for data, kind in ((PNG, "image/png"), (PDF, "application/pdf")):
        file = file_by(client, door(client, data, Named("a.txt", "text/plain", RULES)))
        assert (file["content_type"], file["type_mismatch"]) == (kind, True)


@EVERY_DOOR
def test_a_mismatch_is_refused_where_that_is_asked(local_app: Holdall, door: Door) -> None:
    client = ask(local_app, on_mismatch="reject")
    assert code(door(client, PNG, Named("a.jpg", "image/jpeg", RULES)))[0] == 415
    without_uploads(local_app)
    assert_nothing_is_left(local_app)
    for honest in ("image/png", "application/octet-stream"):
        answer = door(client, PNG, Named("a.jpg", honest, RULES))
        assert file_by(client, answer)["content_type"] == "image/png"


@EVERY_DOOR
def test_sizes_are_bounded(local_app: Holdall, door: Door) -> None:
    client = ask(local_app, max_size=1000)
    assert code(door(client, bytes(1001), Named(collection=RULES)))[0] == 413
    without_uploads(local_app)
    assert_nothing_is_left(local_app)
    assert file_by(client, door(client, bytes(1000), Named(collection=RULES)))["size"] == 1000


@EVERY_DOOR
def test_quotas_are_kept(app: Holdall, door: Door) -> None:
    client = ask(app, max_bytes=2500, max_files=2)

    def assert_refused(size: int) -> None:
        answer = door(client, bytes(size), Named(collection=RULES))
        assert code(answer) == (507, "quota_exceeded")
        assert answer.headers["Retry-After"]
        without_uploads(app)
        assert reservations(app) == []

    assert_refused(2501)
    assert_nothing_is_left(app)
    file_by(client, door(client, bytes(1000), Named(collection=RULES)))
    assert_refused(1501)
    last = file_by(client, door(client, bytes(1500), Named(collection=RULES)))
    assert_refused(0)
    client.delete(f"/api/files/{last['id']}")
    file_by(client, door(client, b"", Named(collection=RULES)))


@EVERY_DOOR
def test_visibility_expiry_and_collection_are_the_policys(local_app: Holdall, door: Door) -> None:
    client = ask(local_app, visibility="private", expires_in=3600)
    file = file_by(client, door(client, PNG, Named("a.png", "image/png", RULES)))
    assert (file["collection"], file["visibility"]) == (RULES, "private")
    assert file["expires_at"] > file["created_at"]
    plain = file_by(client, door(client, PNG, Named("a.png", "image/png")))
    assert (plain["collection"], plain["visibility"]) == ("default", "public")
    assert plain["expires_at"] is None


@EVERY_DOOR
def test_files_go_to_the_backend_of_their_collection(app_with: MakeApp, door: Door) -> None:
    app = app_with(STORAGE_BACKEND="local", STORAGE_ARCHIVE_URL="file:///tmp/unused")
    storages = cast(dict[str, Storage], parts(app).storages)
    storages["archive"] = app_with().extensions["holdall"].storages["local"]
    client = ask(app, backend="archive")
    file = file_by(client, door(client, PNG, Named(collection=RULES)))
    kept = [info.size for info in storages["archive"].scan()]
    assert len(PNG) in kept and objects(app) == []
    assert client.get(file["url"]).data == PNG


@EVERY_DOOR
@pytest.mark.parametrize("name", ("nowhere", "default/../rules", "a" * 300, "x\0y", "Rules"))
def test_an_unknown_collection_is_not_found(local_app: Holdall, door: Door, name: str) -> None:
    client = ask(local_app)
    assert code(door(client, PNG, Named(collection=name)))[0] in (400, 404)
    assert_nothing_is_left(local_app)


@EVERY_DOOR
def test_nobody_sets_what_is_not_theirs_to_say(local_app: Holdall, door: Door) -> None:
    client = ask(local_app)
    file = file_by(client, door(client, PNG, Named("a.html", "text/html", RULES)))
    assert (file["content_type"], file["collection"]) == ("image/png", RULES)


def test_a_change_counts_in_another_process_within_a_second(
    app_with: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "KNOWN_FOR", 0.5)
    one = app_with()
    database = str(database_of(one).engine.url)
    other = app_with(DATABASE_URL=database).test_client()
    ask(one, max_size=1000)
    assert other.put(f"/api/upload/a?collection={RULES}", data=bytes(100)).status_code == 201
    ask(one, max_size=10)
    time.sleep(0.6)
    refused = other.put(f"/api/upload/a?collection={RULES}", data=bytes(100))
    assert code(refused) == (413, "too_large")


def test_what_is_asked_meanwhile_counts_at_the_end(local_app: Holdall) -> None:
    client = ask(local_app)
    said = {"Tus-Resumable": "1.0.0", "Upload-Length": "20000"}
    url = client.post(f"/api/tus?collection={RULES}", headers=said).headers["Location"]
    appended = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream"}
    whole = b"plain text\n" * 2000
    client.patch(url, data=whole[:10_000], headers=appended | {"Upload-Offset": "0"})
    ask(local_app, allowed_types=["image/*"])
    refused = client.patch(
        url, data=whole[10_000:20_000], headers=appended | {"Upload-Offset": "10000"}
    )
    assert code(refused) == (415, "type_not_allowed")
    assert_nothing_is_left(local_app)


# Renames


def rename(client: FlaskClient, file: dict[str, Any], filename: str) -> Any:
    return client.patch(
        f"/api/files/{file['id']}",
        data=json.dumps({"filename": filename}),
        content_type="application/json",
    )


def test_a_rename_is_judged_by_the_bytes_and_the_new_name(app: Holdall) -> None:
    client = ask(app)
    file = client.put(f"/api/upload/a.txt?collection={RULES}", data=b"a,b\n").get_json()
    assert file["content_type"] == "text/plain"
    renamed = rename(client, file, "table.CSV").get_json()
    assert (renamed["filename"], renamed["content_type"]) == ("table.CSV", "text/csv")
    assert renamed["sha256"] == file["sha256"]
    listed = client.get("/api/files?type=text/csv").get_json()
    assert listed["total"] == 1
    for name in ("page.html", "image.svg", "script.js", "none"):
        assert rename(client, file, name).get_json()["content_type"] == "text/plain"


def test_a_rename_to_what_is_not_taken_is_refused(app: Holdall) -> None:
    client = ask(app, allowed_types=["text/plain", "image/*"])
    file = client.put(f"/api/upload/a.txt?collection={RULES}", data=b"a,b\n").get_json()
    refused = rename(client, file, "table.csv")
    assert code(refused) == (415, "type_not_allowed")
    assert client.get(f"/api/files/{file['id']}").get_json() == file
    assert rename(client, file, "b.txt").status_code == 200
    picture = client.put(f"/api/upload/a.png?collection={RULES}", data=PNG).get_json()
    assert rename(client, picture, "a.html").get_json()["content_type"] == "image/png"
    empty = bare(client, b"", Named("a")).get_json()
    assert rename(client, empty, "a.csv").get_json()["content_type"] == "application/x-empty"


def test_a_mismatch_by_rename_is_refused_where_that_is_asked(local_app: Holdall) -> None:
    client = ask(local_app, on_mismatch="reject")
    file = client.put(
        f"/api/upload/a.txt?collection={RULES}", data=b"a,b\n", content_type="text/plain"
    ).get_json()
    assert code(rename(client, file, "a.csv")) == (415, "type_not_allowed")
    assert rename(client, file, "b.txt").status_code == 200


def test_a_rename_with_a_libmagic_that_fails_forgets_nothing(
    local_app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = ask(local_app)
    file = client.put(f"/api/upload/a.png?collection={RULES}", data=PNG).get_json()
    sniffer = parts(local_app).ingest.sniffer

    def fail(*_: object) -> str:
        raise RuntimeError("libmagic is gone")

    monkeypatch.setattr(sniffer, "_detect", fail)
    assert rename(client, file, "a.jpg").get_json()["content_type"] == "image/png"


def test_every_door_is_one_that_uploads(local_app: Holdall) -> None:
    client = ask(local_app)
    for door in ALL:
        file_by(client, door(client, PNG, Named(collection=RULES)))
    spare = 2 if tus_joined in ALL else 0
    assert len(objects(local_app)) == len(ALL) + spare
