"""Signed links as the service makes and judges them: every byte counts, and every second."""

import base64
import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app import Holdall
from models import UsedLink, now
from services.caller import EVERYONE, Caller
from services.errors import Conflict, LinkExpired, LinkInvalid, LinkUsed, NotPermitted, NotSignedIn
from services.filenames import clean_filename
from services.intake import Declaration
from services.links import Links
from services.signing import Signer
from services.used_links import MOST_UPLOADS, REMEMBERED, use_link
from tests.conftest import MakeApp, parts
from tests.services.uploading import database_of

OLD, NEW = "old secret " * 4, "new secret " * 4
WRITER = Caller(owner="key1", scopes=frozenset({"write"}))

at_leisure = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.5

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


MakeLinks = Callable[..., Links]


@pytest.fixture
def links_with(local_app: Holdall, clock: Clock) -> MakeLinks:
    """Make a service of links with the secrets given."""

    def make(
        secrets: Sequence[str] = (NEW,),
        *,
        active: Callable[[str], bool] = lambda key_id: True,
        keyless: bool = True,
    ) -> Links:
        services = parts(local_app)
        return Links(
            secrets,
            services.files,
            services.ingest,
            is_active=active,
            keyless=keyless,
            clock=clock,
        )

    return make


@pytest.fixture
def links(links_with: MakeLinks) -> Links:
    return links_with()


@pytest.fixture
def file_id(local_app: Holdall) -> str:
    file: str = local_app.test_client().put("/api/upload/a.txt", data=b"text").get_json()["id"]
    return file


def read_link(links: Links, file_id: str, expires_in: int = 60, name: str | None = None) -> str:
    return links.to_read(
        EVERYONE, file_id, expires_in=expires_in, disposition="inline", filename=name
    ).path


def opened(links: Links, url: str, method: str = "GET") -> int:
    """Verify an URL as a server does, and return the seconds that it has left."""
    path, _, query = url.partition("?")
    return links.verify(method, unquote_to_bytes(path), query)


# Links to read


@at_leisure
@given(name=st.text(max_size=300), expires_in=st.integers(1, 7 * 86_400))
def test_a_link_is_good_for_whatever_name(
    links: Links, file_id: str, name: str, expires_in: int
) -> None:
    link = links.to_read(
        EVERYONE, file_id, expires_in=expires_in, disposition="attachment", filename=name
    )
    assert link.filename == clean_filename(name)
    assert opened(links, link.path) <= expires_in * 1.25
    assert opened(links, link.path, "HEAD") >= expires_in - 1


@at_leisure
@given(place=st.integers(0), byte=st.integers(33, 126))
def test_any_other_byte_makes_it_invalid(links: Links, file_id: str, place: int, byte: int) -> None:
    url = read_link(links, file_id)
    place %= len(url)
    changed = url[:place] + chr(byte) + url[place + 1 :]
    if changed != url:
        with pytest.raises(LinkInvalid) as raised:
            opened(links, changed)
        assert type(raised.value) is LinkInvalid, "not that it has expired either"


@at_leisure
@given(end=st.integers(0), more=st.text(min_size=1, max_size=50))
def test_a_shorter_or_longer_one_is_invalid(
    links: Links, file_id: str, end: int, more: str
) -> None:
    url = read_link(links, file_id)
    for changed in (url[: end % len(url)], url + more, more + url):
        with pytest.raises(LinkInvalid):
            opened(links, changed)


@at_leisure
@given(path=st.binary(max_size=400), query=st.text(max_size=400), method=st.text(max_size=8))
def test_whatever_comes_is_refused_in_the_same_way(
    links: Links, path: bytes, query: str, method: str
) -> None:
    with pytest.raises(LinkInvalid):
        links.verify(method, path, query)


@pytest.mark.parametrize("method", ("POST", "PUT", "DELETE", "OPTIONS", "get", ""))
def test_another_method_is_refused(links: Links, file_id: str, method: str) -> None:
    with pytest.raises(LinkInvalid):
        opened(links, read_link(links, file_id), method)


@at_leisure
@given(
    expires_in=st.integers(1, 7 * 86_400),
    at=st.floats(1_600_000_000, 4_000_000_000, allow_nan=False),
)
def test_it_ends_not_before_it_was_asked_to_and_at_most_a_quarter_later(
    links: Links, clock: Clock, file_id: str, expires_in: int, at: float
) -> None:
    clock.time = at
    link = links.to_read(EVERYONE, file_id, expires_in=expires_in, disposition="inline")
    life = link.expires_at.timestamp() - at
    assert expires_in - 1e-5 <= life <= expires_in * 1.25 + 1e-5


