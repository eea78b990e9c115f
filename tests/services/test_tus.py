"""tus 1.0.0 as headers alone."""

import base64
import hashlib
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.digests import ExpectedDigest
from services.errors import InvalidField, NotPermitted, UnsupportedBody, VersionMismatch
from services.tus import (
    CHECKSUM_ALGORITHMS,
    EXTENSIONS,
    OFFSET_TYPE,
    VERSION,
    Append,
    Creation,
    append,
    append_headers,
    checksum,
    concat_header,
    creation,
    discovery_headers,
    effective_method,
    parse_metadata,
    require_version,
    state_headers,
)

NOON = datetime(2024, 6, 1, 12, 0, tzinfo=UTC)


def created(has_body: bool = False, **headers: str) -> Creation:
    """Read a POST whose headers are given as upload_length="1"."""
    return creation(named(headers), has_body=has_body)


def appended(content_type: str = OFFSET_TYPE, **headers: str) -> Append:
    """Read a PATCH likewise."""
    return append({"content-type": content_type, **named(headers)})


def named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


def test_the_version_spoken_here_passes() -> None:
    require_version({"tus-resumable": "1.0.0"})


@pytest.mark.parametrize("version", ["", "0.2.2", "1.0", "1.0.1", "2.0.0", "1.0.0, 1.0.0", "x"])
def test_another_version_is_a_mismatch(version: str) -> None:
    with pytest.raises(VersionMismatch):
        require_version({"tus-resumable": version})


def test_no_version_is_a_mismatch_too() -> None:
    with pytest.raises(VersionMismatch):
        require_version({})


def test_the_overriding_method_is_the_one_that_counts() -> None:
    assert effective_method("POST", {}) == "POST"
    assert effective_method("POST", {"x-http-method-override": "PATCH"}) == "PATCH"
    assert effective_method("GET", {"x-http-method-override": " head "}) == "HEAD"


@pytest.mark.parametrize("method", ["PUT", "CONNECT", "PATCH, DELETE", "PÄTCH"])
def test_an_override_to_a_method_that_uploads_lack_is_refused(method: str) -> None:
    with pytest.raises(InvalidField, match="X-HTTP-Method-Override"):
        effective_method("POST", {"x-http-method-override": method})


@pytest.mark.parametrize(
    ("written", "length"), [("0", 0), ("1", 1), ("007", 7), (str(2**63 - 1), 2**63 - 1)]
)
def test_a_length_is_a_decimal_number_of_bytes(written: str, length: int) -> None:
    assert created(upload_length=written) == Creation(length)
    assert appended(upload_offset=written) == Append(length)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "-1",
        "+1",
        "1.0",
        "1e3",
        "0x10",
        "1_000",
        "1 0",
        "1,1",
        "\u0661",
        "²",
        str(2**63),
        "9" * 99,
    ],
)
def test_any_other_number_is_refused(written: str) -> None:
    with pytest.raises(InvalidField, match="Upload-Length"):
        created(upload_length=written)
    with pytest.raises(InvalidField, match="Upload-Offset"):
        appended(upload_offset=written)
    with pytest.raises(InvalidField, match="Upload-Length"):
        appended(upload_offset="0", upload_length=written)


def test_a_deferred_length_is_unknown() -> None:
    assert created(upload_defer_length="1") == Creation(None)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"upload_length": "1", "upload_defer_length": "1"},
        {"upload_defer_length": "0"},
        {"upload_defer_length": "true"},
        {"upload_defer_length": ""},
        {"upload_length": "5", "upload_defer_length": "0"},
    ],
)
def test_a_creation_has_either_a_length_or_defers_it(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidField, match="Upload-"):
        created(False, **headers)


def test_a_creation_may_bring_its_first_bytes() -> None:
    asked = created(True, upload_length="5", content_type=OFFSET_TYPE)
    assert asked == Creation(5, with_upload=True)
    assert created(False, upload_length="0", content_type=OFFSET_TYPE).with_upload


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/octet-stream"])
def test_first_bytes_of_another_type_are_unsupported(content_type: str) -> None:
    with pytest.raises(UnsupportedBody) as caught:
        created(True, upload_length="5", content_type=content_type)
    assert caught.value.accept == OFFSET_TYPE
    assert not created(False, upload_length="5", content_type=content_type).with_upload


