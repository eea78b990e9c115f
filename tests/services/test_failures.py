"""Wrong keys, counted for all processes that share a database."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from app import Holdall
from services.caller import EVERYONE
from services.errors import KeyInvalid, NotSignedIn, TooManyFailures
from services.failures import MOST, WINDOW, Failures, client_of
from services.keys import Keys
from tests.conftest import Deployment, MakeApp, parts
from tests.services.test_keys import ONE_STORE, WRONG, Clock, failures_of
from tests.services.uploading import database_of
from tests.support.keyed import keyed_app, new_key


@pytest.fixture
def keyed(app_with: MakeApp) -> Holdall:
    return keyed_app(app_with)


@pytest.fixture
def keys(keyed: Holdall) -> Keys:
    return parts(keyed).keys


@ONE_STORE
def test_wrong_keys_are_counted_for_all_processes_and_then_no_more_is_written(
    app_with: MakeApp, deployment: Deployment
) -> None:
    app = keyed_app(app_with, **deployment.variables)
    clock = Clock()
    here, there = (Failures(database_of(app), clock=clock.utc) for _ in range(2))
    for number in range(MOST):
        (here, there)[number % 2].add("192.0.2.1")
    clock.seconds += 20
    for each in (here, there) * 3:
        with pytest.raises(TooManyFailures) as refused:
            each.add("192.0.2.1")
        assert refused.value.retry_after == WINDOW.total_seconds() - 20
    assert failures_of(app) == [("192.0.2.1", MOST)]
    here.add("192.0.2.2")
    clock.seconds += 40
    there.add("192.0.2.1")
    assert failures_of(app) == [("192.0.2.1", 1), ("192.0.2.2", 1)]


@ONE_STORE
def test_wrong_keys_at_the_same_time_are_all_counted(
    app_with: MakeApp, deployment: Deployment
) -> None:
    app = keyed_app(app_with, **deployment.variables)
    failures = Failures(database_of(app))

    def let_pass(_: int) -> bool:
        try:
            failures.add("2001:db8::1")
        except TooManyFailures:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(let_pass, range(2 * MOST))) == MOST


def test_a_right_key_gets_through_where_wrong_ones_come_from(keyed: Holdall, keys: Keys) -> None:
    made = new_key(keyed, "read")
    for _ in range(MOST):
        with pytest.raises(KeyInvalid):
            keys.authenticate(WRONG, "192.0.2.1")
    with pytest.raises(TooManyFailures):
        keys.authenticate(WRONG, "192.0.2.1")
    assert keys.authenticate(f"Bearer {made.secret}", "192.0.2.1").owner == made.info.id
    with pytest.raises(KeyInvalid):
        keys.authenticate(WRONG, "192.0.2.2")


def test_revoked_keys_count_as_wrong_ones_and_other_schemes_do_not(
    keyed: Holdall, keys: Keys
) -> None:
    made = new_key(keyed, "read")
    keys.revoke(EVERYONE, made.info.id)
    for header in (f"Bearer {made.secret}", "Basic eDp5", ""):
        with pytest.raises(NotSignedIn):
            keys.authenticate(header, "192.0.2.1")
    assert failures_of(keyed) == [("192.0.2.1", 1)]


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        (None, ""),
        ("unix:", ""),
    ],
)
def test_a_client_is_an_address_or_a_network_of_one_subscriber(
    address: str | None, client: str
) -> None:
    assert client_of(address) == client
