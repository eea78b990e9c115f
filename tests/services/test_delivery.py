"""The planner: a test for each line of the protocol checklist, and properties of all plans."""

import itertools
import re
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.http import http_date

from services.cors import CorsPolicy
from services.delivery import (
    CONTENT_SECURITY_POLICY,
    PERSONAL,
    PUBLIC,
    REQUEST_HEADERS,
    Access,
    DeliveryRequest,
    Grant,
    Plan,
    error_headers,
    plan,
    plan_options,
)
from services.ranges import ByteRange
from services.stored import StoredFile

CONTENT = bytes(range(256)) * 4
CREATED = datetime(2024, 5, 17, 12, 0, 0, 987_654, tzinfo=UTC)
MODIFIED = "Fri, 17 May 2024 12:00:00 GMT"
EARLIER = "Fri, 17 May 2024 11:59:59 GMT"
NOW = datetime(2024, 6, 1, tzinfo=UTC)
DIGEST = f"sha-256=:{b64encode(sha256(CONTENT).digest()).decode()}:"
FILE = StoredFile(
    id="q7f3k2m5n6p7r2s3t4v5w6x7y2",
    filename="photo.png",
    content_type="image/png",
    size=len(CONTENT),
    etag=sha256(CONTENT).hexdigest(),
    sha256=sha256(CONTENT).hexdigest(),
    owner=None,
    visibility="public",
    backend="local",
    key="k7/k7q2",
    created_at=CREATED,
    cache_max_age=86_400,
    delivery="proxy",
)
ETAG = f'"{FILE.etag}"'
LISTED = CorsPolicy(("https://app.example.org",))


def ask(
    headers: dict[str, str] | None = None,
    *,
    file: StoredFile = FILE,
    method: str = "GET",
    filename: str | None = "photo.png",
    download: bool = False,
    access: Access = PUBLIC,
    cors: CorsPolicy = LISTED,
    now: datetime = NOW,
) -> Plan:
    """Plan a request for FILE by its current name, with the given headers."""
    request = DeliveryRequest(method, headers or {}, filename, download)
    return plan(file, request, access=access, cors=cors, now=now)


def headers_of(answer: Plan) -> dict[str, str]:
    """Return the headers by lowercase name, and see that none is there twice."""
    named = {name.lower(): value for name, value in answer.headers}
    assert len(named) == len(answer.headers)
    return named


def body_of(answer: Plan, content: bytes = CONTENT) -> bytes:
    """Put the body together as a view would."""
    return b"".join(
        piece if isinstance(piece, bytes) else content[piece.start : piece.stop]
        for piece in answer.pieces
    )


class TestWholeFile:
    def test_it_is_one_piece_with_every_header(self) -> None:
        answer = ask()
        assert (answer.status, answer.pieces) == (200, (ByteRange(0, 1024),))
        assert headers_of(answer) == {
            "content-type": "image/png",
            "content-length": "1024",
            "etag": ETAG,
            "last-modified": MODIFIED,
            "cache-control": "public, max-age=86400, immutable",
            "accept-ranges": "bytes",
            "content-disposition": 'inline; filename="photo.png"',
            "repr-digest": DIGEST,
            "vary": "Origin",
            "x-content-type-options": "nosniff",
            "content-security-policy": CONTENT_SECURITY_POLICY,
            "cross-origin-resource-policy": "cross-origin",
            "referrer-policy": "no-referrer",
        }

    def test_an_empty_file_is_a_200_of_no_bytes(self) -> None:
        answer = ask(file=replace(FILE, size=0))
        assert (answer.status, answer.length, body_of(answer)) == (200, 0, b"")
        assert headers_of(answer)["content-length"] == "0"

    def test_last_modified_is_never_in_the_future(self) -> None:
        before = CREATED - timedelta(hours=1)
        assert headers_of(ask(now=before))["last-modified"] == http_date(before)


