"""The planner: a test for each line of the protocol checklist, and properties of all plans."""

import itertools
import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.http import http_date

from services.delivery import (
    CONTENT_SECURITY_POLICY,
    PERSONAL,
    PUBLIC,
    REQUEST_HEADERS,
    Access,
    Grant,
)
from services.ranges import ByteRange
from services.stored import StoredFile
from tests.services.planning import (
    CONTENT,
    CREATED,
    DIGEST,
    EARLIER,
    ETAG,
    FILE,
    MODIFIED,
    ask,
    body_of,
    headers_of,
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
