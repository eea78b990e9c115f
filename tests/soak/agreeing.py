"""What two instances of a deployment have to agree on, asked of both: keys, policies, leases.

Each check takes a running site of `deploy.scale` and leaves files of its own collections behind.
"""

import hashlib
import random
import re
import time
from collections.abc import Callable, Mapping
from typing import Final

import requests
from sqlalchemy import create_engine, text

from deploy.scale.site import Site
from tests.support.service import Service

WITHIN: Final = 1.0
"""Seconds in which a key that is revoked and a policy that is changed are promised to count."""
TUS: Final = {"Tus-Resumable": "1.0.0"}
NO_HEADERS: Final[Mapping[str, str]] = {}


class Api:
    """The API of a site at whichever instance is asked."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def ask(
        self,
        at: Service,
        method: str,
        path: str,
        body: bytes | Mapping[str, object] = b"",
        *,
        key: str = "",
        headers: Mapping[str, str] = NO_HEADERS,
    ) -> requests.Response:
        """Send a request on a connection of its own, so that any worker may get it."""
        named = {**headers, "Authorization": f"Bearer {key or self.site.key}"}
        sent = {"data": body} if isinstance(body, bytes) else {"json": body}
        return requests.request(method, at.url + path, headers=named, timeout=30, **sent)


def check_a_revoked_key_ends_everywhere(site: Site) -> float:
    """Revoke a key at one instance that the other knows; return for how long that took it."""
    api, (here, there) = Api(site), site.instances
    wanted = {"name": "short", "scopes": ["read"]}
    made = api.ask(here, "POST", "/api/keys", wanted)
    assert made.status_code == 201, made.text
    key = made.json()["key"]

    def is_taken() -> bool:
        return api.ask(there, "GET", "/api/files?limit=1", key=key).status_code == 200

    assert all([is_taken() for _ in range(8)])
    revoked = api.ask(here, "DELETE", f"/api/keys/{made.json()['id']}")
    assert revoked.status_code == 204, revoked.text
    return _counts_within(is_taken)


def check_a_changed_policy_counts_everywhere(site: Site) -> float:
    """Bound a collection at one instance that the other has just used; return as above."""
    api, (here, there) = Api(site), site.instances
    put_collection(api, here, "bounded", max_size=1000)

    def is_taken() -> bool:
        path = "/api/upload/some.txt?collection=bounded"
        return api.ask(there, "PUT", path, b"twenty bytes of text").status_code == 201

    assert all([is_taken() for _ in range(8)])
    put_collection(api, here, "bounded", max_size=10)
    return _counts_within(is_taken)


def check_an_upload_goes_from_one_to_the_other(site: Site) -> None:
    """Begin an upload at one instance and end it at the other, piece by piece."""
    api, content = Api(site), random.Random(7).randbytes(6_000_001)
    here, there = site.instances
    length = {"Upload-Length": str(len(content))}
    made = api.ask(here, "POST", "/api/tus", headers=TUS | length)
    assert made.status_code == 201, made.text
    at, (here, there) = 0, (there, here)
    while at < len(content):
        how = {"Upload-Offset": str(at), "Content-Type": "application/offset+octet-stream"}
        piece = content[at : at + 1_700_000]
        told = api.ask(here, "PATCH", made.headers["Location"], piece, headers=TUS | how)
        assert told.status_code == 204, told.text
        at, (here, there) = int(told.headers["Upload-Offset"]), (there, here)
    for each in site.instances:
        served = api.ask(each, "GET", told.headers["Upload-File-Url"])
        assert hashlib.sha256(served.content).digest() == hashlib.sha256(content).digest()


def check_what_expires_goes_once(site: Site, *, seconds: float) -> None:
    """Let files expire, and see that the instances together drop each of them once."""
    api, before, number = Api(site), dropped(site), 12
    put_collection(api, site.instances[0], "brief", expires_in=1)
    for each in range(number):
        instance = site.instances[each % 2]
        made = api.ask(instance, "PUT", f"/api/upload/{each}.txt?collection=brief", b"brief")
        assert made.status_code == 201, made.text
    deadline = time.monotonic() + seconds
    while dropped(site) < before + number:
        assert time.monotonic() < deadline, "nobody drops what has expired"
        time.sleep(0.2)
    holders = leaseholders(site)
    time.sleep(2)
    assert dropped(site) == before + number
    assert {"expire-uploads", "gc"} <= holders.keys()
    assert leaseholders(site) == holders


def put_collection(api: Api, at: Service, name: str, **fields: object) -> None:
    made = api.ask(at, "PUT", f"/api/collections/{name}", fields)
    assert made.status_code in (200, 201), made.text


def dropped(site: Site) -> int:
    """Return how many files the instances together say that they have dropped for their age."""
    pattern = re.compile(r'^holdall_gc_collected_total\{kind="file"\} ([0-9.]+)$', re.MULTILINE)
    shown = [requests.get(f"{each.url}/metrics", timeout=30).text for each in site.instances]
    return sum(int(float(found)) for text in shown for found in pattern.findall(text))


def leaseholders(site: Site) -> dict[str, str]:
    """Return who holds which lease."""
    engine = create_engine(site.variables["DATABASE_URL"])
    try:
        with engine.connect() as connection:
            rows = connection.execute(text("SELECT name, holder FROM leases"))
            return {name: holder for name, holder in rows}
    finally:
        engine.dispose()


def _counts_within(is_taken: Callable[[], bool]) -> float:
    """Ask until WITHIN has long passed; nothing that is asked after it may be taken.

    Return when the last one was asked that was taken.
    """
    began, last = time.monotonic(), 0.0
    while (asked := time.monotonic() - began) < 1.5 * WITHIN:
        if is_taken():
            assert asked < WITHIN, f"still taken {asked:.2f} s later"
            last = asked
    return last
