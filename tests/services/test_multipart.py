"""The syntax of forms: the same parts however the bytes are cut, and no chunk held on to."""

from itertools import pairwise

import pytest

from services.errors import MalformedBody
from services.multipart import MOST_PADDING, MultipartParser, PartEnd, PartHeaders

HEAD = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
FORM = (
    b"preamble\r\n--b \t\r\nA: 1\r\nB: 2\r\n\r\nfirst\r\n--\r\n--a\r--b\r\n--b\r\n\r\n\r\n--b\r\n"
    b"A: 3\r\n\r\n\r\r\n--b\r\nA: 4\r\n\r\n\r\n--b--epilogue\r\n--b\r\n"
)
PARTS = [
    ({"a": "1", "b": "2"}, b"first\r\n--\r\n--a\r--b"),
    ({}, b""),
    ({"a": "3"}, b"\r"),
    ({"a": "4"}, b""),
]


def parsed(chunks: list[bytes], *, reused: bool) -> list[tuple[dict[str, str], bytes]]:
    parser, parts, ended = MultipartParser("b"), list[tuple[dict[str, str], bytes]](), 0
    for chunk in chunks:
        buffer = bytearray(chunk)
        for event in parser.feed(buffer if reused else chunk):
            if isinstance(event, PartHeaders):
                parts.append((event.values, b""))
            elif isinstance(event, PartEnd):
                ended += 1
            else:
                parts[-1] = (parts[-1][0], parts[-1][1] + event)
        # As a receiver does that has handed the buffer out before.
        buffer[:] = b"-" * len(buffer)
    parser.finish()
    assert ended == len(parts)
    return parts


@pytest.mark.parametrize("reused", [False, True])
def test_a_form_is_the_same_however_it_is_cut(reused: bool) -> None:
    assert parsed([FORM], reused=reused) == PARTS
    assert parsed([FORM[at : at + 1] for at in range(len(FORM))], reused=reused) == PARTS
    for first in range(1, len(FORM) - 1):
        cuts = [0, first, min(first + 7, len(FORM)), len(FORM)]
        assert parsed([FORM[a:b] for a, b in pairwise(cuts)], reused=reused) == PARTS


def test_the_bytes_of_a_part_are_not_copied() -> None:
    parser, chunk = MultipartParser("b"), bytearray(HEAD + bytes(100_000))
    views = [event for event in parser.feed(chunk) if isinstance(event, memoryview)]
    assert [view.obj is chunk for view in views] == [False]
    chunk = bytearray(100_000)
    views = [event for event in parser.feed(chunk) if isinstance(event, memoryview)]
    assert [view.obj is chunk for view in views] == [True]


@pytest.mark.parametrize("padding", [MOST_PADDING + 1, 10 * MOST_PADDING])
def test_a_boundary_is_padded_within_bounds(padding: int) -> None:
    most = b"--b" + b" " * MOST_PADDING + b"\r\n\r\nx\r\n--b--"
    assert parsed([most], reused=False) == [({}, b"x")]
    with pytest.raises(MalformedBody):
        parsed([most.replace(b"--b", b"--b" + b" " * (padding - MOST_PADDING), 1)], reused=False)