@pytest.mark.parametrize("expires_in", (1, 2, 3, 60, 86_400))
def test_it_dies_at_the_moment_that_was_told(
    links: Links, clock: Clock, file_id: str, expires_in: int
) -> None:
    link = links.to_read(EVERYONE, file_id, expires_in=expires_in, disposition="inline")
    end = link.expires_at.timestamp()
    clock.time = end - 0.002
    assert opened(links, link.path) == 0
    clock.time = end
    with pytest.raises(LinkExpired):
        opened(links, link.path)


def test_in_a_quarter_of_its_life_there_is_one_link(
    links_with: MakeLinks, clock: Clock, file_id: str
) -> None:
    first, second = links_with(), links_with()
    clock.time = 1_800_000_000.0
    made = set()
    for _ in range(100):
        made |= {read_link(first, file_id, 400), read_link(second, file_id, 400)}
        clock.time += 1
    assert len(made) == 2, "at the edge of a window begins the next"


def test_what_an_earlier_secret_signed_lives_until_it_is_removed(
    links_with: MakeLinks, file_id: str
) -> None:
    url = read_link(links_with([OLD]), file_id)
    token = upload_token(links_with([OLD]))
    rotated, removed = links_with([NEW, OLD]), links_with([NEW])
    assert opened(rotated, url) > 0 and rotated.uploader(token).link
    for refused in (lambda: opened(removed, url), lambda: removed.uploader(token)):
        with pytest.raises(LinkInvalid):
            refused()
    assert opened(removed, read_link(rotated, file_id)) > 0, "the first secret signs"


def test_a_key_is_good_for_one_purpose() -> None:
    reading, uploading = Signer([NEW], "link to read"), Signer([NEW], "link to upload")
    assert reading.verify(b"message", reading.sign(b"message"))
    assert not uploading.verify(b"message", reading.sign(b"message"))
    assert not Signer(["link to read"], NEW).verify(b"message", reading.sign(b"message"))


