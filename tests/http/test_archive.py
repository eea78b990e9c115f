"""Many files as one zip, from every storage and database."""

import io
import zipfile
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import update

from app import Holdall
from models import File
from services import archive
from services.caller import EVERYONE
from storage.keys import new_key
from tests.conftest import MakeApp, parts
from tests.http.test_files import UNKNOWN, put
from tests.http.test_uploads import code
from tests.services.uploading import database_of
from tests.support.keyed import holder_of, keyed_app

LARGE = bytes(range(256)) * 4096 * 2  # 2 MiB: streamed, and not fetched ahead


@pytest.fixture
def files(client: FlaskClient) -> list[dict[str, Any]]:
    contents = (b"one", b"1", LARGE, b"two", b"three", b"four", b"five")
    names = ("a.txt", "plain", "large.bin", "a.txt", "é ☃.txt", "x.tar.gz", "A.TXT")
    return [put(client, name, content) for name, content in zip(names, contents, strict=True)]


def ids(files: list[dict[str, Any]]) -> str:
    return ",".join(file["id"] for file in files)


def unpacked(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as read:
        assert read.testzip() is None
        return {name: read.read(name) for name in read.namelist()}


def test_files_that_are_named_come_in_one_zip(
    client: FlaskClient, files: list[dict[str, Any]]
) -> None:
    answer = client.get(f"/api/archive?ids={ids(files)}&filename=Fotos%20März.zip")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/zip"
    assert answer.headers["Content-Length"] == str(len(answer.data))
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert "attachment" in answer.headers["Content-Disposition"]
    assert "Fotos%20M%C3%A4rz.zip" in answer.headers["Content-Disposition"]
    assert unpacked(answer.data) == {
        "a.txt": b"one",
        "plain": b"1",
        "large.bin": LARGE,
        "a (2).txt": b"two",
        "é ☃.txt": b"three",
        "x.tar.gz": b"four",
        "A (3).TXT": b"five",
    }


def test_a_download_that_was_cut_goes_on(client: FlaskClient, files: list[dict[str, Any]]) -> None:
    url = f"/api/archive?ids={ids(files)}"
    whole = client.get(url)
    tag = whole.headers["ETag"]
    for start in (0, 5, 40, len(LARGE), len(whole.data) - 30):
        wanted = {"Range": f"bytes={start}-", "If-Range": tag}
        rest = client.get(url, headers=wanted)
        assert rest.status_code == 206
        assert rest.data == whole.data[start:]
    middle = client.get(url, headers={"Range": "bytes=100-299"})
    assert middle.data == whole.data[100:300]
    several = client.get(url, headers={"Range": "bytes=0-1,4-5"})
    assert several.status_code == 200
    assert client.get(url, headers={"If-None-Match": tag}).status_code == 304
    assert client.get(url, headers={"Range": f"bytes={len(whole.data)}-"}).status_code == 416
    client.patch(f"/api/files/{files[0]['id']}", json={"filename": "other.txt"})
    changed = client.get(url, headers={"Range": "bytes=5-", "If-Range": tag})
    assert changed.status_code == 200


def test_head_says_what_get_would(client: FlaskClient, files: list[dict[str, Any]]) -> None:
    url = f"/api/archive?ids={ids(files)}"
    head, get = client.head(url), client.get(url)
    assert head.data == b""
    for name in ("Content-Length", "ETag", "Content-Type", "Last-Modified", "Accept-Ranges"):
        assert head.headers[name] == get.headers[name]


def test_all_that_a_list_would_show(client: FlaskClient, files: list[dict[str, Any]]) -> None:
    everything = unpacked(client.get("/api/archive?collection=default").data)
    assert len(everything) == len(files)
    assert set(unpacked(client.get("/api/archive?q=LARGE").data)) == {"large.bin"}
    some = unpacked(client.get("/api/archive?collection=default&type=text/*").data)
    assert "é ☃.txt" in some and "large.bin" not in some


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 400),
        (f"?ids={UNKNOWN}", 404),
        ("?ids=", 400),
        ("?ids=nothing", 404),
        ("?ids=../../etc/passwd", 404),
        (f"?ids={UNKNOWN}&collection=default", 400),
        ("?q=nobody-is-called-this", 404),
        ("?collection=no-such", 404),
        ("?ids=a%00b", 400),
        ("?unknown=1", 400),
    ],
)
def test_what_names_no_archive_is_refused(
    local_client: FlaskClient, query: str, status: int
) -> None:
    put(local_client, "a.txt")
    answer = local_client.get(f"/api/archive{query}")
    assert answer.status_code == status, answer.data
    assert code(answer)


