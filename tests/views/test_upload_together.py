"""Small forms that are taken together are answered as each is by itself, and share a commit."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import delete, event
from sqlalchemy.exc import OperationalError

import views.upload_together
from app import Holdall
from models import Collection
from services.caller import EVERYONE
from services.errors import CollectionNotFound, HoldallError, NoFileProvided, TruncatedBody
from services.files import FileInfo
from services.ingest import Intake
from services.listing import Query
from tests.conftest import MakeApp, objects, parts
from tests.http.test_upload_front import VARY
from tests.services.uploading import database_of
from tests.support.keyed import keyed_app, new_key
from views.at_once import Ready
from views.upload_together import UploadsTogether
from worker.forms import Form

TYPE = "multipart/form-data; boundary=b"
OWN = {"host": "localhost", "content-type": TYPE}


def part(name: str = "a.txt", content: str = "some text") -> str:
    disposition = f'Content-Disposition: form-data; name="file"; filename="{name}"'
    return f"--b\r\n{disposition}\r\n\r\n{content}\r\n"


def form(*pieces: str, end: str = "--b--\r\n", **headers: str) -> Form:
    body = "".join(pieces or [part()]).encode() + end.encode()
    given = OWN | {name.replace("_", "-"): value for name, value in headers.items()}
    return Form(given, body, ("127.0.0.1", 1), True, len(body))


def field(name: str, value: str) -> str:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no form left alone because the machine is busy."""
    monkeypatch.setattr(views.upload_together, "QUICK", 60)


@pytest.fixture
def commits(local_app: Holdall) -> Iterator[list[object]]:
    engine, seen = database_of(local_app).engine, list[object]()
    note = seen.append
    event.listen(engine, "commit", note)
    yield seen
    event.remove(engine, "commit", note)


def number_of_files(app: Holdall) -> int:
    return parts(app).listing.page(EVERYONE, Query()).total


@pytest.mark.parametrize("public_url", ("", "https://files.example"))
@pytest.mark.parametrize("durability", ("os", "fsync"))
def test_each_is_answered_as_by_itself(app_with: MakeApp, public_url: str, durability: str) -> None:
    app = app_with(PUBLIC_URL=public_url, HOST="0.0.0.0", DURABILITY=durability)
    names = ("größe.txt", "b;c.txt", 'd\\"e.bin')
    answers = app.together([form(part(name), field("note", "ü")) for name in names])
    for name, answer in zip(names, answers, strict=True):
        body = form(part(name), field("note", "ü")).body
        alone = app.test_client().post("/api/upload", data=body, content_type=TYPE)
        assert isinstance(answer, Ready)
        assert comparable(answer) == comparable(
            Ready(
                alone.status,
                "".join(f"{name}: {value}\r\n" for name, value in alone.headers),
                alone.data,
            )
        )
        assert alone.json is not None and alone.json["metadata"] == {"note": "ü"}


def comparable(answer: Ready) -> Any:
    """Return what is the same of two answers: all but ids and moments."""
    lines = dict(line.split(": ", 1) for line in answer.fields.split("\r\n") if line)
    assert lines["Content-Length"] == str(len(answer.content))
    shown = parsed(answer.content)
    lines["Location"] = lines["Location"].rpartition("/")[2]
    del lines["X-Request-ID"]
    return answer.status, lines, shown


def parsed(content: bytes) -> Any:
    return {
        name: bool(value) if name in VARY else value for name, value in json.loads(content).items()
    }


def test_all_share_a_commit_and_each_is_told_of_its_own_mistakes(
    local_app: Holdall, commits: list[object]
) -> None:
    answers = local_app.together(
        [
            form(),
            form(end="--b"),
            form(end="--b--\r\n", content_type="multipart/form-data;"),
            form(part("b.txt"), part("c.txt")),
            form(field("note", "x")),
            form(field("collection", "none"), part()),
            form(),
        ]
    )
    told = [answer if isinstance(answer, Ready) else type(answer) for answer in answers]
    assert [isinstance(told[number], Ready) for number in (0, 3, 6)] == [True] * 3
    assert (told[1], told[4], told[5]) == (TruncatedBody, NoFileProvided, CollectionNotFound)
    assert isinstance(answers[2], HoldallError)
    assert len(commits) == 1
    assert number_of_files(local_app) == len(objects(local_app)) == 4