def test_metadata_is_decoded_and_kept_as_it_came() -> None:
    value = f"filename {b64('grüße.txt'.encode())}, is_public ,empty,type {b64(b'text/plain')}"
    asked = created(upload_length="1", upload_metadata=value)
    assert asked.metadata == {
        "filename": "grüße.txt",
        "is_public": "",
        "empty": "",
        "type": "text/plain",
    }
    assert asked.metadata_header == value
    assert ("Upload-Metadata", value) in state_headers(
        offset=0, length=1, metadata=asked.metadata_header
    )


def test_no_metadata_is_none_to_echo() -> None:
    for asked in (created(upload_length="1"), created(upload_length="1", upload_metadata=" ")):
        assert asked.metadata == {}
        assert asked.metadata_header is None


@pytest.mark.parametrize(
    "value",
    [
        ",",
        "a YQ==,",
        "a YQ==,,b YQ==",
        "a YQ==,a Yg==",
        "a YQ",
        "a YQ== YQ==",
        "a  YQ==",
        "a Y*==",
        "a ä",
        "naïve YQ==",
        "tab\there YQ==",
        "del\x7f YQ==",
        f"a {b64(bytes([0xFF, 0xFE]))}",
        f"a {b64(bytes([0xED, 0xA0, 0x80]))}",
    ],
)
def test_malformed_metadata_is_refused(value: str) -> None:
    with pytest.raises(InvalidField, match="Upload-Metadata"):
        parse_metadata(value)


KEYS = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=","), min_size=1
)


@given(st.dictionaries(KEYS, st.text(), max_size=8))
def test_any_metadata_that_is_encoded_rightly_is_read(pairs: dict[str, str]) -> None:
    value = ",".join(f"{key} {b64(text.encode())}" for key, text in pairs.items())
    assert parse_metadata(value) == pairs


@given(st.text(st.characters(max_codepoint=0xFF)))
def test_any_header_at_all_is_metadata_or_refused(value: str) -> None:
    with suppress(InvalidField):
        assert all(parse_metadata(value))


def test_a_partial_upload_is_marked() -> None:
    assert created(upload_length="3", upload_concat="partial") == Creation(3, partial=True)
    assert created(upload_defer_length="1", upload_concat="partial").partial


@pytest.mark.parametrize(
    ("urls", "parts"),
    [
        ("/api/tus/a", ("a",)),
        ("/api/tus/a /api/tus/b /api/tus/a", ("a", "b", "a")),
        ("https://files.example.com/api/tus/q7_-F /api/tus/b", ("q7_-F", "b")),
        ("HTTP://[::1]:5000/api/tus/a  /api/tus/b ", ("a", "b")),
    ],
)
def test_a_final_upload_names_its_parts(urls: str, parts: tuple[str, ...]) -> None:
    assert created(upload_concat=f"final;{urls}") == Creation(None, parts=parts)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "final",
        "final;",
        "final; ",
        "Partial",
        "partial;/api/tus/a",
        "final;a",
        "final;/api/tus/",
        "final;/api/tus/../files/a",
        "final;/api/tus/..",
        "final;/api/tus/a/../b",
        "final;/api/tus/a/",
        "final;/api/tus/%61",
        "final;/api/tus/a?x=1",
        "final;/api/tus/a#x",
        "final;/api/tus/a,/api/tus/b",
        "final;/api/files/a",
        "final;//files.example.com/api/tus/a",
        "final;https:/api/tus/a",
        "final;ftp://files.example.com/api/tus/a",
        "final;https://files.example.com/other/api/tus/a",
        "final;https://me@files.example.com/api/tus/a",
        "final;https://evil\\/api/tus/a",
        "final;/api/tus/a\t/api/tus/b",
        "final;/api/tus/" + "a" * 65,
        "final;/api/tus/a /api/files/b",
    ],
)
def test_anything_that_is_not_an_upload_here_is_refused(value: str) -> None:
    with pytest.raises(InvalidField, match="Upload-Concat"):
        created(upload_concat=value)


@pytest.mark.parametrize("headers", [{"upload_length": "3"}, {"upload_defer_length": "1"}])
def test_a_final_upload_has_no_length_of_its_own(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidField, match="Upload-Length"):
        created(False, upload_concat="final;/api/tus/a", **headers)


def test_a_final_upload_takes_no_bytes() -> None:
    with pytest.raises(NotPermitted):
        created(True, upload_concat="final;/api/tus/a", content_type=OFFSET_TYPE)
    assert not created(upload_concat="final;/api/tus/a", content_type=OFFSET_TYPE).with_upload


