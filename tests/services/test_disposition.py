"""Content-Disposition: names that clients chose, and types that browsers run."""

from email.message import Message
from email.utils import collapse_rfc2231_value
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.disposition import content_disposition


def saved_as(name: str) -> str:
    return content_disposition(name, "application/zip", download=False)


@pytest.mark.parametrize(
    "content_type",
    [
        "image/png",
        "image/jpeg",
        "image/gif",
        "image/webp",
        "image/avif",
        "image/bmp",
        "image/x-icon",
        "audio/mpeg",
        "video/mp4",
        "video/webm",
        "text/plain",
        "text/plain; charset=utf-8",
        "Application/PDF",
    ],
)
def test_what_browsers_only_show_is_inline(content_type: str) -> None:
    header = content_disposition("a.bin", content_type, download=False)
    assert header == 'inline; filename="a.bin"'


@pytest.mark.parametrize(
    "content_type",
    [
        "image/svg+xml",
        "text/html",
        "text/html; charset=utf-8",
        "text/xml",
        "application/xml",
        "application/xhtml+xml",
        "text/javascript",
        "application/javascript",
        "text/css",
        "text/csv",
        "application/json",
        "application/zip",
        "application/octet-stream",
        "image/unheard-of",
        "",
    ],
)
def test_everything_else_is_an_attachment(content_type: str) -> None:
    header = content_disposition("a.bin", content_type, download=False)
    assert header == 'attachment; filename="a.bin"'


def test_a_download_is_an_attachment_whatever_its_type() -> None:
    header = content_disposition("a.png", "image/png", download=True)
    assert header == 'attachment; filename="a.png"'


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("report 2024 (final).pdf", 'filename="report 2024 (final).pdf"'),
        ("naïve.txt", "filename=\"naive.txt\"; filename*=UTF-8''na%C3%AFve.txt"),
        ("Ω.txt", "filename=\"_.txt\"; filename*=UTF-8''%CE%A9.txt"),
        ("日本.txt", "filename=\"__.txt\"; filename*=UTF-8''%E6%97%A5%E6%9C%AC.txt"),
        ("👍🏽.png", "filename=\"__.png\"; filename*=UTF-8''%F0%9F%91%8D%F0%9F%8F%BD.png"),
        ('say "hi".txt', "filename=\"say _hi_.txt\"; filename*=UTF-8''say%20%22hi%22.txt"),
        ("100%41.txt", "filename=\"100_41.txt\"; filename*=UTF-8''100%2541.txt"),
        ("a;b='c'*.txt", "filename=\"a;b='c'*.txt\""),
    ],
)
def test_the_name_is_given_in_ascii_and_exactly(name: str, parameters: str) -> None:
    assert saved_as(name) == f"attachment; {parameters}"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", ".._.._etc_passwd"),
        ("..\\..\\boot.ini", ".._.._boot.ini"),
        ("a\r\nSet-Cookie: x=1", "a__Set-Cookie: x=1"),
        ("a\x00b", "a_b"),
        ("photo\u202egpj.exe", "photo_gpj.exe"),
    ],
)
def test_what_could_leave_the_name_or_the_header_is_replaced(name: str, shown: str) -> None:
    assert saved_as(name) == f'attachment; filename="{shown}"'


def test_an_empty_name_is_left_out() -> None:
    assert saved_as("") == "attachment"


def test_a_lone_surrogate_does_not_break_the_header() -> None:
    assert saved_as("a\udc80b") == "attachment; filename=\"a_b\"; filename*=UTF-8''a%3Fb"


@given(st.text(st.characters(exclude_categories=()), max_size=40))
def test_every_header_is_one_line_of_printable_ascii(name: str) -> None:
    header = saved_as(name)
    assert header.isascii() and header.isprintable()
    assert header.count('"') == (2 if name else 0)
    assert "/" not in unquote(header) and "\\" not in unquote(header)


@given(st.text(st.characters(categories=("L", "N"), include_characters=" '\"%;*&"), min_size=1))
def test_a_parser_reads_the_exact_name_back(name: str) -> None:
    header = saved_as(name)
    if "filename*=" in header:
        assert unquote(header.partition("filename*=UTF-8''")[2]) == name
    else:
        message = Message()
        message["Content-Disposition"] = header
        value = message.get_param("filename", header="content-disposition")
        assert value is not None and collapse_rfc2231_value(value) == name