class TestConditions:
    def test_a_matching_if_none_match_is_a_304_that_repeats_what_caches_need(self) -> None:
        answer = ask({"if-none-match": ETAG, "origin": "https://app.example.org"})
        assert (answer.status, answer.pieces, answer.length) == (304, (), 0)
        named, whole = headers_of(answer), headers_of(ask({"origin": "https://app.example.org"}))
        for name in ("etag", "cache-control", "vary", "access-control-allow-origin"):
            assert named[name] == whole[name]
        assert not named.keys() & {"content-length", "content-type", "last-modified"}

    def test_range_with_a_matching_if_none_match_is_304(self) -> None:
        assert ask({"range": "bytes=0-9", "if-none-match": ETAG}).status == 304

    def test_a_range_out_of_bounds_with_a_matching_if_none_match_is_304(self) -> None:
        assert ask({"range": "bytes=9999-", "if-none-match": ETAG}).status == 304

    def test_range_with_a_failing_if_match_is_412(self) -> None:
        assert ask({"range": "bytes=0-9", "if-match": '"other"'}).status == 412

    def test_if_match_star_passes(self) -> None:
        assert ask({"if-match": "*"}).status == 200

    def test_if_unmodified_since_is_obeyed(self) -> None:
        assert ask({"if-unmodified-since": EARLIER}).status == 412
        assert ask({"if-unmodified-since": MODIFIED}).status == 200

    def test_if_modified_since_the_sent_last_modified_is_304(self) -> None:
        sent = headers_of(ask())["last-modified"]
        assert ask({"if-modified-since": sent}).status == 304

    def test_if_range_with_a_weak_tag_gets_the_whole_file(self) -> None:
        assert ask({"range": "bytes=0-9", "if-range": f"W/{ETAG}"}).status == 200

    def test_if_range_with_a_stale_validator_gets_the_whole_file(self) -> None:
        assert ask({"range": "bytes=0-9", "if-range": '"other"'}).status == 200
        assert ask({"range": "bytes=0-9", "if-range": EARLIER}).status == 200

    def test_if_range_with_the_current_validator_gets_the_range(self) -> None:
        assert ask({"range": "bytes=0-9", "if-range": ETAG}).status == 206
        assert ask({"range": "bytes=0-9", "if-range": MODIFIED}).status == 206

    def test_if_range_that_fails_turns_a_416_into_the_whole_file(self) -> None:
        assert ask({"range": "bytes=9999-", "if-range": '"other"'}).status == 200

    def test_if_range_without_a_range_means_nothing(self) -> None:
        assert ask({"if-range": '"other"'}).status == 200


