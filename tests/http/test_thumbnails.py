"""Thumbnails under /uploads: who gets them, what the answers say, and where they are kept."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import delete
from werkzeug.test import TestResponse

from app import Holdall
from models import File
from services.caller import EVERYONE
from services.fsck_findings import Kind
from services.thumbnails_wanted import original_of, prefix_of
from storage.errors import StorageFull
from tests.conftest import MakeApp, objects, parts, s3_variables
from tests.http.test_links import link, stored
from tests.http.test_redirect import deliver, follow
from tests.services.checking import check, fails, keep
from tests.services.collecting import collect
from tests.services.moving import NEW, OLD, keys_of, move
from tests.services.moving import s3_variables as bucket
from tests.services.uploading import database_of, storage_of
from tests.support.keyed import PRIVATE, holder_of, keyed_app
from tests.support.pictures import corners, decoded, encoded, gif_of_many_frames, png

PICTURE = encoded(corners(1200, 800), "JPEG")


def put(client: FlaskClient, content: bytes = PICTURE, name: str = "a.jpg") -> dict[str, Any]:
    answer = client.put(f"/api/upload/{name}", data=content)
    assert answer.status_code == 201, answer.data
    file: dict[str, Any] = answer.get_json()
    return file


def thumbnails(app: Holdall) -> list[str]:
    return [key for key in objects(app) if original_of(key)]


def headers(answer: TestResponse) -> dict[str, str]:
    return {name: value for name, value in answer.headers if name != "X-Request-ID"}


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, local_app: Holdall) -> list[dict[str, Any]]:
    """The jobs that the application on local disk gives to its processes."""
    pool, jobs = parts(local_app).thumbnails._pool, []
    do = pool.do

    def noting(job: dict[str, Any], source: Any) -> Any:
        jobs.append(job)
        return do(job, source)

    monkeypatch.setattr(pool, "do", noting)
    return jobs


def test_a_thumbnail_is_made_once_kept_and_deleted_with_its_file(
    app: Holdall, client: FlaskClient
) -> None:
    file = put(client)
    first = client.get(f"{file['url']}?w=300")
    assert (first.status_code, first.headers["Content-Type"]) == (200, "image/webp")
    assert decoded(first.data).size == (320, 213)
    assert len(thumbnails(app)) == 1
    second = client.get(f"{file['url']}?w=320")
    assert (second.data, headers(second)) == (first.data, headers(first))
    assert client.get(f"{file['url']}?h=64&format=jpeg").headers["Content-Type"] == "image/jpeg"
    assert len(thumbnails(app)) == 2
    measured = client.get(f"/api/files/{file['id']}").get_json()["media"]
    assert measured == {"width": 1200, "height": 800, "orientation": 1}
    whole = client.get(file["url"])
    assert whole.data == PICTURE and whole.headers["ETag"] != first.headers["ETag"]
    assert not [each for each in parts(app).settings.scratch.iterdir() if each.is_file()]
    parts(app).files.delete(EVERYONE, file["id"])
    assert objects(app) == []


def test_all_that_can_be_asked_of_a_file_can_be_asked_of_a_thumbnail(
    app: Holdall, client: FlaskClient
) -> None:
    url = put(client)["url"] + "?w=160&h=160&fit=cover&format=jpeg"
    whole = client.get(url)
    assert decoded(whole.data).size == (160, 160)
    head = client.head(url)
    assert headers(head) == headers(whole) and head.data == b""
    assert int(head.headers["Content-Length"]) == len(whole.data)
    some = client.get(url, headers={"Range": "bytes=5-9"})
    assert (some.status_code, some.data) == (206, whole.data[5:10])
    several = client.get(url, headers={"Range": "bytes=0-0,5-9"})
    assert several.status_code == 206 and whole.data[5:10] in several.data
    assert client.get(url, headers={"Range": "bytes=999999-"}).status_code == 416
    tag = whole.headers["ETag"]
    assert client.get(url, headers={"If-None-Match": tag}).status_code == 304
    assert client.get(url, headers={"If-Match": '"other"'}).status_code == 412
    assert client.get(url, headers={"If-Match": tag}).status_code == 200
    assert client.options(url).status_code == 204


def test_what_a_client_has_is_not_made_again(
    local_client: FlaskClient, made: list[dict[str, Any]]
) -> None:
    url = put(local_client)["url"] + "?w=64"
    tag = local_client.get(url).headers["ETag"]
    other = put(local_client)
    assert other["sha256"] in tag
    again = local_client.get(f"{other['url']}?w=64", headers={"If-None-Match": tag})
    assert (again.status_code, again.data) == (304, b"")
    assert len(made) == 1


@pytest.mark.parametrize("query", ["?w=64", "?h=64&format=auto", "?fit=cover&w=64&h=64", "?w=x"])
def test_the_short_way_says_what_the_other_says(local_client: FlaskClient, query: str) -> None:
    url = put(local_client)["url"] + query
    for asked in ({}, {"Range": "bytes=2-5"}, {"Accept": "image/avif"}, {"If-None-Match": "*"}):
        for method in ("GET", "HEAD"):
            short = local_client.open(url, method=method, headers=asked)
            long = local_client.open(url + "&download=0", method=method, headers=asked)
            assert (short.status_code, short.data) == (long.status_code, long.data)
            assert headers(short) == headers(long)


def test_how_long_a_thumbnail_is_kept_by_caches_is_what_holds_for_its_file(
    local_client: FlaskClient,
) -> None:
    file = put(local_client)
    for url in (file["url"], f"/uploads/{file['id']}", f"/uploads/{file['id']}/old.jpg"):
        of_file = local_client.get(url).headers["Cache-Control"]
        assert local_client.get(f"{url}?w=64").headers["Cache-Control"] == of_file
    saved = local_client.get(f"{file['url']}?w=64&download=1").headers["Content-Disposition"]
    assert saved.startswith("attachment") and "a.webp" in saved
    assert "Repr-Digest" not in local_client.get(f"{file['url']}?w=64").headers


def test_what_is_chosen_by_accept_says_so(app_with: MakeApp) -> None:
    client = app_with(CORS_ORIGINS="https://app.example").test_client()
    url = put(client)["url"] + "?w=64&format=auto"
    types = {}
    for accept in ("image/avif,image/webp,*/*", "image/webp", "*/*"):
        answer = client.get(url, headers={"Accept": accept})
        types[answer.headers["Content-Type"]] = answer.headers["ETag"]
        assert answer.headers.getlist("Vary") == ["Accept, Origin"]
        tag = {"Accept": accept, "If-None-Match": answer.headers["ETag"]}
        unchanged = client.get(url, headers=tag)
        assert unchanged.status_code == 304
        assert unchanged.headers.getlist("Vary") == ["Accept, Origin"]
    assert list(types) == ["image/avif", "image/webp", "image/jpeg"]
    assert len(set(types.values())) == 3
    fixed = client.get(url.replace("auto", "webp"))
    assert fixed.headers.getlist("Vary") == ["Origin"]


@pytest.mark.parametrize(
    ("content", "name", "query", "status", "code"),
    [
        (PICTURE, "a.jpg", "?w=0", 400, "invalid_field"),
        (PICTURE, "a.jpg", "?w=1&w=2", 400, "invalid_field"),
        (PICTURE, "a.jpg", "?fit=cover&w=9", 400, "invalid_field"),
        (PICTURE, "a.jpg", "?format=webp", 400, "invalid_field"),
        (b"just text", "a.txt", "?w=64", 415, "not_an_image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "a.svg", "?w=64", 415, "not_an_image"),
        (b"%PDF-1.7\n", "a.pdf", "?w=64", 415, "not_an_image"),
        (encoded(corners(), "TIFF"), "a.tiff", "?w=64", 415, "not_an_image"),
        (PICTURE[:3000], "a.jpg", "?w=64", 422, "image_refused"),
        (png(50_000, 50_000, bytes(9)), "a.png", "?w=64", 422, "image_refused"),
    ],
)
def test_what_cannot_be_made_is_refused_and_leaves_nothing(
    local_app: Holdall,
    local_client: FlaskClient,
    content: bytes,
    name: str,
    query: str,
    status: int,
    code: str,
) -> None:
    file = put(local_client, content, name)
    for method in ("GET", "HEAD"):
        answer = local_client.open(file["url"] + query, method=method)
        assert answer.status_code == status
        assert answer.headers["Cache-Control"] == "no-store"
    answer = local_client.get(file["url"] + query)
    assert answer.get_json()["code"] == code and answer.get_json()["error"]
    assert thumbnails(local_app) == []


def test_an_image_that_was_refused_is_not_tried_again_at_any_size(
    local_client: FlaskClient, made: list[dict[str, Any]]
) -> None:
    url = put(local_client, PICTURE[:3000])["url"]
    answers = [local_client.get(f"{url}?w={size}").get_json() for size in (64, 64, 160, 320)]
    assert answers[1:] == answers[:1] * 3
    assert len(made) == 1


def test_a_crowd_that_asks_for_one_thumbnail_has_it_made_once(
    local_app: Holdall, local_client: FlaskClient, made: list[dict[str, Any]]
) -> None:
    url = put(local_client)["url"]
    together = threading.Barrier(12)

    def ask(_: int) -> tuple[int, bytes]:
        together.wait()
        answer = local_app.test_client().get(f"{url}?w=640")
        return answer.status_code, answer.data

    with ThreadPoolExecutor(12) as threads:
        answers = set(threads.map(ask, range(12)))
    assert len(answers) == len(made) == 1
    assert answers.pop()[0] == 200


def test_when_too_many_are_being_made_a_client_is_told_when_to_come_back(
    local_app: Holdall, local_client: FlaskClient
) -> None:
    url = put(local_client)["url"]
    parts(local_app).thumbnails._pool._waiting = 64
    answer = local_client.get(f"{url}?w=64")
    assert (answer.status_code, answer.get_json()["code"]) == (503, "thumbnails_busy")
    assert answer.headers["Retry-After"] == "2"
    parts(local_app).thumbnails._pool._waiting = 0
    assert local_client.get(f"{url}?w=64").status_code == 200


def test_a_private_file_has_private_thumbnails(app_with: MakeApp) -> None:
    app = keyed_app(app_with)
    owner = holder_of(app, "read", "write")
    file = owner.put(f"/api/upload/a.jpg?collection={PRIVATE}", data=PICTURE).get_json()
    url = f"{file['url']}?w=64"
    mine = owner.get(url)
    assert (mine.status_code, mine.headers["Cache-Control"]) == (200, "private, no-store")
    for other in (app.test_client(), holder_of(app, "read", "write")):
        refused = other.get(url)
        assert refused.status_code == 404
        conditional = other.get(url, headers={"If-None-Match": mine.headers["ETag"]})
        assert conditional.status_code == 404
        assert other.get(f"{file['url']}?w=x").status_code == 404
        missing = other.get("/uploads/" + "a" * 26 + "/a.jpg?w=64")
        assert missing.get_json() == refused.get_json()


def test_a_signed_link_gives_thumbnails_and_no_more_than_it_was_signed_for(
    local_app: Holdall, local_client: FlaskClient
) -> None:
    stored(local_app, local_client)
    one, other = (
        local_client.put("/api/upload/a.jpg?collection=secrets", data=PICTURE).get_json()
        for _ in range(2)
    )
    url = link(local_client, one, expires_in=60)["url"]
    answer = local_app.test_client().get(f"{url}&w=64&format=auto")
    assert (answer.status_code, decoded(answer.data).size) == (200, (64, 43))
    assert answer.headers["Cache-Control"].startswith("public, max-age=")
    stolen = url.replace(one["id"], other["id"])
    later = url.replace("expires=", "expires=9")
    before = url.replace("?", "?w=64&")
    for wrong in (stolen + "&w=64", later + "&w=64", before, f"{url}&w=64&x=1", f"{url}x&w=64"):
        assert local_app.test_client().get(wrong).status_code == 403


def test_a_thumbnail_that_cannot_be_kept_is_sent_all_the_same(
    local_app: Holdall, local_client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = put(local_client)["url"] + "?w=64"

    def full(*_: object, **__: object) -> None:
        raise StorageFull("no room")

    with monkeypatch.context() as patched:
        patched.setattr(storage_of(local_app), "create", full)
        answers = [local_client.get(url), local_client.get(url, headers={"Range": "bytes=3-9"})]
    assert thumbnails(local_app) == []
    kept = local_client.get(url)
    assert (answers[0].data, answers[1].data) == (kept.data, kept.data[3:10])


def test_a_store_that_is_down_is_said_to_be(
    local_app: Holdall, local_client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = put(local_client)["url"] + "?w=64"
    fails(monkeypatch, local_app, "open")
    assert local_client.get(url).get_json()["code"] == "storage_unavailable"


def test_a_file_that_is_deleted_while_its_thumbnail_is_made_leaves_none(
    local_app: Holdall, local_client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = put(local_client)
    pool = parts(local_app).thumbnails._pool
    do = pool.do

    def deleting(job: dict[str, Any], source: Any) -> Any:
        result = do(job, source)
        parts(local_app).files.delete(EVERYONE, file["id"])
        return result

    monkeypatch.setattr(pool, "do", deleting)
    assert local_client.get(f"{file['url']}?w=64").status_code == 200
    assert objects(local_app) == []


def test_fsck_and_gc_leave_thumbnails_alone_while_their_file_lives(
    app: Holdall, client: FlaskClient
) -> None:
    file = put(client)
    for size in (64, 160, 320):
        client.get(f"{file['url']}?w={size}")
    keep(app, b"text", key="zz/" + "z" * 26 + "01w64")
    kept = thumbnails(app)[:3]
    checked = check(app, repair=True)
    assert checked.tally.thumbnails == 3 and checked.tally.unnamed == 0
    assert [(each.kind, each.deleted) for each in checked.findings] == [(Kind.ORPHAN, True)]
    assert collect(app) == [] and thumbnails(app) == kept
    put(client)
    with database_of(app).write() as session:
        session.execute(delete(File).where(File.id == file["id"]))
    assert len(collect(app)) == 4
    assert len(objects(app)) == 1


def test_a_moved_file_leaves_its_thumbnails_behind_and_gets_new_ones(
    app_with: MakeApp, request: pytest.FixtureRequest
) -> None:
    old, new = (bucket(request.getfixturevalue("s3_server"), name) for name in (OLD, NEW))
    app = app_with(**old, **new, STORAGE_BACKEND=OLD)
    client = app.test_client()
    url = put(client)["url"] + "?w=64"
    before = client.get(url)
    assert len(keys_of(parts(app).storages[OLD])) == 2
    move(app, delete_source=True)
    assert keys_of(parts(app).storages[OLD]) == []
    after = client.get(url)
    assert (after.data, headers(after)) == (before.data, headers(before))
    assert len(keys_of(parts(app).storages[NEW])) == 2


def test_a_store_sends_thumbnails_as_it_sends_files(
    app_with: MakeApp, request: pytest.FixtureRequest
) -> None:
    app = app_with(**s3_variables(request))
    client = app.test_client()
    url = put(client)["url"] + "?w=64"
    own = client.get(url)
    deliver(app, "redirect")
    sent = client.get(url)
    assert sent.status_code == 302
    status, told, data = follow(sent.headers["Location"])
    assert (status, data, told["content-type"]) == (200, own.data, "image/webp")
    chosen = client.get(url + "&format=auto", headers={"Accept": "image/webp"})
    assert (chosen.status_code, chosen.data) == (200, own.data)


def test_images_are_measured_soon_after_they_are_published(
    app: Holdall, client: FlaskClient
) -> None:
    files = [put(client), put(client, gif_of_many_frames(9), "a.gif"), put(client, b"text", "a")]
    broken = put(client, PICTURE[:100])
    media = parts(app).media
    media._take_one()
    assert client.get(f"/api/files/{files[0]['id']}").get_json()["media"]["width"] == 1200
    assert media.run() == 2
    assert media.run() == 0
    found = [client.get(f"/api/files/{each['id']}").get_json()["media"] for each in files]
    assert found[1:] == [{"width": 1, "height": 1, "orientation": 1}, None]
    assert client.get(f"/api/files/{broken['id']}").get_json()["media"] == {}


def test_an_image_whose_store_was_down_is_measured_later(
    local_app: Holdall, local_client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(local_client)
    with monkeypatch.context() as patched:
        fails(patched, local_app, "open")
        assert parts(local_app).media.run() == 0
    assert parts(local_app).media.run() == 1


def test_the_prefix_of_a_file_is_that_of_its_thumbnails_alone(local_app: Holdall) -> None:
    key = "zz/" + "z" * 26
    for each in (key, key + "01w64", key[:-1] + "y", key + "a" * 26):
        keep(local_app, b"x", key=each)
    assert [info.key for info in storage_of(local_app).scan(prefix_of(key))] == [key + "01w64"]


@pytest.mark.parametrize("query", ("w=1&" * 6, "w=1&x=1&" * 4, "w=1&fit=cover&h=1&w=2"))
def test_a_query_of_too_many_words_is_refused(local_client: FlaskClient, query: str) -> None:
    file = put(local_client)
    answer = local_client.get(f"{file['url']}?{query}")
    assert (answer.status_code, answer.get_json()["code"]) == (400, "invalid_field")
