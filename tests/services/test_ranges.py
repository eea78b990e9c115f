"""Range headers and multipart/byteranges, on positions alone."""

import re
from email import message_from_bytes
from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ranges import (
    MAX_HEADER_LENGTH,
    MAX_RANGES,
    ByteRange,
    coalesce,
    multipart,
    requested_ranges,
    total_length,
)

SIZE = 1000


def spans(header: str, size: int = SIZE) -> list[tuple[int, int]] | None:
    """Return what a header selects as plain pairs, the stop excluded."""
    found = requested_ranges(header, size)
    return None if found is None else [(part.start, part.stop) for part in found]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=0-499", (0, 500)),
        ("bytes=500-", (500, 1000)),
        ("bytes=999-", (999, 1000)),
        ("bytes=-1", (999, 1000)),
        ("bytes=-500", (500, 1000)),
        ("bytes=-5000", (0, 1000)),
        ("bytes=0-5000", (0, 1000)),
        ("bytes=0-", (0, 1000)),
        ("bytes=0-99999999999999999999999", (0, 1000)),
        ("BYTES=0-1", (0, 2)),
        ("bytes= 0-1 ", (0, 2)),
        ("bytes=,0-1,", (0, 2)),
        ("bytes=000-0001", (0, 2)),
    ],
)
def test_one_range_selects_its_bytes_cut_at_the_end(header: str, expected: tuple[int, int]) -> None:
    assert spans(header) == [expected]


@pytest.mark.parametrize(
    "header",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=,",
        "bytes=-",
        "bytes=1",
        "bytes=a-b",
        "bytes=0-b",
        "bytes=5-4",
        "bytes=2000-1999",
        "bytes=0-1;2-3",
        "bytes=0-1,x",
        "bytes=0-1,5-4",
        "bytes=--1",
        "bytes=+0-1",
        "bytes=0x0-1",
        "bytes=0 - 1",
        "bytes =0-1",
        "bytes=0-1-2",
        "bytes=\u0660-\u0661",
        "items=0-1",
        "0-1",
    ],
)
def test_what_is_not_a_bytes_range_is_ignored(header: str) -> None:
    assert spans(header) is None


@pytest.mark.parametrize(
    "header", ["bytes=1000-", "bytes=1000-1001", "bytes=5000-,2000-", "bytes=-0"]
)
def test_a_range_past_the_end_cannot_be_satisfied(header: str) -> None:
    assert spans(header) == []


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=0-0", "bytes=-1", "bytes=-0", "bytes=0-,-5"])
def test_nothing_of_an_empty_file_can_be_satisfied(header: str) -> None:
    assert spans(header, 0) == []


def test_ranges_keep_the_order_in_which_they_were_asked_for() -> None:
    assert spans("bytes=500-509,0-9,-10") == [(500, 510), (0, 10), (990, 1000)]


def test_ranges_that_cannot_be_satisfied_are_left_out_among_others() -> None:
    assert spans("bytes=2000-,0-9,-0,20-29") == [(0, 10), (20, 30)]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-9,10-19", [(0, 20)]),
        ("bytes=0-9,5-19", [(0, 20)]),
        ("bytes=0-9,5-7", [(0, 10)]),
        ("bytes=0-9,11-19", [(0, 10), (11, 20)]),
        ("bytes=50-59,0-9,20-29,10-19", [(50, 60), (0, 30)]),
    ],
)
def test_overlapping_and_adjacent_ranges_are_joined_in_the_place_of_the_first(
    header: str, expected: list[tuple[int, int]]
) -> None:
    assert spans(header) == expected


def test_ranges_that_add_up_to_more_than_the_file_get_the_file() -> None:
    assert spans("bytes=0-,0-") is None
    assert spans("bytes=0-599,400-999") is None