class TestRanges:
    def test_a_range_is_a_206_with_the_headers_of_the_whole_file(self) -> None:
        answer = ask({"range": "bytes=10-19"})
        assert (answer.status, answer.pieces, answer.length) == (206, (ByteRange(10, 20),), 10)
        expected = headers_of(ask()) | {
            "content-length": "10",
            "content-range": "bytes 10-19/1024",
        }
        assert headers_of(answer) == expected

    def test_a_range_of_everything_is_still_a_206(self) -> None:
        assert headers_of(ask({"range": "bytes=0-"}))["content-range"] == "bytes 0-1023/1024"

    def test_a_range_outside_the_file_is_a_416_that_says_its_size(self) -> None:
        answer = ask({"range": "bytes=1024-"})
        assert answer.status == 416
        assert headers_of(answer)["content-range"] == "bytes */1024"

    @pytest.mark.parametrize("header", ["bytes=0-", "bytes=0-0", "bytes=-1"])
    def test_any_range_of_an_empty_file_is_a_416(self, header: str) -> None:
        answer = ask({"range": header}, file=replace(FILE, size=0))
        assert answer.status == 416
        assert headers_of(answer)["content-range"] == "bytes */0"

    @pytest.mark.parametrize("header", ["items=0-9", "bytes=9-0", "bytes=x", "", "bytes=0-1,x"])
    def test_an_unknown_unit_or_a_malformed_range_is_ignored(self, header: str) -> None:
        assert ask({"range": header}) == ask()

    def test_several_ranges_are_multipart_of_exactly_the_announced_length(self) -> None:
        answer = ask({"range": "bytes=500-509,0-9,-1"})
        named, body = headers_of(answer), body_of(answer)
        assert answer.status == 206
        assert answer.length == len(body) == int(named["content-length"])
        assert "content-range" not in named
        boundary = re.fullmatch(
            "multipart/byteranges; boundary=([0-9a-f]{32})", named["content-type"]
        )
        assert boundary
        parts = body.split(f"--{boundary[1]}".encode())
        assert len(parts) == 5 and parts[0] == b"" and parts[-1] == b"--\r\n"
        for part, (start, stop) in zip(
            parts[1:-1], [(500, 510), (0, 10), (1023, 1024)], strict=True
        ):
            place = f"Content-Range: bytes {start}-{stop - 1}/1024"
            head = f"\r\nContent-Type: image/png\r\n{place}\r\n\r\n".encode()
            assert part == head + CONTENT[start:stop] + b"\r\n"

    def test_several_ranges_that_touch_are_one_plain_range(self) -> None:
        assert ask({"range": "bytes=0-9,10-19"}) == ask({"range": "bytes=0-19"})

    def test_ranges_over_the_cap_or_over_the_size_get_the_whole_file(self) -> None:
        many = "bytes=" + ",".join(f"{2 * n}-{2 * n}" for n in range(500))
        assert ask({"range": many}) == ask()
        assert ask({"range": "bytes=0-,0-,0-"}) == ask()

    def test_the_boundary_is_the_same_everywhere_and_differs_between_files(self) -> None:
        several = {"range": "bytes=0-1,5-6"}
        ours = headers_of(ask(several))["content-type"]
        assert headers_of(ask(several))["content-type"] == ours
        other = replace(FILE, key="z2/z2q2")
        assert headers_of(ask(several, file=other))["content-type"] != ours


class TestRefusals:
    REFUSED = ({"if-match": '"other"'}, {"range": "bytes=9999-"})

    @pytest.mark.parametrize("headers", REFUSED)
    def test_they_are_errors_of_the_common_shape(self, headers: dict[str, str]) -> None:
        answer = ask(headers)
        assert headers_of(answer)["content-type"] == "application/json"
        assert re.fullmatch(rb'\{"error": "[^"]+", "code": "[a-z_]+"\}\n', body_of(answer))

    @pytest.mark.parametrize("headers", REFUSED)
    def test_they_are_problems_for_a_client_that_asks(self, headers: dict[str, str]) -> None:
        answer = ask(headers | {"accept": "application/problem+json"})
        assert headers_of(answer)["content-type"] == "application/problem+json"
        assert f'"status": {answer.status}'.encode() in body_of(answer)

    @pytest.mark.parametrize("headers", REFUSED)
    def test_no_cache_keeps_them_and_they_say_nothing_of_other_bytes(
        self, headers: dict[str, str]
    ) -> None:
        named = headers_of(ask(headers))
        assert named["cache-control"] == "no-store"
        assert named["etag"] == ETAG
        assert not named.keys() & {"repr-digest", "content-disposition", "last-modified"}


class TestDigest:
    def test_a_range_carries_the_digest_of_the_whole_file(self) -> None:
        assert headers_of(ask({"range": "bytes=0-9"}))["repr-digest"] == DIGEST

    def test_it_is_left_out_where_no_one_has_read_the_bytes(self) -> None:
        assert "repr-digest" not in headers_of(ask(file=replace(FILE, sha256=None)))

    @pytest.mark.parametrize("wanted", ["sha-256=0", "sha-512=3, sha-256=0", "sha-256=0;x=1"])
    def test_it_is_left_out_for_a_client_that_does_not_want_it(self, wanted: str) -> None:
        assert "repr-digest" not in headers_of(ask({"want-repr-digest": wanted}))

    @pytest.mark.parametrize("wanted", ["sha-256=1", "sha-512=10, sha-256=1", "md5=0", "", "?,="])
    def test_it_is_sent_to_all_others(self, wanted: str) -> None:
        assert headers_of(ask({"want-repr-digest": wanted}))["repr-digest"] == DIGEST