def test_concat_is_told_as_it_can_be_read() -> None:
    assert concat_header() is None
    assert concat_header(partial=True) == "partial"
    told = concat_header(parts=("a", "b"))
    assert told == "final;/api/tus/a /api/tus/b"
    assert created(upload_concat=told).parts == ("a", "b")


@pytest.mark.parametrize("algorithm", CHECKSUM_ALGORITHMS)
def test_a_checksum_is_read_for_each_algorithm(algorithm: str) -> None:
    digest = hashlib.new(algorithm, b"chunk").digest()
    expected = ExpectedDigest(algorithm, digest)
    assert checksum({"upload-checksum": f"{algorithm} {b64(digest)}"}) == expected
    asked = appended(upload_offset="4", upload_checksum=f"{algorithm} {b64(digest)}")
    assert asked == Append(4, None, expected)
    assert created(upload_length="1", upload_checksum=f"{algorithm} {b64(digest)}").checksum


@pytest.mark.parametrize(
    "value",
    [
        "",
        "sha1",
        "crc32 AAAAAA==",
        "SHA1 2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
        "sha1 2jmj7l5rSw0yVb/vlWAYkK/YBwk",
        "sha1 2jmj7l5rSw0yVb/vlWAYkA==",
        "sha1  2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
        "sha1 not_base64",
        "sha1 ä",
        "sha1,2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
    ],
)
def test_an_unknown_or_malformed_checksum_is_refused(value: str) -> None:
    with pytest.raises(InvalidField, match="Upload-Checksum"):
        appended(upload_offset="0", upload_checksum=value)


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/partial-upload"])
def test_an_append_of_another_type_is_unsupported(content_type: str) -> None:
    with pytest.raises(UnsupportedBody) as caught:
        appended(content_type, upload_offset="0")
    assert caught.value.accept == OFFSET_TYPE


def test_the_type_is_compared_as_a_media_type() -> None:
    assert appended("Application/Offset+Octet-Stream ; a=b", upload_offset="1") == Append(1)


def test_an_append_without_its_offset_is_refused() -> None:
    with pytest.raises(InvalidField, match="Upload-Offset is missing"):
        appended()


def test_an_append_can_tell_the_length() -> None:
    assert appended(upload_offset="1", upload_length="9") == Append(1, 9)


def test_options_say_what_is_spoken() -> None:
    told = dict(discovery_headers(1000))
    assert told["Tus-Version"] == VERSION
    assert told["Tus-Max-Size"] == "1000"
    assert told["Tus-Checksum-Algorithm"] == "sha1,sha256,sha512,md5"
    assert told["Tus-Extension"] == EXTENSIONS
    assert set(EXTENSIONS.split(",")) == {
        "creation",
        "creation-with-upload",
        "creation-defer-length",
        "expiration",
        "checksum",
        "termination",
        "concatenation",
    }


def test_head_tells_offset_and_length_and_is_not_stored() -> None:
    assert state_headers(offset=0, length=0) == (
        ("Tus-Resumable", "1.0.0"),
        ("Cache-Control", "no-store"),
        ("Upload-Offset", "0"),
        ("Upload-Length", "0"),
    )


def test_head_says_that_a_length_is_deferred() -> None:
    told = dict(state_headers(offset=7, length=None, concat="partial"))
    assert told["Upload-Defer-Length"] == "1"
    assert told["Upload-Concat"] == "partial"
    assert "Upload-Length" not in told


def test_a_final_upload_that_is_not_joined_yet_has_no_offset() -> None:
    told = dict(state_headers(offset=None, length=None, concat="final;/api/tus/a"))
    assert told["Upload-Concat"] == "final;/api/tus/a"
    assert told.keys().isdisjoint({"Upload-Offset", "Upload-Length", "Upload-Defer-Length"})


def test_an_end_is_told_as_an_http_date() -> None:
    elsewhere = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))
    for moment in (NOON, elsewhere):
        told = dict(append_headers(3, moment))
        assert told["Upload-Expires"] == "Sat, 01 Jun 2024 12:00:00 GMT"
    assert "Upload-Expires" not in dict(append_headers(3, None))
    assert dict(state_headers(offset=1, length=2, expires=NOON))["Upload-Expires"]