def test_a_range_over_the_cap_gets_the_file() -> None:
    allowed = ",".join(f"{10 * n}-{10 * n}" for n in range(MAX_RANGES))
    assert len(spans(f"bytes={allowed}") or []) == MAX_RANGES
    assert spans(f"bytes={allowed},900-900") is None


def test_the_most_ranges_of_the_largest_numbers_fit_into_the_longest_header() -> None:
    widest = ", ".join(f"{10**18 + 10 * n}-{10**18 + 10 * n + 1}" for n in range(MAX_RANGES))
    assert len(f"bytes={widest}") <= MAX_HEADER_LENGTH
    assert len(requested_ranges(f"bytes={widest}", 2 * 10**18) or ()) == MAX_RANGES


def test_five_hundred_ranges_are_refused_by_their_length_alone() -> None:
    class Unsplittable(str):
        def partition(self, separator: str, /) -> tuple[str, str, str]:
            raise AssertionError("looked into")

    assert requested_ranges(Unsplittable("bytes=" + ",".join(["0-0"] * 500)), SIZE) is None


@given(st.text(max_size=60).map(lambda text: f"bytes={text}") | st.text(max_size=60))
def test_no_header_breaks_the_parser(header: str) -> None:
    for part in requested_ranges(header, SIZE) or ():
        assert 0 <= part.start < part.stop <= SIZE


RANGE = st.tuples(st.integers(0, 99), st.integers(1, 40)).map(
    lambda pair: ByteRange(pair[0], pair[0] + pair[1])
)


@given(st.lists(RANGE, max_size=MAX_RANGES))
def test_joined_ranges_cover_the_same_bytes_and_never_touch(ranges: list[ByteRange]) -> None:
    joined = coalesce(ranges)
    positions = [position for part in joined for position in range(part.start, part.stop)]
    assert len(positions) == len(set(positions))
    assert set(positions) == {at for part in ranges for at in range(part.start, part.stop)}
    assert not any(a.touches(b) for a in joined for b in joined if a is not b)


def body_of(content: bytes, ranges: list[ByteRange], boundary: str = "b0") -> bytes:
    pieces = multipart(
        ranges, size=len(content), content_type="text/plain; charset=utf-8", boundary=boundary
    )
    return b"".join(
        piece if isinstance(piece, bytes) else content[piece.start : piece.stop] for piece in pieces
    )


def parts_of(body: bytes, boundary: str = "b0") -> list[Message]:
    head = f"Content-Type: multipart/byteranges; boundary={boundary}\r\n\r\n".encode()
    return [part for part in message_from_bytes(head + body).walk() if not part.is_multipart()]


def test_a_multipart_body_is_framed_to_the_byte() -> None:
    body = body_of(b"0123456789", [ByteRange(0, 2), ByteRange(5, 9)])
    assert body == (
        b"--b0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes 0-1/10\r\n\r\n"
        b"01\r\n"
        b"--b0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Range: bytes 5-8/10\r\n\r\n"
        b"5678\r\n"
        b"--b0--\r\n"
    )


@given(st.binary(min_size=150, max_size=150), st.lists(RANGE, min_size=1, max_size=6))
def test_a_parser_of_mail_reads_back_every_part(content: bytes, ranges: list[ByteRange]) -> None:
    # A mail parser rewrites line ends; latin-1 letters stand for arbitrary bytes.
    content = re.sub(rb"[\x00-\x1f\x7f-\xff-]", b"x", content)
    parts = parts_of(body_of(content, ranges))
    assert [part.get_payload(decode=True) for part in parts] == [
        content[part.start : part.stop] for part in ranges
    ]


@given(st.lists(RANGE, min_size=1, max_size=6))
def test_the_length_of_a_multipart_body_is_known_beforehand(ranges: list[ByteRange]) -> None:
    pieces = list(multipart(ranges, size=200, content_type="image/png", boundary="b0"))
    content = bytes(200)
    body = [p if isinstance(p, bytes) else content[p.start : p.stop] for p in pieces]
    assert total_length(pieces) == len(b"".join(body))
