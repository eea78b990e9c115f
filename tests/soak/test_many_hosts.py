"""A whole deployment of many hosts, with its parts dying under load, in its short form.

HOLDALL_TEST_SECONDS=600 is as long as `make scale-soak` is by itself, which prints what happens.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import requests

from deploy.scale.front import Front
from deploy.scale.site import Site, site
from tests.conftest import MakeApp
from tests.services.checking import check
from tests.services.collecting import collect
from tests.soak import agreeing
from tests.soak.cutting import Mute
from tests.soak.many_hosts import Soak
from tests.support.processes import free_ports

SECONDS = float(os.environ.get("HOLDALL_TEST_SECONDS", "20"))
OFTEN = {"SWEEP_INTERVAL": "1", "GC_INTERVAL": "1"}


def test_many_hosts_agree_and_lose_nothing_while_their_parts_die(
    tmp_path: Path, app_with: MakeApp
) -> None:
    tmp_path.chmod(0o755)
    with site(tmp_path, instances=2, volumes=2, settings=OFTEN) as running:
        key = agreeing.check_a_revoked_key_ends_everywhere(running)
        policy = agreeing.check_a_changed_policy_counts_everywhere(running)
        print(f"a key was taken for {key:.2f} s more, an old policy for {policy:.2f} s")
        agreeing.check_an_upload_goes_from_one_to_the_other(running)
        agreeing.check_what_expires_goes_once(running, seconds=20)
        check_that_nginx_repeats_no_upload(running)
        empty(running)
        soak = Soak(running, clients=4, seed=SECONDS, rest=0.1, say=print)
        soak.run(SECONDS)
        soak.settle()
        print(soak.summary())
        assert soak.is_good
        app = app_with(**running.variables)
        collect(app, grace=timedelta(seconds=-5), force=True)
        assert check(app, verify=True).findings == []


def check_that_nginx_repeats_no_upload(running: Site) -> None:
    """Have instances do what they are asked and die before they answer."""
    headers = {"Authorization": f"Bearer {running.key}"}
    with in_front_of_a_mute(running) as (url, mute):
        for number in range(4):
            put = requests.put(f"{url}/api/upload/put-{number}", data=b"", headers=headers)
            assert put.status_code == 201, put.text
        assert mute.asked, "nginx went on at the other instance"
    with in_front_of_a_mute(running) as (url, mute):
        statuses = [
            requests.post(
                f"{url}/api/upload", files={"file": (f"form-{number}", b"form")}, headers=headers
            ).status_code
            for number in range(4)
        ]
        assert statuses.count(502) == mute.asked == 1
    names = [item["filename"] for item in listed(running)]
    for number in range(4):
        assert names.count(f"put-{number}") == names.count(f"form-{number}") == 1


@contextmanager
def in_front_of_a_mute(running: Site) -> Iterator[tuple[str, Mute]]:
    """Run another nginx, in front of one instance as it is and the other struck mute."""
    (port,) = free_ports(1)
    folder = running.folder / f"nginx-{port}"
    folder.mkdir()
    mute = Mute(running.instances[0].port)
    front = Front(folder, port=port, store=running.store.port)
    try:
        front.start([mute.port, running.instances[1].port])
        yield front.url, mute
    finally:
        front.stop()
        mute.stop()


def listed(running: Site) -> list[dict[str, str]]:
    headers = {"Authorization": f"Bearer {running.key}"}
    answer = requests.get(f"{running.url}/api/files?limit=100", headers=headers)
    assert answer.status_code == 200
    items: list[dict[str, str]] = answer.json()["items"]
    return items


def empty(running: Site) -> None:
    """Delete every file, since the soak knows its own only."""
    headers = {"Authorization": f"Bearer {running.key}"}
    while items := listed(running):
        for item in items:
            requests.delete(f"{running.url}/api/files/{item['id']}", headers=headers)