class TestCaching:
    @pytest.mark.parametrize("filename", [None, "old-name.png", "Photo.png"])
    def test_a_bare_id_or_an_old_name_is_always_asked_about(self, filename: str | None) -> None:
        assert headers_of(ask(filename=filename))["cache-control"] == "public, no-cache"

    def test_a_download_is_kept_as_long_as_its_link(self) -> None:
        kept = headers_of(ask(download=True))["cache-control"]
        assert kept == "public, max-age=86400, immutable"

    def test_a_collection_can_forbid_keeping(self) -> None:
        named = headers_of(ask(file=replace(FILE, cache_max_age=0)))
        assert named["cache-control"] == "public, no-cache"

    @pytest.mark.parametrize("headers", [{}, {"range": "bytes=0-9"}, {"if-none-match": ETAG}])
    def test_what_a_key_or_a_cookie_opened_is_never_kept(self, headers: dict[str, str]) -> None:
        assert headers_of(ask(headers, access=PERSONAL))["cache-control"] == "private, no-store"

    @pytest.mark.parametrize(("left", "age"), [(60, 60), (10**9, 86_400), (0, 0), (-5, 0)])
    def test_a_signed_link_is_kept_no_longer_than_it_lives(self, left: int, age: int) -> None:
        named = headers_of(ask(access=Access(Grant.SIGNED, left)))
        assert named["cache-control"] == f"private, max-age={age}"


class TestSafety:
    @pytest.mark.parametrize(
        "content_type", ["image/svg+xml", "text/html", "application/xml", "text/javascript"]
    )
    def test_what_could_run_is_an_attachment_in_a_sandbox(self, content_type: str) -> None:
        named = headers_of(ask(file=replace(FILE, content_type=content_type)))
        assert named["content-disposition"].startswith("attachment")
        assert named["content-security-policy"] == CONTENT_SECURITY_POLICY
        assert named["x-content-type-options"] == "nosniff"
        assert named["content-type"].partition(";")[0] == content_type

    def test_text_says_its_encoding_unless_the_row_does(self) -> None:
        plain = headers_of(ask(file=replace(FILE, content_type="text/plain")))
        assert plain["content-type"] == "text/plain; charset=utf-8"
        told = replace(FILE, content_type="text/plain; charset=koi8-r")
        assert headers_of(ask(file=told))["content-type"] == "text/plain; charset=koi8-r"

    def test_a_download_is_an_attachment(self) -> None:
        named = headers_of(ask(download=True))
        assert named["content-disposition"] == 'attachment; filename="photo.png"'

    def test_the_name_is_the_current_one_whatever_the_url_says(self) -> None:
        named = headers_of(ask(filename="evil.exe"))
        assert named["content-disposition"] == 'inline; filename="photo.png"'

    def test_only_what_a_cookie_opened_is_closed_to_pages_elsewhere(self) -> None:
        policies = [
            headers_of(ask(access=access))["cross-origin-resource-policy"]
            for access in (PUBLIC, Access(Grant.SIGNED, 60), PERSONAL)
        ]
        assert policies == ["cross-origin", "cross-origin", "same-origin"]

    @pytest.mark.parametrize("headers", [{}, {"range": "bytes=0-1,5-6"}, {"if-match": '"x"'}])
    def test_every_answer_is_safe(self, headers: dict[str, str]) -> None:
        named = headers_of(ask(headers))
        assert named["x-content-type-options"] == "nosniff"
        assert named["content-security-policy"].startswith("sandbox; default-src 'none'; ")