def test_a_signature_is_written_in_one_way() -> None:
    signer = Signer([NEW], "test")
    signature = signer.sign(b"message")
    others = [signature[:-1] + last for last in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrst-_"]
    assert [each for each in others if signer.verify(b"message", each)] in ([], [signature])
    for odd in (signature + "=", "", "ü", "\udcff" * 43):
        assert not signer.verify(b"message", odd)


@pytest.mark.parametrize("secrets", ([], [""], [NEW, ""]))
def test_nothing_is_signed_without_a_secret(secrets: list[str]) -> None:
    with pytest.raises(ValueError, match="secret"):
        Signer(secrets, "test")


# Links to upload


def upload_token(links: Links, caller: Caller = EVERYONE, expires_in: int = 60) -> str:
    return links.to_upload(caller, expires_in=expires_in).token


def test_what_an_upload_link_allows_stands_in_it(links: Links, clock: Clock) -> None:
    signed = links.to_upload(
        WRITER,
        expires_in=60,
        max_size=1000,
        filename="../../Straße \u202e.png",
        content_type="image/png",
    )
    caller = links.uploader(signed.token)
    assert (caller.owner, caller.collection) == ("key1", "default")
    assert caller.scopes == frozenset({"write"})
    assert caller.link is not None
    assert caller.link.max_size == signed.max_size == 1000
    assert caller.link.filename == signed.filename == "Straße .png"
    assert caller.link.content_type == "image/png"
    assert caller.link.expires_at == signed.expires_at.timestamp() == 1_800_000_061


def test_it_never_allows_more_than_the_collection(links: Links, local_app: Holdall) -> None:
    largest = parts(local_app).settings.max_upload_size
    assert links.to_upload(EVERYONE, expires_in=1).max_size == largest
    assert links.to_upload(EVERYONE, expires_in=1, max_size=2**60).max_size == largest


def test_each_upload_link_is_another(links: Links) -> None:
    assert upload_token(links) != upload_token(links)


@pytest.mark.parametrize(
    ("caller", "error"),
    [(Caller(), NotSignedIn), (Caller(owner="key1", scopes=frozenset({"read"})), NotPermitted)],
)
def test_who_may_not_write_signs_no_upload(
    links: Links, caller: Caller, error: type[Exception]
) -> None:
    with pytest.raises(error):
        upload_token(links, caller)


@at_leisure
@given(place=st.integers(0), byte=st.integers(33, 126))
def test_any_other_byte_makes_a_token_invalid(links: Links, place: int, byte: int) -> None:
    token = upload_token(links)
    place %= len(token)
    changed = token[:place] + chr(byte) + token[place + 1 :]
    for other in (changed, token[:place], token + chr(byte)):
        if other != token:
            with pytest.raises(LinkInvalid):
                links.uploader(other)


@at_leisure
@given(token=st.text(max_size=300) | st.from_regex(r"[A-Za-z0-9_-]{1,50}\.[A-Za-z0-9_-]{43}"))
def test_whatever_is_shown_as_a_token_is_refused_in_the_same_way(links: Links, token: str) -> None:
    with pytest.raises(LinkInvalid):
        links.uploader(token)


def test_a_link_to_read_is_no_link_to_upload(links: Links, file_id: str) -> None:
    signature = read_link(links, file_id).rpartition("=")[2]
    claims = json.dumps({"id": "x", "owner": None}).encode()
    for payload in (base64.urlsafe_b64encode(claims).decode().rstrip("="), "GET"):
        with pytest.raises(LinkInvalid):
            links.uploader(f"{payload}.{signature}")


def test_an_upload_link_dies_at_its_second(links: Links, clock: Clock) -> None:
    token = upload_token(links, expires_in=2)
    clock.time = 1_800_000_002.999
    assert links.uploader(token).link
    clock.time = 1_800_000_003
    with pytest.raises(LinkExpired):
        links.uploader(token)


def test_it_dies_with_the_key_that_signed_it(links_with: MakeLinks) -> None:
    token = upload_token(links_with(), WRITER)
    assert links_with(active=lambda key_id: key_id == "key1").uploader(token).owner == "key1"
    with pytest.raises(LinkInvalid):
        links_with(active=lambda key_id: False).uploader(token)


def test_one_that_no_key_signed_is_good_in_open_mode_alone(links_with: MakeLinks) -> None:
    token = upload_token(links_with())
    assert links_with().uploader(token).owner is None
    with pytest.raises(LinkInvalid):
        links_with(keyless=False).uploader(token)


# What is written down of links in use


def test_one_link_begins_so_many_uploads_and_no_more(app_with: MakeApp) -> None:
    app = app_with()
    caller = parts(app).links.uploader(upload_token(parts(app).links))
    uploads, declared = parts(app).uploads, Declaration("a.bin", size=10)
    made = [uploads.create(caller, declared, protocol="tus") for _ in range(MOST_UPLOADS)]
    with pytest.raises(Conflict):
        uploads.create(caller, declared, protocol="tus")
    uploads.terminate(caller, made[3].id)
    assert uploads.create(caller, declared, protocol="tus").id == made[3].id


def test_an_upload_by_a_link_ends_with_it(local_app: Holdall) -> None:
    links = parts(local_app).links
    signed = links.to_upload(EVERYONE, expires_in=30)
    begun = parts(local_app).uploads.create(
        links.uploader(signed.token), Declaration("a.bin", size=10), protocol="tus"
    )
    assert begun.expires_at == signed.expires_at


def test_used_links_are_forgotten_when_nothing_can_come_by_them(local_app: Holdall) -> None:
    database = database_of(local_app)
    ends = {"over": REMEMBERED + timedelta(1), "recent": REMEMBERED - timedelta(1)}
    with database.write() as session:
        for name, ago in ends.items():
            session.add(UsedLink(id=name, file_id="f", expires_at=now() - ago))
    parts(local_app).expiry.run()
    with database.read() as session:
        assert session.get(UsedLink, "over") is None
        assert session.get(UsedLink, "recent") is not None


def test_a_file_that_comes_when_its_link_may_be_forgotten_is_refused(local_app: Holdall) -> None:
    links = parts(local_app).links
    caller = links.uploader(upload_token(links))
    state, _ = parts(local_app).ingest.judge(caller, Declaration("a.bin"))
    long_ago = int((now() - REMEMBERED).timestamp())
    values = {name: getattr(state, name) for name in state.__slots__}
    late = type(state)(**values | {"link_until": long_ago})
    with database_of(local_app).write() as session, pytest.raises(LinkUsed):
        use_link(session, late)
