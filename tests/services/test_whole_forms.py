"""A form that is there whole holds what it would hold if it came in pieces, or is refused alike."""

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.errors import HoldallError
from services.forms import Event, read_form, read_whole_form

PIECES = (
    *(b"--b", b"--b\r\n", b"\r\n--b", b"--b--", b"\r\n", b"\r\n\r\n", b"--", b"\r", b"\n", b"b"),
    *(b"content", b" ", b'Content-Disposition: form-data; name="file"; filename="a.txt"'),
    *(b'content-disposition: form-data;name=file; filename="a%22.txt"', b"Content-Type: a/b"),
    *(b'Content-Disposition: form-data; name="note"', b'Content-Disposition: form-data; name=""'),
    *(b'Content-Disposition: form-data; name="a\\"b"; filename=""', b"no colon", b"\xff\0"),
)
HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'


def outcome(read: Callable[[], Iterable[Event]]) -> Any:
    """Return what is read, the bytes of a file in one, or the error's type and message."""
    try:
        events = [bytes(each) if isinstance(each, memoryview) else each for each in read()]
    except HoldallError as error:
        return type(error), str(error)
    runs = groupby(events, lambda each: isinstance(each, bytes))
    return [
        part
        for is_content, run in runs
        for part in ([b"".join(run)] if is_content else run)  # type: ignore[arg-type]
    ]


def require_alike(body: bytes) -> None:
    """See that the whole is read as its bytes one by one are."""
    singly = [body[at : at + 1] for at in range(len(body))]
    whole = outcome(lambda: read_whole_form(body, "b", most_files=2))
    assert whole == outcome(lambda: read_form(singly, "b", most_files=2))


@given(st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join))
def test_any_form_is_read_alike(body: bytes) -> None:
    require_alike(body)


@given(st.lists(st.sampled_from(PIECES), max_size=6).map(b"".join), st.sampled_from(PIECES))
def test_any_form_of_one_file_is_read_alike(content: bytes, end: bytes) -> None:
    require_alike(HEAD + content + b"\r\n--b--" + end)


@pytest.mark.parametrize("size", (0, 1, 100_000))
def test_a_file_comes_in_one_piece(size: int) -> None:
    body = HEAD + bytes(size) + b"\r\n--b--\r\n"
    _, *content, _ = outcome(lambda: read_whole_form(body, "b", most_files=1))
    assert content == ([bytes(size)] if size else [])