def test_one_file_that_is_not_there_refuses_them_all(local_client: FlaskClient) -> None:
    file = put(local_client, "a.txt")
    answer = local_client.get(f"/api/archive?ids={file['id']},{UNKNOWN}")
    assert code(answer) == (404, "not_found")


def test_more_files_than_an_archive_holds_are_refused(
    local_client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MOST_FILES", 2)
    files = [put(local_client, f"{n}.txt") for n in range(3)]
    for query in (f"ids={ids(files)}", "collection=default"):
        answer = local_client.get(f"/api/archive?{query}")
        assert answer.status_code == 400
        assert "2 files" in answer.get_json()["error"]
    assert len(unpacked(local_client.get(f"/api/archive?ids={ids(files[1:])}").data)) == 2


def test_an_object_that_is_gone_before_the_first_byte_is_an_error(
    local_app: Holdall, local_client: FlaskClient
) -> None:
    files = [put(local_client, "a.bin", LARGE), put(local_client, "b.txt")]
    storage = parts(local_app).storages["local"]
    storage.delete(next(info.key for info in storage.scan() if info.size == len(LARGE)))
    assert local_client.get(f"/api/archive?ids={ids(files)}").status_code == 500


def test_an_object_that_is_gone_later_breaks_the_answer_off(
    local_app: Holdall, local_client: FlaskClient
) -> None:
    files = [put(local_client, f"{n}.bin", LARGE + bytes([n])) for n in range(2)]
    storage = parts(local_app).storages["local"]
    place = parts(local_app).files.for_delivery(files[1]["id"])
    assert place is not None
    storage.delete(place.key)
    with pytest.raises(Exception, match=place.key):
        local_client.get(f"/api/archive?ids={ids(files)}")


def test_a_file_that_moved_meanwhile_is_read_where_it_is_now(local_app: Holdall) -> None:
    client = local_app.test_client()
    contents = [b"small", LARGE]
    made = [put(client, f"{n}.bin", content) for n, content in enumerate(contents)]
    chosen = parts(local_app).archives.of_ids(EVERYONE, [file["id"] for file in made])
    for file in made:
        moved(local_app, file["id"])
    with chosen.open("") as body:
        assert list(unpacked(b"".join(body)).values()) == contents


def moved(app: Holdall, file_id: str) -> None:
    """Have a file's object lie under another key."""
    place = parts(app).files.for_delivery(file_id)
    assert place is not None
    storage, key = parts(app).storages["local"], new_key()
    storage.copy(place.key, key)
    with database_of(app).write() as session:
        session.execute(update(File).where(File.id == file_id).values(key=key))
    storage.delete(place.key)


def test_a_key_gets_an_archive_of_its_own_files_only(app_with: MakeApp) -> None:
    app = keyed_app(app_with)
    ours, theirs = holder_of(app, "read", "write"), holder_of(app, "read", "write")
    mine, other = put(ours, "mine.txt"), put(theirs, "other.txt")
    assert ours.get(f"/api/archive?ids={mine['id']},{other['id']}").status_code == 404
    assert set(unpacked(ours.get("/api/archive?collection=default").data)) == {"mine.txt"}
    assert holder_of(app, "write").get(f"/api/archive?ids={mine['id']}").status_code == 403
    assert app.test_client().get(f"/api/archive?ids={mine['id']}").status_code == 401