@pytest.mark.parametrize(
    "headers",
    (
        {"cookie": "a=b"},
        {"idempotency_key": "a"},
        {"origin": "https://evil.example"},
        {"sec_fetch_site": "cross-site"},
        {"host": "evil.example"},
        {"x_forwarded_host": "evil.example"},
        {"content_digest": "sha-256=::"},
        {"content_type": "text/plain"},
    ),
)
def test_what_is_not_plain_is_left_alone(local_app: Holdall, headers: dict[str, str]) -> None:
    assert local_app.together([form(**headers)]) == [None]
    assert objects(local_app) == []


def test_forms_behind_slow_ones_are_left_alone(
    local_app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views.upload_together, "QUICK", -1)
    assert local_app.together([form(), form()]) == [None, None]
    assert objects(local_app) == []


def test_a_quota_and_another_store_are_left_to_threads(app_with: MakeApp) -> None:
    app = app_with(STORAGE_FAR_URL="memory:", WEB_CONCURRENCY="1")
    client = app.test_client()
    for name, policy in (("bounded", {"max_files": 1}), ("far", {"backend": "far"})):
        assert client.put(f"/api/collections/{name}", json=policy).status_code == 201
        assert app.together([form(field("collection", name), part())]) == [None]
    assert number_of_files(app) == 0


def test_a_wrong_key_is_looked_up_and_counted_once(app_with: MakeApp) -> None:
    app = keyed_app(app_with)
    secret, reader = new_key(app, "write").secret, new_key(app, "read").secret
    asked: list[Any] = []
    failures = parts(app).keys._failures
    failures.add = asked.append  # type: ignore[method-assign, assignment]
    shown = (f"Bearer {secret}", f"Bearer {reader}", "Bearer wrong")
    answers = app.together([*(form(authorization=each) for each in shown), form()])
    assert isinstance(answers[0], Ready)
    assert all(isinstance(answer, HoldallError) for answer in answers[1:3])
    assert (answers[3], len(asked), number_of_files(app)) == (None, 1, 1)


def test_one_whose_collection_is_deleted_meanwhile_fails_alone(
    local_app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert local_app.test_client().put("/api/collections/gone", json={}).status_code == 201
    all_taken = UploadsTogether._all_taken

    def take_away(self: UploadsTogether, forms: Any) -> Any:
        taken = all_taken(self, forms)
        with database_of(local_app).write() as session:
            session.execute(delete(Collection).where(Collection.name == "gone"))
        return taken

    monkeypatch.setattr(UploadsTogether, "_all_taken", take_away)
    answers = local_app.together([form(), form(field("collection", "gone"), part()), form()])
    assert [type(answer) for answer in answers] == [Ready, CollectionNotFound, Ready]
    assert number_of_files(local_app) == len(objects(local_app)) == 2


@pytest.mark.parametrize("asked", (False, True), ids=("not begun", "outcome unknown"))
def test_a_database_that_fails_is_told_to_each_by_itself(
    local_app: Holdall, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    local_app.together([form()])
    dialect = database_of(local_app).engine.dialect

    whole = getattr(dialect, "do_commit" if asked else "do_executemany")

    def fail(*_: Any) -> None:
        raise OperationalError("COMMIT", {}, Exception("away"))

    monkeypatch.setattr(dialect, "do_commit" if asked else "do_executemany", fail)
    answers = local_app.together([form(), form()])
    monkeypatch.setattr(dialect, "do_commit" if asked else "do_executemany", whole)
    assert [type(answer) for answer in answers] == [OperationalError] * 2
    assert answers[0] is not answers[1]
    # What a row may promise is kept: gc finds out.
    assert (number_of_files(local_app), len(objects(local_app))) == (1, 3 if asked else 1)


def test_what_goes_wrong_in_the_telling_takes_no_object_away(
    local_app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_together = parts(local_app).publishing.publish_together

    def interrupted(several: list[list[Intake]]) -> list[list[FileInfo] | Exception]:
        publish_together(several)
        raise RuntimeError

    monkeypatch.setattr(parts(local_app).publishing, "publish_together", interrupted)
    with pytest.raises(RuntimeError):
        local_app.together([form()])
    assert number_of_files(local_app) == len(objects(local_app)) == 1
