"""Quotas: room is held while bytes come, counted at the end, and given back however it ends."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta
from io import BytesIO
from typing import Any

import pytest
from sqlalchemy import event, func, select, update

from app import Holdall
from models import Collection, Counter, Reservation, now
from services import policy, quotas
from services.caller import EVERYONE, Caller
from services.errors import QuotaExceeded, TruncatedBody
from services.ingest import Intake
from services.intake import Declaration
from services.listing import Query
from services.resumed import Request
from storage.keys import random_name
from tests.conftest import MakeApp, lent_database, objects, parts
from tests.services.uploading import database_of, expires_at

MIB = 1024**2
TIGHT = "tight"


@pytest.fixture(autouse=True)
def policies_are_never_old(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(policy, "KNOWN_FOR", -1.0)
    yield


def limit(app: Holdall, **limits: Any) -> None:
    parts(app).collections.set(EVERYONE, TIGHT, limits)


def declared(size: int | None = None, **said: Any) -> Declaration:
    return Declaration("a.bin", size=size, collection=TIGHT, **said)


def store(app: Holdall, size: int, *, known: bool = True) -> None:
    with parts(app).ingest.admit(EVERYONE, declared(size if known else None)) as intake:
        finish(app, intake, size)


def finish(app: Holdall, intake: Intake, size: int) -> None:
    for start in range(0, size, MIB):
        intake.feed(bytes(min(MIB, size - start)))
    intake.inspect()
    parts(app).publishing.publish([intake])


def reservations(app: Holdall) -> list[tuple[int, int]]:
    """Return files and bytes of everything that is held."""
    query = select(Reservation.files, Reservation.bytes).order_by(Reservation.bytes)
    with database_of(app).read() as session:
        return [(row.files, row.bytes) for row in session.execute(query)]


def used(app: Holdall) -> tuple[int, int]:
    """Return files and bytes that are there, by the counters."""
    sums = select(func.sum(Counter.files), func.sum(Counter.bytes))
    with database_of(app).read() as session:
        row = session.execute(sums.where(Counter.collection == TIGHT)).one()
    return int(row[0] or 0), int(row[1] or 0)


def end_reservations(app: Holdall) -> None:
    """Let all that is held have ended a second ago."""
    with database_of(app).write() as session:
        session.execute(update(Reservation).values(expires_at=now() - timedelta(seconds=1)))


def begun(app: Holdall, size: int | None, **options: Any) -> str:
    uploads = parts(app).uploads
    return uploads.create(EVERYONE, declared(size), protocol="tus", **options).id


def append(app: Holdall, upload_id: str, offset: int, size: int, **options: Any) -> None:
    request = Request(lambda idle: [bytes(size)], size)
    parts(app).uploads.append(EVERYONE, upload_id, offset, request, **options)


# One request


@pytest.mark.parametrize("known", (True, False))
def test_what_is_full_takes_nothing_and_what_is_freed_can_be_used_again(
    app: Holdall, known: bool
) -> None:
    limit(app, max_files=2, max_bytes=3 * MIB)
    store(app, MIB, known=known)
    store(app, 2 * MIB, known=known)
    for size in (0, 1, MIB):
        with pytest.raises(QuotaExceeded):
            store(app, size, known=known)
    assert used(app) == (2, 3 * MIB)
    assert (reservations(app), len(objects(app))) == ([], 2)
    listed = parts(app).listing.page(EVERYONE, Query()).items
    parts(app).files.delete(EVERYONE, listed[0].id)
    store(app, listed[0].size, known=known)
    assert used(app) == (2, 3 * MIB)


def test_a_declared_size_is_refused_before_any_byte(app: Holdall) -> None:
    limit(app, max_bytes=1000)
    with pytest.raises(QuotaExceeded):
        parts(app).ingest.admit(EVERYONE, declared(1001))
    assert (reservations(app), objects(app)) == ([], [])


def test_files_on_their_way_are_counted(app: Holdall) -> None:
    limit(app, max_files=1, max_bytes=1000)
    with parts(app).ingest.admit(EVERYONE, declared(400)) as intake:
        assert reservations(app) == [(1, 400)]
        with pytest.raises(QuotaExceeded):
            parts(app).ingest.admit(EVERYONE, declared(0))
        finish(app, intake, 400)
    assert (reservations(app), used(app)) == ([], (1, 400))


@pytest.mark.parametrize("deployed", ("sqlite", "postgresql"))
@pytest.mark.parametrize("known", (True, False))
def test_twenty_at_once_never_exceed_it(
    app_with: MakeApp, request: pytest.FixtureRequest, deployed: str, known: bool
) -> None:
    app = app_with(**_on(deployed, request))
    limit(app, max_files=7, max_bytes=10 * MIB)
    most: list[tuple[int, int]] = []

    def attempt(_: int) -> bool:
        try:
            store(app, MIB, known=known)
        except QuotaExceeded:
            return False
        most.append(used(app))
        return True

    with ThreadPoolExecutor(20) as pool:
        taken = sum(pool.map(attempt, range(20)))
    assert 1 <= taken <= 7
    assert taken == 7 or not known
    assert max(most) <= (7, 7 * MIB)
    assert used(app) == (taken, taken * MIB)
    assert (len(objects(app)), reservations(app)) == (taken, [])
    for _ in range(7 - taken):
        store(app, MIB, known=known)
    assert used(app) == (7, 7 * MIB)


def test_an_unknown_size_takes_room_ahead_in_steps(local_app: Holdall) -> None:
    limit(local_app, max_bytes=20 * MIB)
    with parts(local_app).ingest.admit(EVERYONE, declared()) as intake:
        assert reservations(local_app) == [(1, 8 * MIB)]
        for _ in range(9):
            intake.feed(bytes(MIB))
        assert reservations(local_app) == [(1, 17 * MIB)]
        for _ in range(9):
            intake.feed(bytes(MIB))
        assert reservations(local_app) == [(1, 20 * MIB)], "all that is left"
        intake.inspect()
        assert reservations(local_app) == [(1, 18 * MIB)]
        parts(local_app).publishing.publish([intake])
    assert used(local_app) == (1, 18 * MIB)


def test_an_unknown_size_that_is_bounded_takes_no_more_than_that(local_app: Holdall) -> None:
    limit(local_app, max_bytes=20 * MIB)
    with parts(local_app).ingest.admit(EVERYONE, declared(most=300)):
        assert reservations(local_app) == [(1, 300)]


def test_one_that_outgrows_what_is_left_leaves_nothing(app: Holdall) -> None:
    limit(app, max_bytes=3 * MIB)
    with (
        pytest.raises(QuotaExceeded),
        parts(app).ingest.admit(EVERYONE, declared()) as intake,
    ):
        for _ in range(4):
            intake.feed(bytes(MIB))
    assert (reservations(app), objects(app), used(app)) == ([], [], (0, 0))


def test_what_breaks_off_gives_its_room_back(app: Holdall) -> None:
    limit(app, max_bytes=1000)
    with (
        pytest.raises(TruncatedBody),
        parts(app).ingest.admit(EVERYONE, declared(1000)) as intake,
    ):
        intake.feed(bytes(999))
        intake.inspect()
    assert (reservations(app), objects(app)) == ([], [])
    store(app, 1000)


def test_room_that_nobody_gave_back_ends_by_itself(app: Holdall) -> None:
    limit(app, max_bytes=1000)
    killed = parts(app).ingest.admit(EVERYONE, declared(1000))
    with pytest.raises(QuotaExceeded):
        store(app, 1)
    end_reservations(app)
    store(app, 1000)
    parts(app).expiry.run()
    assert reservations(app) == []
    assert killed.state.reserved


def test_room_that_is_swept_while_it_grows_is_taken_anew(app: Holdall) -> None:
    limit(app, max_bytes=MIB)
    database = database_of(app)
    room = quotas.Room(database_of(app), random_name(), TIGHT, None)
    room.reserve(10)
    with ThreadPoolExecutor(1) as pool:
        with database.write() as session:
            quotas.release(session, [room.id])
            growing = pool.submit(room.reserve, 20)
            wait([growing], timeout=0.3)
        growing.result()
    assert reservations(app) == [(1, 20)]


def test_a_file_whose_room_has_ended_is_counted_again(app: Holdall) -> None:
    limit(app, max_bytes=1000)
    with (
        pytest.raises(QuotaExceeded),
        parts(app).ingest.admit(EVERYONE, declared(600)) as slow,
    ):
        slow.feed(bytes(600))
        end_reservations(app)
        store(app, 600)
        slow.inspect()
        parts(app).publishing.publish([slow])
    assert (used(app), len(objects(app)), reservations(app)) == ((1, 600), 1, [])


def test_room_lasts_as_long_as_bytes_come(
    local_app: Holdall, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit(local_app, max_bytes=1000)
    with parts(local_app).ingest.admit(EVERYONE, declared(1000)) as slow:
        end_reservations(local_app)
        later = time.monotonic() + quotas.LASTS.total_seconds() / 3
        monkeypatch.setattr("services.quotas.time.monotonic", lambda: later)
        slow.feed(bytes(10))
        with pytest.raises(QuotaExceeded):
            store(local_app, 1)


def test_a_quota_that_is_set_meanwhile_counts(app: Holdall) -> None:
    limit(app)
    with (
        pytest.raises(QuotaExceeded),
        parts(app).ingest.admit(EVERYONE, declared(1000)) as intake,
    ):
        assert reservations(app) == []
        limit(app, max_bytes=999)
        finish(app, intake, 1000)
    assert (used(app), objects(app)) == ((0, 0), [])


def test_a_quota_that_is_taken_away_leaves_no_reservation(app: Holdall) -> None:
    limit(app, max_bytes=1000)
    with parts(app).ingest.admit(EVERYONE, declared(1000)) as intake:
        limit(app, max_bytes=None)
        finish(app, intake, 1000)
    assert (used(app), reservations(app)) == ((1, 1000), [])


def test_quotas_are_over_all_owners(local_app: Holdall) -> None:
    limit(local_app, max_files=1)
    store(local_app, 1)
    other = Caller(owner=None, scopes=frozenset({"write"}), collection=TIGHT)
    with pytest.raises(QuotaExceeded):
        parts(local_app).ingest.admit(other, Declaration("b.bin", size=1))


def test_a_form_holds_what_its_files_have(local_app: Holdall) -> None:
    limit(local_app, max_files=3, max_bytes=3000)
    client = local_app.test_client()
    parted = [(BytesIO(bytes(1000)), f"{number}.bin") for number in range(3)]
    answer = client.post(f"/api/upload?collection={TIGHT}", data={"file": parted})
    assert answer.status_code == 201
    assert used(local_app) == (3, 3000)


def test_a_form_is_kept_whole_or_not_at_all(local_app: Holdall) -> None:
    limit(local_app, max_files=2)
    client = local_app.test_client()
    parted = [(BytesIO(bytes(10)), f"{number}.bin") for number in range(3)]
    answer = client.post(f"/api/upload?collection={TIGHT}", data={"file": parted})
    assert (answer.status_code, answer.get_json()["code"]) == (507, "quota_exceeded")
    assert (used(local_app), objects(local_app), reservations(local_app)) == ((0, 0), [], [])


def test_a_collection_without_a_quota_costs_nothing(local_app: Holdall) -> None:
    limit(local_app)
    statements: list[str] = []
    engine = database_of(local_app).engine

    def note(*arguments: Any) -> None:
        statements.append(arguments[2].lower())

    event.listen(engine, "before_cursor_execute", note)
    store(local_app, 100)
    append(local_app, begun(local_app, 100), 0, 100)
    event.remove(engine, "before_cursor_execute", note)
    assert statements
    assert not [each for each in statements if "reservations" in each or "for update" in each]


# Several requests


def test_a_resumable_upload_holds_its_length_until_it_is_a_file(app: Holdall) -> None:
    limit(app, max_bytes=1000, max_files=1)
    upload = begun(app, 1000)
    assert reservations(app) == [(1, 1000)]
    with pytest.raises(QuotaExceeded):
        begun(app, 1)
    append(app, upload, 0, 400)
    assert reservations(app) == [(1, 1000)]
    append(app, upload, 400, 600)
    assert (reservations(app), used(app)) == ([], (1, 1000))


@pytest.mark.parametrize("ending", ("terminate", "expire"))
def test_a_resumable_upload_that_ends_gives_its_room_back(app: Holdall, ending: str) -> None:
    limit(app, max_bytes=1000)
    upload = begun(app, 1000)
    append(app, upload, 0, 400)
    if ending == "terminate":
        parts(app).uploads.terminate(EVERYONE, upload)
    else:
        expires_at(app, upload, now() - timedelta(seconds=1))
        assert parts(app).expiry.run() == 1
    assert (reservations(app), objects(app)) == ([], [])
    append(app, begun(app, 1000), 0, 1000)
    assert used(app) == (1, 1000)


def test_a_deferred_length_grows_and_is_refused_where_there_is_no_room(app: Holdall) -> None:
    limit(app, max_bytes=1000)
    upload = begun(app, None)
    assert reservations(app) == [(1, 0)]
    append(app, upload, 0, 400)
    assert reservations(app) == [(1, 400)]
    with pytest.raises(QuotaExceeded):
        append(app, upload, 400, 601)
    with pytest.raises(QuotaExceeded):
        append(app, upload, 400, 0, length=1001)
    assert reservations(app) == [(1, 400)]
    append(app, upload, 400, 600, length=1000)
    assert (reservations(app), used(app)) == ([], (1, 1000))


def test_one_that_never_had_room_is_forgotten(app: Holdall) -> None:
    limit(app, max_bytes=1000)
    upload = begun(app, None)
    with pytest.raises(QuotaExceeded):
        append(app, upload, 0, 1001)
    assert (reservations(app), objects(app)) == ([], [])


def test_room_that_has_ended_is_taken_anew_by_the_next_append(app: Holdall) -> None:
    limit(app, max_bytes=1000)
    upload = begun(app, 1000)
    append(app, upload, 0, 400)
    end_reservations(app)
    store(app, 1)
    with pytest.raises(QuotaExceeded):
        append(app, upload, 400, 600)
    limit(app, max_bytes=1001)
    append(app, upload, 400, 600)
    assert used(app) == (2, 1001)


def test_parts_are_joined_in_the_room_that_they_held(app: Holdall) -> None:
    limit(app, max_bytes=1000, max_files=1)
    uploads = parts(app).uploads
    pieces = [begun(app, 500, role="part") for _ in range(2)]
    for piece in pieces:
        append(app, piece, 0, 500)
    assert reservations(app) == [(0, 500), (0, 500)]
    uploads.joining.join(EVERYONE, declared(), pieces, protocol="tus")
    assert (reservations(app), used(app)) == ([], (1, 1000))
    assert parts(app).expiry.run() == 2
    assert len(objects(app)) == 1, "spent parts go"


def test_parts_that_cannot_be_joined_keep_their_room(app: Holdall) -> None:
    limit(app, max_bytes=1000, max_files=1)
    piece = begun(app, 600, role="part")
    append(app, piece, 0, 600)
    with pytest.raises(QuotaExceeded):
        parts(app).uploads.joining.join(EVERYONE, declared(), [piece, piece], protocol="tus")
    assert reservations(app) == [(0, 600)]
    parts(app).uploads.joining.join(EVERYONE, declared(), [piece], protocol="tus")
    assert used(app) == (1, 600)


@pytest.mark.parametrize("deployed", ("sqlite", "postgresql"))
def test_uploads_of_all_kinds_at_once_never_exceed_it(
    app_with: MakeApp, request: pytest.FixtureRequest, deployed: str
) -> None:
    app = app_with(**_on(deployed, request))
    limit(app, max_bytes=1000)

    def resumable() -> None:
        append(app, begun(app, 150), 0, 150)

    def deferred() -> None:
        upload = begun(app, None)
        try:
            append(app, upload, 0, 150, length=150)
        except QuotaExceeded:
            parts(app).uploads.terminate(EVERYONE, upload)
            raise

    def broken() -> None:
        with parts(app).ingest.admit(EVERYONE, declared(150)) as intake:
            intake.feed(bytes(10))

    kinds: list[Callable[[], None]] = [resumable, deferred, lambda: store(app, 150), broken]
    gate = threading.Barrier(20)

    def attempt(number: int) -> bool:
        gate.wait()
        try:
            kinds[number % 4]()
        except QuotaExceeded:
            return False
        return number % 4 != 3

    with ThreadPoolExecutor(20) as pool:
        taken = sum(pool.map(attempt, range(20)))
    assert used(app) == (taken, 150 * taken)
    assert 1 <= taken <= 6
    assert reservations(app) == []
    for _ in range(6 - taken):
        store(app, 150)
    with pytest.raises(QuotaExceeded):
        store(app, 150)


def test_who_waits_for_a_collection_does_not_keep_it_from_being_referred_to(
    app_with: MakeApp, request: pytest.FixtureRequest
) -> None:
    app = app_with(**_on("postgresql", request))
    limit(app, max_bytes=1000)
    database = database_of(app)
    with database.write() as session:
        quotas.left_in(session, TIGHT)
        with database.write() as other:
            found = other.execute(
                select(Collection.name)
                .where(Collection.name == TIGHT)
                .with_for_update(read=True, key_share=True, nowait=True)
            )
            assert found.first() is not None


def _on(deployed: str, request: pytest.FixtureRequest) -> dict[str, str]:
    if deployed == "sqlite":
        return {}
    return {"DATABASE_URL": lent_database(request)}
