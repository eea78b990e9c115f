"""When another server sends the bytes, and what it and the client are told."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.delivery import PERSONAL, PUBLIC, Access, Grant, Plan
from services.handoff import MARGIN, HandOff, Way
from tests.services.planning import EARLIER, ETAG, FILE, LISTED, MODIFIED, NOW, ask, headers_of

ORIGIN = "https://app.example.org"
WAYS = (Way.REDIRECT, Way.ACCEL)

BOTH: tuple[dict[str, str], ...] = (
    {},
    {"range": "bytes=0-9"},
    {"range": "bytes=5-"},
    {"range": "bytes=-5"},
    {"range": "bytes=5-9999"},
    {"if-none-match": '"other"'},
    {"if-modified-since": EARLIER},
    {"accept": "image/*"},
)
NEITHER: tuple[dict[str, str], ...] = (
    {"range": "bytes=0-1,5-6"},
    {"range": "bytes=0-1,2-3"},
    {"range": "bytes=9-0"},
    {"range": "lines=0-9"},
    {"range": "bytes=9999-"},
    {"range": " bytes=0-9"},
    {"range": "BYTES=0-9"},
    {"range": "bytes=0-" + "9" * 30},
    {"if-match": ETAG},
    {"if-match": "*"},
    {"if-unmodified-since": MODIFIED},
    {"if-none-match": ETAG},
    {"if-modified-since": MODIFIED},
    {"range": "bytes=0-9", "if-range": '"other"'},
    {"range": "bytes=0-9", "if-range": f"W/{ETAG}"},
    {"range": "bytes=0-9", "if-range": MODIFIED},
)
OWN_ALONE: tuple[dict[str, str], ...] = (
    {"origin": ORIGIN},
    {"origin": "https://elsewhere.example"},
    {"origin": "null"},
    {"want-repr-digest": "sha-256=1"},
    {"range": "bytes=0-9", "if-range": ETAG},
)


def handed(answer: Plan) -> HandOff:
    """Return what is handed off, and see that no byte comes from us then."""
    assert answer.hand_off is not None
    assert (answer.pieces, answer.length) == ((), 0)
    assert headers_of(answer)["content-length"] == "0"
    return answer.hand_off


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("headers", BOTH)
def test_what_the_other_server_answers_alike_is_handed_off(
    way: Way, headers: dict[str, str]
) -> None:
    assert handed(ask(headers, way=way)).way is way


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("headers", NEITHER)
def test_what_it_would_answer_otherwise_is_ours(way: Way, headers: dict[str, str]) -> None:
    assert ask(headers, way=way) == ask(headers)


@pytest.mark.parametrize("headers", OWN_ALONE)
def test_what_only_nginx_can_say_for_us_is_not_redirected(headers: dict[str, str]) -> None:
    assert ask(headers, way=Way.REDIRECT) == ask(headers)
    assert handed(ask(headers, way=Way.ACCEL)).way is Way.ACCEL


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("headers", BOTH)
def test_head_and_empty_files_are_ours(way: Way, headers: dict[str, str]) -> None:
    assert ask(headers, method="HEAD", way=way) == ask(headers, method="HEAD")
    empty = replace(FILE, size=0)
    assert ask(headers, file=empty, way=way) == ask(headers, file=empty)


class TestAccel:
    @pytest.mark.parametrize("headers", [{}, {"range": "bytes=0-9"}])
    def test_nginx_is_told_all_that_the_answer_says(self, headers: dict[str, str]) -> None:
        answer = ask({"origin": ORIGIN} | headers, way=Way.ACCEL)
        said, told = headers_of(ask({"origin": ORIGIN} | headers)), headers_of(answer)
        for name in ("cache-control", "content-disposition"):
            told[name] = told.pop(f"x-holdall-{name}")
        assert answer.status == 200
        assert told | {"content-length": ""} == {
            name: value
            for name, value in (said | {"content-length": ""}).items()
            if name not in ("content-range", "accept-ranges")
        }

    def test_its_link_to_the_store_is_signed_for_minutes_and_says_nothing(self) -> None:
        told = handed(ask(way=Way.ACCEL, access=Access(Grant.SIGNED, 1)))
        assert told == HandOff(Way.ACCEL, told.lease)
        assert told.lease.signed_at <= NOW
        assert 0 < told.lease.left(NOW) <= 300


class TestRedirect:
    def test_the_store_says_what_we_would_say(self) -> None:
        answer = ask(way=Way.REDIRECT, download=True)
        told = handed(answer)
        assert answer.status == 302
        assert told.content_type == "image/png"
        assert told.disposition == 'attachment; filename="photo.png"'
        assert told.cache_control == "public, max-age=86400, immutable"

    @pytest.mark.parametrize("content_type", ["text/html", "image/svg+xml", "text/javascript"])
    def test_what_could_run_is_an_attachment_at_the_store_too(self, content_type: str) -> None:
        told = handed(ask(way=Way.REDIRECT, file=replace(FILE, content_type=content_type)))
        assert told.disposition.startswith("attachment")

    def test_it_describes_no_bytes_and_is_another_answer_for_pages_of_other_origins(self) -> None:
        for cors in (LISTED, replace(LISTED, origins=()), replace(LISTED, origins=("*",))):
            named = headers_of(ask(way=Way.REDIRECT, cors=cors))
            assert named["vary"] == "Origin"
            assert named["x-content-type-options"] == "nosniff"
            assert not named.keys() & {"etag", "last-modified", "repr-digest", "content-type"}
            assert not named.keys() & {"accept-ranges", "content-disposition", "content-range"}

    def test_the_link_is_the_same_within_a_window_and_another_after_it(self) -> None:
        start = datetime(2024, 6, 1, 12, 15, tzinfo=UTC)
        told = [
            handed(ask(way=Way.REDIRECT, now=start + timedelta(seconds=seconds)))
            for seconds in (0, 0.5, 899.9, 900)
        ]
        assert told[0] == told[1] == told[2] != told[3]
        assert told[0].lease.signed_at == start
        assert told[0].lease.expires_in == 3600

    def test_the_link_of_a_signed_link_is_the_same_within_a_window(self) -> None:
        start, end = datetime(2024, 6, 1, 12, 15, tzinfo=UTC), 1000.0
        told = {
            handed(
                ask(
                    way=Way.REDIRECT,
                    now=start + timedelta(seconds=seconds),
                    access=Access(Grant.SIGNED, int(end - seconds)),
                )
            )
            for seconds in (0, 0.5, 1.25, 500, 899.9)
        }
        assert {each.lease.expires_in for each in told} == {999}
        assert {each.cache_control for each in told} == {"private, no-cache"}

    @pytest.mark.parametrize("access", [PUBLIC, Access(Grant.SIGNED, 10**6)])
    def test_it_is_kept_no_longer_than_the_link_lives(self, access: Access) -> None:
        now = datetime(2024, 6, 1, 12, 20, tzinfo=UTC)
        named = headers_of(ask(way=Way.REDIRECT, access=access, now=now))
        assert named["cache-control"] == f"public, max-age={3300 - MARGIN}"
        shorter = replace(FILE, cache_max_age=60)
        named = headers_of(ask(way=Way.REDIRECT, access=access, now=now, file=shorter))
        assert named["cache-control"] == "public, max-age=60"

    @pytest.mark.parametrize("changed", [{"filename": None}, {"filename": "old.png"}])
    def test_an_old_name_is_asked_about_each_time(self, changed: dict[str, Any]) -> None:
        named = headers_of(ask(way=Way.REDIRECT, **changed))
        assert named["cache-control"] == "public, no-cache"

    def test_what_a_key_opened_is_kept_by_no_one_and_signed_for_a_shorter_time(self) -> None:
        answer = ask(way=Way.REDIRECT, access=PERSONAL)
        assert headers_of(answer)["cache-control"] == "private, no-store"
        assert handed(answer).cache_control == "private, no-store"
        assert handed(answer).lease.expires_in == 900

    def test_a_file_that_ends_is_not_outlived_either(self) -> None:
        for access in (PUBLIC, PERSONAL, Access(Grant.SIGNED, 10**6)):
            ending = replace(FILE, expires_at=NOW + timedelta(seconds=300))
            told = handed(ask(way=Way.REDIRECT, file=ending, access=access))
            kept = "private, no-store" if access is PERSONAL else "private, no-cache"
            assert (told.lease.left(NOW), told.cache_control) == (300, kept)
            ending = replace(FILE, expires_at=NOW + timedelta(seconds=MARGIN))
            assert ask(way=Way.REDIRECT, file=ending, access=access).hand_off is None

    def test_a_signed_link_near_its_end_is_not_redirected(self) -> None:
        late = Access(Grant.SIGNED, MARGIN)
        assert ask(way=Way.REDIRECT, access=late) == ask(access=late)

    @given(
        moment=st.floats(0, 4e9).map(lambda seconds: datetime.fromtimestamp(seconds, UTC)),
        seconds_left=st.integers(1, 10**6),
        grant=st.sampled_from(Grant),
    )
    def test_no_link_and_no_cache_outlives_what_allowed_it(
        self, moment: datetime, seconds_left: int, grant: Grant
    ) -> None:
        answer = ask(way=Way.REDIRECT, now=moment, access=Access(grant, seconds_left))
        if answer.hand_off is None:
            assert grant is Grant.SIGNED and seconds_left <= MARGIN + 1
            return
        lease = answer.hand_off.lease
        assert lease.signed_at <= moment
        assert MARGIN < lease.left(moment) <= 3600
        if grant is Grant.SIGNED:
            assert lease.left(moment) <= seconds_left
        age = headers_of(answer)["cache-control"].partition("max-age=")[2]
        assert not age or 0 < int(age) < lease.left(moment)
