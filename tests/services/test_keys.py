"""API keys and wrong ones, on SQLite and on PostgreSQL."""

import hashlib
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import OperationalError

from app import Holdall
from models import ApiKey, Failure
from services import database as database_module
from services.caller import ANONYMOUS, EVERYONE, Caller
from services.errors import (
    ApiKeyNotFound,
    CollectionNotFound,
    Conflict,
    InvalidField,
    KeyInvalid,
    NotPermitted,
    NotSignedIn,
)
from services.failures import Failures
from services.keys import KNOWN_FOR, Keys
from tests.conftest import Deployment, MakeApp, parts
from tests.services.uploading import database_of
from tests.support.keyed import PRIVATE, keyed_app, new_key

WRONG = "Bearer holdall_" + "a" * 43
ONE_STORE = pytest.mark.parametrize(
    "deployment", ("local-sqlite", "local-postgresql"), indirect=True
)


class Clock:
    """Times that tests move."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds

    def utc(self) -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)


@pytest.fixture
def keyed(app_with: MakeApp) -> Holdall:
    return keyed_app(app_with)


@pytest.fixture
def keys(keyed: Holdall) -> Keys:
    return parts(keyed).keys


@contextmanager
def locked(app: Holdall) -> Iterator[None]:
    """Hold SQLite's write lock, as another process may."""
    other = sqlite3.connect(parts(app).settings.data_dir / "app.db", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")
    finally:
        other.close()


def failures_of(app: Holdall) -> list[tuple[str, int]]:
    with database_of(app).read() as session:
        found = session.execute(select(Failure.client, Failure.count).order_by(Failure.client))
        return [(row[0], row[1]) for row in found]


# What a key is


def test_a_key_is_recognisable_and_has_256_random_bits(keys: Keys) -> None:
    made = [keys.create(EVERYONE, name="a", scopes=["read"]).secret for _ in range(3)]
    assert len(set(made)) == 3
    assert all(secret.startswith("holdall_") and len(secret) == 8 + 43 for secret in made)


def test_only_the_hash_of_a_key_is_kept(keyed: Holdall, keys: Keys) -> None:
    made = keys.create(EVERYONE, name="a", scopes=["read"])
    with database_of(keyed).read() as session:
        row = session.get_one(ApiKey, made.info.id)
    assert row.hash == hashlib.sha256(made.secret.encode()).digest()
    assert made.secret not in repr(made)
    assert len(made.info.hint.replace("holdall_", "")) < 10


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"name": ""}, "name"),
        ({"name": " \t"}, "name"),
        ({"name": "a\0b"}, "name"),
        ({"name": "a\ud800"}, "name"),
        ({"name": "n" * 256}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["read", "root"]}, "scopes"),
        ({"expires_in": 0}, "expires_in"),
        ({"expires_in": 10**12}, "expires_in"),
    ],
)
def test_a_key_that_makes_no_sense_is_not_made(
    keys: Keys, change: dict[str, object], complaint: str
) -> None:
    wanted: dict[str, object] = {"name": "a", "scopes": ["read"]} | change
    with pytest.raises(InvalidField, match=f"^{complaint}: "):
        keys.create(EVERYONE, **wanted)  # type: ignore[arg-type]
    assert keys.all(EVERYONE) == []


@pytest.mark.parametrize("name", ("nowhere", "a\0b", "\ud800", ""))
def test_a_key_for_an_unknown_collection_is_not_made(keys: Keys, name: str) -> None:
    with pytest.raises(CollectionNotFound):
        keys.create(EVERYONE, name="a", scopes=["read"], collection=name)
    assert keys.all(EVERYONE) == []


@pytest.mark.parametrize(
    "caller",
    [
        ANONYMOUS,
        Caller("a", frozenset({"read", "write", "delete"})),
        Caller("a", frozenset({"admin"}), PRIVATE),
    ],
)
def test_only_who_administers_all_has_to_do_with_keys(keys: Keys, caller: Caller) -> None:
    made = keys.create(EVERYONE, name="a", scopes=["read"])
    refused = NotPermitted if caller.scopes else NotSignedIn
    for act in (
        lambda: keys.create(caller, name="b", scopes=["read"]),
        lambda: keys.all(caller),
        lambda: keys.get(caller, made.info.id),
        lambda: keys.revoke(caller, made.info.id),
    ):
        with pytest.raises(refused):
            act()
    assert [key.state for key in keys.all(EVERYONE)] == ["active"]


# Who shows one


@ONE_STORE
def test_a_key_is_recognised_with_all_that_it_may_do(
    app_with: MakeApp, deployment: Deployment
) -> None:
    app = keyed_app(app_with, **deployment.variables)
    made = new_key(app, "write", "read", collection=PRIVATE, expires_in=60)
    expected = Caller(made.info.id, frozenset({"read", "write"}), PRIVATE)
    for scheme in ("Bearer", "bearer", "BEARER"):
        shown = parts(app).keys.authenticate(f"{scheme} {made.secret}", "192.0.2.1")
        assert shown == expected
    assert parts(app).keys.authenticate(None, "192.0.2.1") is ANONYMOUS


@pytest.mark.parametrize(
    "header",
    (
        "", "Bearer", "Bearer ", WRONG, "Bearer holdall_", "Bearer x", "Bearer \xe9", "Basic eDp5",
        "holdall_" + "a" * 43, "Bearer " + "a" * 10_000,
    ),
)  # fmt: skip
def test_what_is_no_key_is_refused_with_one_message(keys: Keys, header: str) -> None:
    with pytest.raises(NotSignedIn, match=r"^This needs a valid API key$"):
        keys.authenticate(header, "192.0.2.1")


