"""Which requests of browsers are a stranger's page's, and which hosts are this machine."""

import pytest

from services.sites import host_of, is_from_elsewhere, is_loopback, origin_of

HERE = "http://localhost:5000"
APP = "https://app.example.org"


@pytest.mark.parametrize(
    ("origin", "site"),
    [
        (None, None),
        (None, "none"),
        (HERE, None),
        (HERE, "same-origin"),
        (APP, "cross-site"),
        (APP, None),
        ("https://behind.a.proxy", "same-origin"),
    ],
)
def test_programs_own_pages_and_listed_ones_are_let_in(
    origin: str | None, site: str | None
) -> None:
    assert not is_from_elsewhere(origin=origin, site=site, own=[HERE], listed=[APP])


@pytest.mark.parametrize(
    ("origin", "site"),
    [
        ("https://evil.example", "cross-site"),
        ("https://evil.example", None),
        ("null", "cross-site"),
        ("null", None),
        ("", None),
        (None, "cross-site"),
        (None, "same-site"),
        (None, "a-value-of-the-future"),
        ("http://localhost:3000", "same-site"),
        ("https://localhost:5000", None),
        ("HTTPS://APP.EXAMPLE.ORG", None),
        (f"{APP}.evil.example", "cross-site"),
        (f"{APP}:8443", "same-site"),
        (f"{APP}/", None),
    ],
)
def test_any_other_page_is_from_elsewhere(origin: str | None, site: str | None) -> None:
    assert is_from_elsewhere(origin=origin, site=site, own=[HERE], listed=[APP])


def test_a_star_lists_every_page() -> None:
    for origin in ("https://evil.example", "null", None):
        assert not is_from_elsewhere(origin=origin, site="cross-site", own=[], listed=["*"])


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://Files.Example.org/", "https://files.example.org"),
        ("https://files.example.org:443/below", "https://files.example.org"),
        ("http://files.example.org:80", "http://files.example.org"),
        ("http://files.example.org:8080", "http://files.example.org:8080"),
        ("http://[::1]:5000", "http://[::1]:5000"),
        ("", None),
        ("null", None),
        ("ftp://files.example.org", None),
        ("http://", None),
        ("http://host:port", None),
        ("http://[::1", None),
    ],
)
def test_an_origin_is_written_as_browsers_write_it(url: str, origin: str | None) -> None:
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    ("header", "host"),
    [
        ("localhost:5000", "localhost"),
        ("LocalHost.", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]:5000", "::1"),
        ("evil.example:5000", "evil.example"),
        ("localhost@evil.example", "evil.example"),
        ("[::1", ""),
        ("", ""),
    ],
)
def test_a_host_is_read_from_its_header(header: str, host: str) -> None:
    assert host_of(header) == host


@pytest.mark.parametrize("host", ["localhost", "app.localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_loopback_has_many_names(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "",
        "0.0.0.0",
        "10.0.0.1",
        "localhost.evil.example",
        "notlocalhost",
        "127.0.0.1.nip.io",
        "2130706433",
        "::ffff:10.0.0.1",
    ],
)
def test_other_names_are_not_loopback(host: str) -> None:
    assert not is_loopback(host)