class TestOtherOrigins:
    def test_a_listed_origin_may_read_the_answer(self) -> None:
        named = headers_of(ask({"origin": "https://app.example.org"}))
        assert named["access-control-allow-origin"] == "https://app.example.org"
        assert "Content-Range" in named["access-control-expose-headers"]
        assert named["vary"] == "Origin"

    def test_a_preflight_is_told_which_methods_and_headers_it_may_use(self) -> None:
        request = DeliveryRequest("OPTIONS", {"origin": "https://app.example.org"}, None, False)
        answer = plan_options(request, cors=LISTED)
        named = headers_of(answer)
        assert (answer.status, answer.pieces) == (204, ())
        assert named["allow"] == "GET, HEAD, OPTIONS"
        assert "If-Range" in named["access-control-allow-headers"]

    def test_a_preflight_from_elsewhere_gets_no_permission(self) -> None:
        request = DeliveryRequest("OPTIONS", {"origin": "null"}, None, False)
        named = headers_of(plan_options(request, cors=LISTED))
        assert named == {"allow": "GET, HEAD, OPTIONS", "vary": "Origin"}

    def test_an_error_can_be_read_by_the_page_and_kept_by_no_cache(self) -> None:
        request = DeliveryRequest("GET", {"origin": "https://app.example.org"}, None, False)
        named = dict(error_headers(request, cors=LISTED))
        assert named["Access-Control-Allow-Origin"] == "https://app.example.org"
        assert named["Cache-Control"] == "no-store"


CONDITIONS: dict[str, list[str | None]] = {
    "if-match": [None, "*", '"other"'],
    "if-none-match": [None, ETAG, '"other"'],
    "if-modified-since": [None, MODIFIED, EARLIER],
    "want-repr-digest": [None, "sha-256=0"],
    "origin": [None, "https://app.example.org"],
}


@pytest.mark.parametrize("file", [FILE, replace(FILE, size=0), replace(FILE, sha256=None)])
@pytest.mark.parametrize("access", [PUBLIC, PERSONAL, Access(Grant.SIGNED, 60)])
@pytest.mark.parametrize("filename", ["photo.png", None])
def test_head_says_what_get_says(file: StoredFile, access: Access, filename: str | None) -> None:
    for values in itertools.product(*CONDITIONS.values()):
        headers = {name: v for name, v in zip(CONDITIONS, values, strict=True) if v is not None}
        get = ask(headers, file=file, access=access, filename=filename)
        ranged = headers | {"range": "bytes=0-9,20-29", "if-range": ETAG}
        head = ask(ranged, file=file, access=access, filename=filename, method="HEAD")
        assert head == replace(get, pieces=())


VALUES = st.sampled_from(
    [ETAG, f"W/{ETAG}", '"other"', "*", MODIFIED, EARLIER, "bytes=0-9", "bytes=5-6,1-2", "bytes=-0"]
) | st.text(st.characters(max_codepoint=255), max_size=30)


@given(st.dictionaries(st.sampled_from(REQUEST_HEADERS), VALUES), st.sampled_from(["GET", "HEAD"]))
def test_every_plan_is_consistent_whatever_the_headers(
    headers: dict[str, str], method: str
) -> None:
    answer = ask(headers, method=method)
    named = headers_of(answer)
    assert answer.status in (200, 206, 304, 412, 416)
    assert all("\r" not in value and "\n" not in value for value in named.values())
    assert named.get("content-length", "0") == str(answer.length)
    if method == "GET":
        assert len(body_of(answer)) == answer.length
    else:
        assert not answer.pieces


@given(st.text(st.characters(exclude_categories=()), max_size=30))
def test_no_filename_gets_out_of_its_header(filename: str) -> None:
    for _, value in ask(file=replace(FILE, filename=filename)).headers:
        assert value.isascii() and value.isprintable()


def test_a_plan_depends_on_no_other_header_than_it_names() -> None:
    class Recorded(dict[str, str]):
        def get(self, name: str, default: Any = None) -> Any:
            assert name in REQUEST_HEADERS
            return super().get(name, default)

    for range_header in ("bytes=0-1", "bytes=9999-"):
        ask(Recorded({"range": range_header, "if-range": ETAG}))