def test_a_key_with_one_character_changed_is_refused(keyed: Holdall, keys: Keys) -> None:
    secret = new_key(keyed, "read").secret
    for changed in (secret[:-1], secret + "A", secret.swapcase(), secret[:20] + secret):
        with pytest.raises(KeyInvalid):
            keys.authenticate(f"Bearer {changed}", None)


def test_an_expired_key_is_refused_even_while_it_is_remembered(keyed: Holdall, keys: Keys) -> None:
    made = new_key(keyed, "read", expires_in=1)
    assert keys.authenticate(f"Bearer {made.secret}", None).owner == made.info.id
    with database_of(keyed).write() as session:
        session.execute(update(ApiKey).values(expires_at=datetime.now(UTC)))
    keys = Keys(database_of(keyed), Failures(database_of(keyed)))
    with pytest.raises(KeyInvalid):
        keys.authenticate(f"Bearer {made.secret}", None)
    assert keys.get(EVERYONE, made.info.id).state == "expired"
    assert not keys.is_active(made.info.id)
    keys.close()


def test_a_revoked_key_is_refused_at_once_here_and_within_half_a_second_elsewhere(
    keyed: Holdall, keys: Keys
) -> None:
    clock = Clock()
    elsewhere = Keys(database_of(keyed), Failures(database_of(keyed)), clock=clock.monotonic)
    made = new_key(keyed, "read")
    header = f"Bearer {made.secret}"
    for each in (keys, elsewhere):
        assert each.authenticate(header, None).owner == made.info.id
    assert keys.is_active(made.info.id)
    keys.revoke(EVERYONE, made.info.id)
    with pytest.raises(KeyInvalid):
        keys.authenticate(header, None)
    clock.seconds += KNOWN_FOR + 0.01
    with pytest.raises(KeyInvalid):
        elsewhere.authenticate(header, None)
    assert not elsewhere.is_active(made.info.id)
    elsewhere.close()


def test_a_key_is_revoked_once_and_stays_in_the_list(keyed: Holdall, keys: Keys) -> None:
    made = new_key(keyed, "read")
    keys.revoke(EVERYONE, made.info.id)
    (first,) = keys.all(EVERYONE)
    keys.revoke(EVERYONE, made.info.id)
    assert (keys.get(EVERYONE, made.info.id), first.state) == (first, "revoked")
    for unknown in ("a" * 26, "", "a\0", "../x"):
        with pytest.raises(ApiKeyNotFound):
            keys.revoke(EVERYONE, unknown)
        with pytest.raises(ApiKeyNotFound):
            keys.get(EVERYONE, unknown)
        assert not unknown or not keys.is_active(unknown)


@ONE_STORE
def test_two_admins_that_revoke_each_other_leave_one(
    app_with: MakeApp, deployment: Deployment
) -> None:
    app = keyed_app(app_with, **deployment.variables)
    keys = parts(app).keys
    pair = [new_key(app, "admin"), new_key(app, "admin")]
    new_key(app, "admin", collection=PRIVATE)
    new_key(app, "read", "write", "delete")

    def end(made: int) -> bool:
        try:
            keys.revoke(EVERYONE, pair[made].info.id)
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(end, (0, 1))) == [False, True]
    (left,) = [key for key in keys.all(EVERYONE) if key.scopes == ("admin",) and not key.collection
               and key.state == "active"]  # fmt: skip
    keys.revoke(EVERYONE, left.id, even_last=True)
    assert keys.get(EVERYONE, left.id).state == "revoked"


# When it was used


def test_the_last_use_is_written_down_once_a_minute(keyed: Holdall, keys: Keys) -> None:
    made = new_key(keyed, "read")
    keys.authenticate(f"Bearer {made.secret}", None)
    first = _used(keys, made.info.id)
    assert datetime.now(UTC) - first < timedelta(seconds=30)
    elsewhere = Keys(database_of(keyed), Failures(database_of(keyed)))
    elsewhere.authenticate(f"Bearer {made.secret}", None)
    elsewhere.close()
    assert _used(keys, made.info.id) == first


def _used(keys: Keys, key_id: str) -> datetime:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if (moment := keys.get(EVERYONE, key_id).last_used_at) is not None:
            return moment
        time.sleep(0.01)
    raise AssertionError("never written")


def test_a_locked_database_lets_right_keys_in_at_once_and_nobody_else(
    app_with: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "_BUSY_TIMEOUT_MS", 300)
    app = keyed_app(app_with)
    made = new_key(app, "read")
    keys = parts(app).keys
    with locked(app):
        assert keys.authenticate(f"Bearer {made.secret}", None).owner == made.info.id
        with pytest.raises(OperationalError):
            keys.authenticate(WRONG, "192.0.2.1")
    with pytest.raises(KeyInvalid):
        keys.authenticate(WRONG, "192.0.2.1")


def test_a_broken_database_lets_nobody_in(keyed: Holdall, keys: Keys) -> None:
    made = new_key(keyed, "admin")
    with database_of(keyed).write() as session:
        session.execute(text("ALTER TABLE api_keys RENAME TO gone"))
    with pytest.raises(OperationalError):
        keys.authenticate(f"Bearer {made.secret}", None)
