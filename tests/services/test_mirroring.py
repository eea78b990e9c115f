"""Mirrored backends: every copy is made and every delete is done, whatever breaks off on the way,
and no check of one backend takes another's objects for left over."""

import re
import threading
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select, update

from app import Holdall
from models import Lease, MirrorTask, now
from services import fsck, migration_moving, mirroring_copying, mirroring_work
from services.fsck_findings import Kind, Tally
from services.gc_items import Kind as Left
from services.migration_figures import CannotBegin
from services.mirroring import Mirrors
from services.mirroring_work import Mirroring
from storage.base import Body, Storage
from storage.errors import StorageUnavailable
from storage.keys import new_key
from tests.conftest import MakeApp, lent_database, parts
from tests.http.test_redirect import deliver
from tests.http.test_uploads import PNG
from tests.services.checking import check, file, rows_of
from tests.services.collecting import collect, kinds
from tests.services.moving import keys_of, migration, row_of, s3_variables
from tests.services.test_direct import sent_in_parts, sent_whole
from tests.services.uploading import Sent, database_of
from tests.storage.material import content_of, get, put
from tests.support.servers import S3Server, seaweedfs


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once, and look again at once."""
    monkeypatch.setattr(migration_moving, "PAUSES", (0.0, 0.0))
    monkeypatch.setattr(mirroring_work, "_FIRST_RETRY", timedelta(0))
    monkeypatch.setattr(fsck, "REPAIR_PATIENCE", timedelta(0))


def folders(tmp_path: Path, **variables: str) -> dict[str, str]:
    """Return the variables of `safe`, of a primary `near` and a mirror `far`, two folders."""
    return {
        "STORAGE_BACKEND": "safe",
        "STORAGE_SAFE_URL": "mirror:near,far",
        "STORAGE_NEAR_URL": (tmp_path / "near").as_uri(),
        "STORAGE_FAR_URL": (tmp_path / "far").as_uri(),
    } | variables


@pytest.fixture
def disks(app_with: MakeApp, tmp_path: Path) -> Holdall:
    """An application on two folders, for what hangs on no store."""
    return app_with(**folders(tmp_path))


@pytest.fixture(params=("local-s3-postgresql", "s3-local-sqlite"))
def app(request: pytest.FixtureRequest, app_with: MakeApp, tmp_path: Path) -> Holdall:
    """An application whose files go to a primary of one kind and a mirror of another."""
    *ways, database = str(request.param).split("-")
    variables = folders(tmp_path)
    for name, kind in zip(("near", "far"), ways, strict=True):
        if kind == "s3":
            variables |= s3_variables(request.getfixturevalue("s3_server"), name)
    if database == "postgresql":
        variables["DATABASE_URL"] = lent_database(request)
    return app_with(**variables)


def near(app: Holdall) -> Storage:
    return parts(app).storages["near"]


def far(app: Holdall) -> Storage:
    return parts(app).storages["far"]


def run(app: Holdall) -> int:
    return parts(app).mirroring.run()


def tasks(app: Holdall) -> list[tuple[str, str, str]]:
    """Return member, key and action of all that is queued."""
    query = select(MirrorTask.member, MirrorTask.key, MirrorTask.action)
    with database_of(app).read() as session:
        rows = session.execute(query.order_by(MirrorTask.key))
        return [(row.member, row.key, row.action) for row in rows]


def read(app: Holdall, file_id: str) -> bytes:
    answer = app.test_client().get(f"/uploads/{file_id}")
    assert answer.status_code == 200, answer.data
    return bytes(answer.data)


def delete(app: Holdall, file_id: str) -> None:
    assert app.test_client().delete(f"/api/files/{file_id}").status_code == 204


def backend(app: Holdall, name: str | None) -> None:
    """Have new files go to a backend."""
    answer = app.test_client().patch("/api/collections/default", json={"backend": name})
    assert answer.status_code == 200, answer.data
    parts(app).publishing._policies.look_again("default")


def file_on(app: Holdall, name: str, content: bytes = b"text") -> tuple[str, str]:
    backend(app, name)
    made = file(app, content)
    backend(app, None)
    return made


def goes_down(monkeypatch: pytest.MonkeyPatch, storage: Storage) -> None:
    """Have a store answer nothing from now on."""

    def fail(*_: object, **__: object) -> None:
        raise StorageUnavailable("it is down")

    for name in ("create", "open", "stat", "delete", "check", "copy"):
        monkeypatch.setattr(storage, name, fail)


# What comes and goes


def test_files_of_every_door_are_copied_and_their_deletes_too(app: Holdall) -> None:
    client = app.test_client()
    contents = [b"", b"text", content_of(300_000), content_of(6 * 1024**2)]
    files = {file(app, content)[0]: content for content in contents}
    sent = Sent.begin(app, 20_000)
    sent.send()
    files[sent.file()["id"]] = sent.whole
    whole = client.post(sent_whole(client)["confirm_url"]).get_json()
    files[whole["id"]] = PNG
    parts_of = sent_in_parts(client).complete()
    assert parts_of.status_code == 200
    keys = [row.key for row in rows_of(app)]
    assert {key for _, key, _ in tasks(app)} == {*keys}
    assert keys_of(far(app)) == []
    assert run(app) == len(keys)
    assert tasks(app) == []
    assert keys_of(far(app)) == sorted(keys)
    for file_id, content in files.items():
        assert get(far(app), row_of(app, file_id).key) == read(app, file_id) == content
    assert check(app, "safe", verify=True).findings == []
    assert check(app, "safe/far", verify=True).findings == []
    for file_id in files:
        delete(app, file_id)
    assert run(app) == len(files)
    assert tasks(app) == []
    assert len(keys_of(far(app))) == len(keys_of(near(app))) == 1


def test_a_file_of_another_backend_is_not_copied(disks: Holdall) -> None:
    file_id, _ = file_on(disks, "near")
    assert tasks(disks) == []
    delete(disks, file_id)
    assert tasks(disks) == []


def test_many_deletes_at_once_and_an_expired_file_are_queued(disks: Holdall) -> None:
    ids = [file(disks)[0] for _ in range(3)]
    run(disks)
    file(disks, expires_at=now() - timedelta(seconds=1))
    disks.test_client().post("/api/files/delete", json={"ids": ids})
    assert [action for _, _, action in tasks(disks)].count("delete") == 3
    parts(disks).expiry.run()
    assert {action for _, _, action in tasks(disks)} == {"delete"}
    assert run(disks) == 4
    assert keys_of(far(disks)) == keys_of(near(disks)) == []


def test_a_publishing_that_fails_queues_nothing(
    disks: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise StorageUnavailable("the queue fails")

    with monkeypatch.context() as broken:
        broken.setattr(Mirrors, "to_copy", fail)
        assert disks.test_client().put("/api/upload/a.txt", data=b"text").status_code == 503
    assert not rows_of(disks) and not tasks(disks) and not keys_of(near(disks))
    file_id, _ = file(disks)
    with monkeypatch.context() as broken:
        broken.setattr(Mirrors, "to_delete", fail)
        assert disks.test_client().delete(f"/api/files/{file_id}").status_code == 503
    assert read(disks, file_id) == b"text"


def test_a_mirror_that_is_down_gets_it_all_later(
    disks: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, gone_key = file(disks)
    run(disks)
    with monkeypatch.context() as outage:
        goes_down(outage, far(disks))
        file_id, key = file(disks, b"new")
        delete(disks, gone)
        assert run(disks) == 0
        assert sorted(tasks(disks)) == sorted([("far", key, "copy"), ("far", gone_key, "delete")])
        assert parts(disks).mirroring._awake() == [("safe", "near")], "it is left alone a while"
        assert read(disks, file_id) == b"new"
    for pause in parts(disks).mirroring._pauses.values():
        pause.until = 0
    assert run(disks) == 2
    assert (keys_of(far(disks)), tasks(disks)) == ([key], [])


def test_one_object_that_fails_keeps_no_other_from_being_copied(
    disks: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirroring_work, "_FIRST_RETRY", timedelta(hours=1))
    _, bad = file(disks, b"text")
    put(near(disks), bad, b"tex_")
    keys = [file(disks, b"%d" % number)[1] for number in range(10)]
    assert run(disks) == 10
    assert keys_of(far(disks)) == sorted(keys), "other bytes than the file's are not spread"
    assert tasks(disks) == [("far", bad, "copy")]
    with database_of(disks).read() as session:
        task = session.scalars(select(MirrorTask)).one()
    assert task.attempts == 1 and task.due_at > now() + timedelta(minutes=59)


def test_an_error_that_nobody_foresaw_is_one_object_s_alone(
    disks: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirroring_work, "_FIRST_RETRY", timedelta(hours=1))
    _, bad = file(disks, b"bad")
    keys = [file(disks, b"%d" % number)[1] for number in range(10)]
    copy = mirroring_copying.Copier._copy

    def failing(copier: mirroring_copying.Copier, key: str) -> mirroring_copying.Outcome:
        if key == bad:
            raise KeyError("ETag")
        return copy(copier, key)

    monkeypatch.setattr(mirroring_copying.Copier, "_copy", failing)
    assert run(disks) == 10
    assert keys_of(far(disks)) == sorted(keys)
    assert tasks(disks) == [("far", bad, "copy")]


def test_a_copy_that_comes_back_changed_stays_queued_and_is_removed(
    disks: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirroring_work, "_FIRST_RETRY", timedelta(hours=1))
    works, other = far(disks).open, new_key()
    file(disks, b"text")
    put(far(disks), other, b"tex_")
    monkeypatch.setattr(far(disks), "open", lambda key: works(other))
    assert run(disks) == 0
    assert len(tasks(disks)) == 1
    assert keys_of(far(disks)) == [other]


def test_a_file_that_is_deleted_while_it_is_copied_leaves_nothing(
    app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the delete is still queued by then, or somebody else has done it already."""
    works = far(app).create
    for done_elsewhere in (False, True):
        file_id, _ = file(app)

        def create(at: str, file_id: str = file_id, done: bool = done_elsewhere, **how: Any) -> Any:
            monkeypatch.setattr(far(app), "create", works)
            delete(app, file_id)
            if done:
                with database_of(app).write() as session:
                    session.delete(session.scalars(select(MirrorTask)).one())
            return works(at, **how)

        monkeypatch.setattr(far(app), "create", create)
        assert run(app) == 2
        assert (tasks(app), keys_of(far(app)), keys_of(near(app))) == ([], [], [])


def test_what_ends_after_the_lease_was_lost_is_looked_at_all_the_same(
    disks: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is deleted, and its delete done by another instance, while a copy stood still."""
    file_id, _ = file(disks)
    works, began, goes_on = far(disks).create, threading.Event(), threading.Event()

    def create(key: str, **options: Any) -> Any:
        writer = works(key, **options)
        began.set()
        assert goes_on.wait(30)
        return writer

    monkeypatch.setattr(far(disks), "create", create)
    monkeypatch.setattr(mirroring_work, "_RENEW_EVERY", 0.05)
    monkeypatch.setattr(migration_moving.Mover, "go_on", lambda self: None)
    running = threading.Thread(target=run, args=(disks,))
    running.start()
    assert began.wait(30)
    delete(disks, file_id)
    with database_of(disks).write() as session:
        session.execute(update(Lease).values(holder="another"))
        session.delete(session.scalars(select(MirrorTask)).one())
    threading.Timer(0.3, goes_on.set).start()
    running.join(30)
    assert [action for _, _, action in tasks(disks)] == ["delete"]
    with database_of(disks).write() as session:
        session.execute(update(Lease).values(expires_at=now() - timedelta(seconds=1)))
    assert run(disks) == 1
    assert keys_of(far(disks)) == []


def test_one_instance_at_a_time_works(disks: Holdall) -> None:
    file(disks)
    other = Mirroring(database_of(disks), Mirrors(parts(disks).storages))
    assert other._leases.take("mirror", seconds=60)
    assert run(disks) == 0
    assert other.run() == 1


def test_what_is_queued_for_a_member_that_is_gone_waits(
    app_with: MakeApp, tmp_path: Path, disks: Holdall
) -> None:
    """The queue is not lost by an instance that has another setting."""
    file(disks)
    database = parts(disks).settings.database_url
    other = app_with(
        **folders(tmp_path, DATABASE_URL=database, STORAGE_SAFE_URL="mirror:near,third")
        | {"STORAGE_THIRD_URL": (tmp_path / "third").as_uri()}
    )
    assert run(other) == 0
    assert len(tasks(disks)) == 1


def test_the_thread_works_by_itself_and_its_figures_are_shown(
    disks: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirroring_work, "LOOK_EVERY", 0.05)
    began = now()
    file(disks)
    shown = disks.test_client().get("/metrics").text
    of = '{backend="safe",member="far"}'
    assert f"holdall_mirror_queue_length{of} 1.0" in shown
    (oldest,) = re.findall(rf"holdall_mirror_queue_oldest_seconds{of} (\S+)", shown)
    assert 0 < float(oldest) <= (now() - began).total_seconds()
    mirroring = parts(disks).mirroring
    mirroring.start()
    try:
        pause = threading.Event()
        for _ in range(300):
            if not tasks(disks):
                break
            pause.wait(0.1)
    finally:
        mirroring.stop()
    shown = disks.test_client().get("/metrics").text
    assert f"holdall_mirror_queue_length{of} 0.0" in shown
    assert 'holdall_mirror_done_total{action="copy",backend="safe",member="far"}' in shown


# Reading


def test_a_dead_primary_still_serves(disks: Holdall, monkeypatch: pytest.MonkeyPatch) -> None:
    file_id, _ = file(disks)
    run(disks)
    goes_down(monkeypatch, near(disks))
    assert read(disks, file_id) == b"text"
    client = disks.test_client()
    assert client.put("/api/upload/a.txt", data=b"text").status_code == 503
    assert ready(client) == (200, {"storage:near": "down"})


def test_a_dead_mirror_is_told_and_the_instance_is_ready(
    disks: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = disks.test_client()
    assert ready(client) == (200, {})
    goes_down(monkeypatch, far(disks))
    assert ready(client) == (200, {"storage:far": "down"})
    goes_down(monkeypatch, near(disks))
    down = {f"storage:{name}": "down" for name in ("far", "near", "safe")}
    assert ready(client) == (503, down)


def ready(client: FlaskClient) -> tuple[int, dict[str, str]]:
    """Return the status, and what is not up."""
    answer = client.get("/api/ready")
    checks = answer.get_json()["checks"]
    return answer.status_code, {name: how for name, how in checks.items() if how != "up"}


def test_other_servers_send_what_the_primary_has_and_we_the_rest(
    app_with: MakeApp, tmp_path: Path, s3_server: S3Server
) -> None:
    trusted = {"TRUSTED_PROXIES": "127.0.0.1"}
    on_disk = app_with(**folders(tmp_path, **trusted) | s3_variables(s3_server, "far"))
    on_s3 = app_with(
        **folders(tmp_path / "s3", **trusted)
        | s3_variables(s3_server, "near")
        | {"STORAGE_FAR_URL": (tmp_path / "behind").as_uri()}
    )
    for app, way in ((on_disk, "x-accel"), (on_s3, "x-accel"), (on_s3, "redirect")):
        file_id, key = file(app, PNG)
        run(app)
        deliver(app, way)
        headers = {"X-Holdall-Accel": "near"}
        answer = app.test_client().get(f"/uploads/{file_id}", headers=headers)
        told = answer.headers["Location" if way == "redirect" else "X-Accel-Redirect"]
        assert key in told and (way == "redirect" or told.startswith("/_holdall/near/"))
        near(app).delete(key)
        answer = app.test_client().get(f"/uploads/{file_id}", headers=headers)
        assert (answer.status_code, answer.data) == (200, PNG)


# fsck and gc: three backends, two places


def everything(app: Holdall) -> list[str]:
    """Make files on all three backends, uploads that go on, and return the keys of the files."""
    made = [file(app, b"%d" % number) for number in range(4)]
    made += [file_on(app, name, b"%d" % number) for name in ("near", "far") for number in range(3)]
    Sent.begin(app, 20_000).send(0, 9_000)
    sent_in_parts(app.test_client())
    sent_whole(app.test_client())
    assert run(app) > 0
    return [key for _, key in made]


def test_no_check_takes_another_backend_s_objects_for_orphans(app: Holdall) -> None:
    made = everything(app)
    before = keys_of(near(app)), keys_of(far(app))
    for name in ("near", "far", "safe", "safe/far"):
        for options in ({}, {"verify": True}, {"repair": True, "force": True}):
            checked = check(app, name, **options)
            assert checked.findings == [], name
            assert checked.tally.deleted == 0
    assert collect(app, force=True) == []
    assert (keys_of(near(app)), keys_of(far(app))) == before
    assert check(app, "near").tally.shared == check(app, "far").tally.shared == 4
    for key in made:
        place = near(app) if key in before[0] else far(app)
        assert get(place, key)


def test_a_member_whose_own_files_are_few_is_not_emptied(disks: Holdall) -> None:
    """The rule that tells a wrong database counts the mirrored files as well."""
    for _ in range(5):
        file(disks)
    run(disks)
    for storage in (near(disks), far(disks)):
        orphan = new_key()
        put(storage, orphan, b"left")
        assert orphan in keys_of(storage)
    assert kinds(collect(disks)) == {Left.ORPHAN: 2}
    assert len(keys_of(near(disks))) == len(keys_of(far(disks))) == 5
    assert collect(disks) == []


def test_what_a_mirror_lacks_or_has_wrong_is_found_and_mended(app: Holdall) -> None:
    ids = dict(file(app, b"text") for _ in range(5))
    run(app)
    lost, cut, changed, whole, _ = keys = list(ids.values())
    far(app).delete(lost)
    put(far(app), cut, b"tex")
    put(far(app), changed, b"tex_")
    orphan = new_key()
    put(far(app), orphan, b"left")
    told = sorted([(Kind.MISSING, lost), (Kind.SIZE, cut), (Kind.ORPHAN, orphan)])
    assert check(app, "safe/far").kinds() == told
    assert check(app, "safe").kinds() == []
    verified = check(app, "safe/far", verify=True)
    assert verified.kinds() == sorted([*told, (Kind.SHA256, changed)])
    assert {finding.backend for finding in verified.findings} == {"safe/far"}
    assert tasks(app) == [], "nothing is changed without being asked"
    mended = check(app, "safe/far", verify=True, repair=True)
    assert mended.kinds() == verified.kinds()
    assert {key for _, key, _ in tasks(app)} == {lost, cut, changed}
    again = check(app, "safe/far", verify=True)
    assert (again.findings, again.tally.queued) == ([], 3), "what is queued is no finding"
    assert run(app) == 3
    assert check(app, "safe/far", verify=True).findings == []
    assert keys_of(far(app)) == sorted(keys)
    assert get(far(app), changed) == get(far(app), whole) == b"text"


def test_a_primary_that_lost_objects_gets_them_back_from_a_mirror(app: Holdall) -> None:
    ids = dict(file(app, b"text") for _ in range(3))
    run(app)
    lost, cut, nowhere = ids.values()
    near(app).delete(lost)
    put(near(app), cut, b"tex")
    for storage in (near(app), far(app)):
        storage.delete(nowhere)
    found = {finding.key: finding for finding in check(app, "safe").findings}
    assert {key: finding.note for key, finding in found.items()} == {
        lost: "far has it",
        cut: "far has it",
        nowhere: "no other member has it",
    }
    check(app, "safe", repair=True)
    assert sorted(tasks(app)) == sorted([("near", lost, "copy"), ("near", cut, "copy")])
    assert run(app) == 2
    assert get(near(app), lost) == get(near(app), cut) == b"text"
    assert check(app, "safe").kinds() == [(Kind.MISSING, nowhere)]


def test_a_mirror_that_is_added_later_is_brought_up_by_a_repair(
    app_with: MakeApp, tmp_path: Path, disks: Holdall
) -> None:
    keys = [file(disks, b"%d" % number)[1] for number in range(12)]
    run(disks)
    more = app_with(
        **folders(tmp_path, STORAGE_SAFE_URL="mirror:near,far,third")
        | {
            "STORAGE_THIRD_URL": (tmp_path / "third").as_uri(),
            "DATABASE_URL": parts(disks).settings.database_url,
        }
    )
    with database_of(more).write() as session:
        session.execute(update(Lease).values(expires_at=now()))
    found = check(more, "safe/third", repair=True)
    assert found.tally.findings == {Kind.MISSING: 12}
    assert run(more) == 12
    assert keys_of(parts(more).storages["third"]) == sorted(keys)
    assert check(more, "safe/third", verify=True).findings == []


def test_an_orphan_is_told_once_and_a_queued_delete_not_at_all(
    disks: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, key = file(disks)
    for _ in range(3):
        file(disks)
    run(disks)
    orphan = new_key()
    put(far(disks), orphan, b"left")
    delete(disks, gone)
    found = fsck.Fsck(
        database_of(disks),
        parts(disks).storages,
        fsck.Options(grace=timedelta(0), patience=timedelta(0)),
    )
    names = found.backends()
    assert names == ["far", "local", "near", "safe", "safe/far"]
    told = []
    for name in names:
        with closing(found.check(name, Tally())) as findings:
            told += [(finding.backend, finding.key) for finding in findings]
    assert told == [("far", orphan)]
    assert found.chosen(["safe"]) == ["safe", "safe/far"]
    assert ("far", key, "delete") in tasks(disks)


# Moving


def moved(app: Holdall, source: str, target: str, **options: Any) -> int:
    moving = migration(app, source, target, **options)
    with closing(moving.run()) as failures:
        assert list(failures) == []
    return moving.tally.moved


@pytest.mark.parametrize(
    ("source", "target"),
    [("near", "safe"), ("far", "safe"), ("local", "safe")],
)
def test_files_move_onto_a_mirrored_backend_and_are_mirrored(
    disks: Holdall, source: str, target: str
) -> None:
    files = dict(file_on(disks, source, b"%d" % number) for number in range(4))
    keys = sorted(files.values())
    assert moved(disks, source, target) == 4
    assert {row_of(disks, file_id).backend for file_id in files} == {"safe"}
    assert keys_of(near(disks)) == keys, "the primary has them before their rows say so"
    assert {key for _, key, _ in tasks(disks)} == {*keys}
    assert run(disks) == 4
    assert keys_of(far(disks)) == keys
    assert [read(disks, file_id) for file_id in files] == [b"0", b"1", b"2", b"3"]
    for name in ("near", "far", "safe", "safe/far"):
        assert check(disks, name, verify=True).findings == []
    assert collect(disks) == []


@pytest.mark.parametrize("target", ("near", "far", "local"))
def test_files_move_off_a_mirrored_backend_and_lose_nothing(disks: Holdall, target: str) -> None:
    files = dict(file(disks, b"%d" % number) for number in range(4))
    run(disks)
    keys = sorted(files.values())
    assert moved(disks, "safe", target) == 4
    assert run(disks) == 0
    assert collect(disks) == []
    places = {"near", "far"} - {target}
    for place in places:
        assert keys_of(parts(disks).storages[place]) == keys
        assert moved(disks, place, target, delete_source=True) == 0
        assert keys_of(parts(disks).storages[place]) == []
    assert [read(disks, file_id) for file_id in files] == [b"0", b"1", b"2", b"3"]
    assert keys_of(parts(disks).storages[target]) == keys


def test_a_file_that_moved_off_while_it_was_queued_keeps_its_object(disks: Holdall) -> None:
    file_id, key = file(disks)
    assert moved(disks, "safe", "far") == 1
    assert tasks(disks) == [("far", key, "copy")]
    run(disks)
    assert tasks(disks) == []
    assert (keys_of(far(disks)), read(disks, file_id)) == ([key], b"text")


@pytest.mark.parametrize(
    ("source", "target"),
    [("near", "safe"), ("far", "safe"), ("safe", "near"), ("safe", "far")],
)
def test_nothing_is_deleted_where_both_are_one_place(
    disks: Holdall, source: str, target: str
) -> None:
    file_id, _ = file_on(disks, source)
    with pytest.raises(CannotBegin, match="--delete-source"):
        moved(disks, source, target, delete_source=True)
    assert read(disks, file_id) == b"text"


def test_a_wrong_original_is_not_discarded_as_a_wrong_copy(
    disks: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that gives back other bytes now and then may give the right ones later."""
    file_id, key = file_on(disks, "near")

    def read_wrong(_: object, opened: Body, __: object) -> str:
        opened.close()
        return "0" * 64

    works = migration_moving.Mover._read
    monkeypatch.setattr(migration_moving.Mover, "_read", read_wrong)
    moving = migration(disks, "near", "safe")
    with closing(moving.run()) as failures:
        assert len(list(failures)) == 1
    monkeypatch.setattr(migration_moving.Mover, "_read", works)
    assert keys_of(near(disks)) == [key]
    assert read(disks, file_id) == b"text"


def test_a_store_that_comes_back_is_brought_up_by_the_thread(
    app_with: MakeApp,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mirroring_work, "LOOK_EVERY", 0.1)
    quick: dict[str, Any] = {"connect_timeout": 1, "read_timeout": 2, "max_attempts": 1}
    with seaweedfs(tmp_path_factory.mktemp("own-s3")) as server:
        app = app_with(
            **folders(tmp_path)
            | {
                "STORAGE_FAR_URL": server.url("far", **quick, create_bucket="true"),
                "STORAGE_FAR_ACCESS_KEY_ID": server.access_key_id,
                "STORAGE_FAR_SECRET_ACCESS_KEY": server.secret_access_key,
            }
        )
        server.stop()
        keys = [file(app, b"%d" % number)[1] for number in range(5)]
        mirroring = parts(app).mirroring
        mirroring.start()
        try:
            pause = threading.Event()
            pause.wait(2)
            assert len(tasks(app)) == 5
            server.start()
            for _ in range(300):
                if not tasks(app):
                    break
                pause.wait(0.1)
        finally:
            mirroring.stop()
        assert keys_of(far(app)) == sorted(keys)
