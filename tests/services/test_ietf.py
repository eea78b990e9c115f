"""The IETF drafts as headers alone, each interop version in its own way."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.errors import FileNotFound, InvalidField, OffsetMismatch, UnsupportedBody
from services.ietf import (
    LATEST,
    PARTIAL_TYPE,
    Append,
    Creation,
    InconsistentLength,
    Version,
    append,
    append_status,
    creation,
    interim_response,
    limit_headers,
    parse_boolean,
    parse_integer,
    problem,
    progress_headers,
    require_bare,
    speaks,
    state_headers,
    takes_interim,
)

EARLY = [Version.V3, Version.V4, Version.V5, Version.V6]
LATE = [Version.V7, Version.V8]


def begins(version: Version, complete: bool, **more: str) -> dict[str, str]:
    """Return the headers of a creation, more of them given as upload_length="1"."""
    flag = {"upload-incomplete": f"?{not complete:d}"}
    if version >= Version.V4:
        flag = {"upload-complete": f"?{complete:d}"}
    return flag | {name.replace("_", "-"): value for name, value in more.items()}


def goes_on(version: Version, complete: bool, offset: int, **more: str) -> dict[str, str]:
    """Return the headers of an append."""
    headers = begins(version, complete, upload_offset=str(offset), **more)
    return headers | ({"content-type": PARTIAL_TYPE} if version >= Version.V6 else {})


@pytest.mark.parametrize("version", list(Version))
def test_a_version_that_is_named_exactly_is_spoken(version: Version) -> None:
    headers = {"upload-draft-interop-version": str(int(version))}
    assert speaks(headers) is version
    assert takes_interim(headers)


@pytest.mark.parametrize("name", ["forwarded", "via", "x-forwarded-for"])
def test_a_proxy_gets_no_interim_answer(name: str) -> None:
    assert not takes_interim({"upload-draft-interop-version": "8", name: "192.0.2.1"})


@pytest.mark.parametrize("named", ["", "2", "9", "80", "-8", "8.0", '"8"', "?1", "8, 8", "eight"])
def test_another_version_is_not_spoken_and_gets_no_interim_answer(named: str) -> None:
    headers = {"upload-draft-interop-version": named}
    assert speaks(headers) is None
    assert speaks(headers | {"upload-complete": "?1"}) is LATEST
    assert not takes_interim(headers | {"upload-complete": "?1"})


def test_upload_complete_alone_is_held_to_the_latest_version() -> None:
    assert speaks({"upload-complete": "?0"}) is LATEST
    assert not takes_interim({"upload-complete": "?0"})


@pytest.mark.parametrize(
    "headers", [{}, {"tus-resumable": "1.0.0"}, {"upload-complete": "1"}, {"upload-length": "3"}]
)
def test_a_request_of_no_draft_is_not_taken_for_one(headers: dict[str, str]) -> None:
    assert speaks(headers) is None


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("?1", True),
        ("?0", False),
        ("  ?1  ", True),
        ("?1;a", True),
        ('?0; a=1;b="x \\" y";*c=tok/en;d=:YQ==:;e=?0;f=1.5;g=@1700000000;h=%"f%c3%bc"', False),
    ],
)
def test_a_boolean_item_is_read(written: str, value: bool) -> None:
    assert parse_boolean(written) is value


@pytest.mark.parametrize(
    "written",
    [
        "",
        "1",
        "true",
        "?2",
        "?",
        "?01",
        "\t?1",
        "?1 ;a",
        "?1;",
        "?1;A",
        "?1;a=",
        "?1, ?1",
        '"?1"',
        "?1\n",
    ],
)
def test_what_is_no_boolean_item_is_as_good_as_absent(written: str) -> None:
    assert parse_boolean(written) is None


@pytest.mark.parametrize(
    ("written", "value"),
    [("0", 0), ("-0", 0), ("007", 7), (" 5 ", 5), ("9" * 15, 10**15 - 1), ("3;unit=bytes", 3)],
)
def test_an_integer_item_is_read(written: str, value: int) -> None:
    assert parse_integer(written) == value


@pytest.mark.parametrize(
    "written",
    [
        "",
        "-1",
        "+1",
        "1.0",
        "1" * 16,
        "--1",
        "1 2",
        "1,2",
        "1_0",
        "\u0661",
        "0x1",
        "1;",
        ":MQ==:",
        "1\n",
    ],
)
def test_what_is_no_size_is_as_good_as_absent(written: str) -> None:
    assert parse_integer(written) is None


@given(st.text(max_size=30))
def test_any_text_at_all_is_a_field_or_none(written: str) -> None:
    assert parse_boolean(written) in (True, False, None)
    number = parse_integer(written)
    assert number is None or 0 <= number < 10**15


def test_a_long_malformed_field_is_refused_quickly() -> None:
    assert parse_boolean("?1" + ";a=1.1" * 20_000 + "!") is None
    assert parse_integer("1" + ';a="' + "\\\\" * 50_000) is None


@pytest.mark.parametrize("version", list(Version))
def test_a_creation_in_one_go_has_the_length_of_its_body(version: Version) -> None:
    asked = creation(begins(version, True), version, 123)
    assert asked == Creation(version, True, 123, None, None)


@pytest.mark.parametrize("version", list(Version))
def test_a_creation_that_goes_on_has_the_length_that_it_tells(version: Version) -> None:
    assert creation(begins(version, False), version, 123).length is None
    asked = creation(begins(version, False, upload_length="500"), version, 123)
    assert (asked.complete, asked.length) == (False, 500)


def test_a_chunked_body_tells_no_length() -> None:
    assert creation(begins(LATEST, True), LATEST, None).length is None
    assert creation(begins(LATEST, True, upload_length="5"), LATEST, None).length == 5


def test_two_lengths_that_differ_are_inconsistent() -> None:
    with pytest.raises(InconsistentLength) as caught:
        creation(begins(LATEST, True, upload_length="6"), LATEST, 5)
    assert problem(caught.value)["type"] == (
        "https://iana.org/assignments/http-problem-types#inconsistent-upload-length"
    )
    with pytest.raises(InconsistentLength):
        append(goes_on(LATEST, True, 5, upload_length="9"), LATEST, 5)


@pytest.mark.parametrize("version", list(Version))
def test_a_creation_that_does_not_say_whether_it_is_all_is_refused(version: Version) -> None:
    other = "upload-complete" if version == Version.V3 else "upload-incomplete"
    for headers in ({}, {other: "?1"}, {"upload-complete": "1", "upload-incomplete": "0"}):
        with pytest.raises(InvalidField, match=r"Upload-(Inc|C)omplete"):
            creation(headers, version, 1)


def test_a_new_upload_begins_at_offset_0() -> None:
    assert creation(begins(LATEST, True, upload_offset="0"), LATEST, 1).length == 1
    with pytest.raises(InvalidField, match="Upload-Offset"):
        creation(begins(LATEST, True, upload_offset="1"), LATEST, 1)


@pytest.mark.parametrize(
    ("disposition", "filename"),
    [
        ("", None),
        ("inline", None),
        ('inline; filename="a b.jpg"', "a b.jpg"),
        ("inline; filename=\"a.jpg\"; filename*=UTF-8''gr%C3%BC%C3%9Fe.jpg", "grüße.jpg"),
        ('inline; filename="gr\u00c3\u00bc.jpg"', "grü.jpg"),
        ('inline; filename="\u20ac.jpg"', "€.jpg"),
    ],
)
def test_a_creation_says_what_it_is(disposition: str, filename: str | None) -> None:
    headers = begins(LATEST, True, content_type="image/jpeg", content_disposition=disposition)
    asked = creation(headers, LATEST, 1)
    assert (asked.content_type, asked.filename) == ("image/jpeg", filename)


def test_the_type_of_an_append_is_not_the_type_of_a_file() -> None:
    headers = begins(Version.V6, False, content_type=PARTIAL_TYPE)
    assert creation(headers, Version.V6, 1).content_type is None


@pytest.mark.parametrize("version", list(Version))
def test_an_append_says_where_and_whether_it_ends_the_upload(version: Version) -> None:
    assert append(goes_on(version, False, 5), version, 3) == Append(version, 5, False, None)
    assert append(goes_on(version, True, 5), version, 3) == Append(version, 5, True, 8)
    assert append(goes_on(version, True, 5), version, None) == Append(version, 5, True, None)
    assert append(goes_on(version, True, 8), version, 0) == Append(version, 8, True, 8)


@pytest.mark.parametrize("version", [Version.V6, *LATE])
@pytest.mark.parametrize("content_type", ["", "text/plain", "application/offset+octet-stream"])
def test_an_append_needs_its_type_from_version_6_on(version: Version, content_type: str) -> None:
    headers = goes_on(version, False, 0) | {"content-type": content_type}
    with pytest.raises(UnsupportedBody) as caught:
        append(headers, version, 1)
    assert caught.value.accept == PARTIAL_TYPE


@pytest.mark.parametrize("version", [Version.V3, Version.V4, Version.V5])
def test_an_append_may_have_any_type_before(version: Version) -> None:
    headers = goes_on(version, False, 0) | {"content-type": "video/mp4"}
    assert append(headers, version, 1).offset == 0


@pytest.mark.parametrize("offset", [None, "", "-1", "1.5", "x", "1" * 16])
def test_an_append_without_its_offset_is_refused(offset: str | None) -> None:
    headers = goes_on(LATEST, False, 0)
    del headers["upload-offset"]
    with pytest.raises(InvalidField, match="Upload-Offset"):
        append(headers if offset is None else headers | {"upload-offset": offset}, LATEST, 1)


def test_the_last_append_of_version_3_need_not_say_so() -> None:
    assert append({"upload-offset": "5"}, Version.V3, 3) == Append(Version.V3, 5, True, 8)
    with pytest.raises(InvalidField, match="Upload-Incomplete"):
        append({"upload-offset": "5", "upload-incomplete": "no"}, Version.V3, 3)


@pytest.mark.parametrize("version", [Version.V4, Version.V5, Version.V6])
def test_an_append_that_says_nothing_may_still_tell_the_length(version: Version) -> None:
    headers = {"upload-offset": "5", "upload-length": "5", "content-type": PARTIAL_TYPE}
    assert append(headers, version, 0) == Append(version, 5, False, 5)


@pytest.mark.parametrize("version", LATE)
def test_an_append_must_say_whether_it_is_the_last_from_version_7_on(version: Version) -> None:
    headers = goes_on(version, False, 5)
    del headers["upload-complete"]
    with pytest.raises(InvalidField, match="Upload-Complete"):
        append(headers, version, 3)


@pytest.mark.parametrize("version", EARLY)
def test_head_and_delete_are_bare_up_to_version_6(version: Version) -> None:
    require_bare({"content-type": "x"}, version)
    for headers in ({"upload-offset": "0"}, begins(version, True)):
        with pytest.raises(InvalidField, match="Upload-"):
            require_bare(headers, version)


def test_later_versions_do_not_mind() -> None:
    for version in LATE:
        require_bare(goes_on(version, True, 0), version)


@pytest.mark.parametrize("version", list(Version))
def test_every_answer_tells_the_offset_and_the_state(version: Version) -> None:
    told = dict(progress_headers(version, offset=7, complete=False))
    assert told["Upload-Draft-Interop-Version"] == str(int(version))
    assert told["Upload-Offset"] == "7"
    if version == Version.V3:
        assert told["Upload-Incomplete"] == "?1"
        assert "Upload-Complete" not in told
    else:
        assert told["Upload-Complete"] == "?0"
        assert "Upload-Incomplete" not in told


@pytest.mark.parametrize("version", list(Version))
def test_head_tells_the_length_and_is_not_stored(version: Version) -> None:
    told = dict(state_headers(version, offset=7, complete=True, length=7))
    assert told["Upload-Length"] == "7"
    assert told["Cache-Control"] == "no-store"
    assert told.get("Upload-Complete", "?1") == "?1"
    assert told.get("Upload-Incomplete", "?0") == "?0"
    unknown = state_headers(version, offset=7, complete=False, length=None)
    assert "Upload-Length" not in dict(unknown)


def test_an_append_that_is_not_the_last_is_answered_as_its_version_has_it() -> None:
    assert {append_status(version, complete=False) for version in EARLY} == {201}
    assert {append_status(version, complete=False) for version in LATE} == {204}
    assert {append_status(version, complete=True) for version in Version} == {201}


def test_limits_are_a_dictionary_from_version_6_on() -> None:
    assert limit_headers(Version.V5, max_size=5) == ()
    assert limit_headers(Version.V6, max_size=5, seconds_left=60) == (
        ("Upload-Limit", "max-size=5, expires=60"),
    )
    assert limit_headers(
        Version.V8, max_size=5, max_append_size=4, min_append_size=2, seconds_left=60
    ) == (("Upload-Limit", "max-size=5, max-append-size=4, min-append-size=2, max-age=60"),)


def test_no_limits_are_told_too() -> None:
    assert limit_headers(LATEST) == (("Upload-Limit", "min-size=0"),)


def test_a_limit_stays_within_an_integer() -> None:
    told = limit_headers(LATEST, max_size=2**63, seconds_left=-5)
    assert told == (("Upload-Limit", "max-size=999999999999999, max-age=0"),)


def test_an_interim_answer_is_a_whole_head_of_http_1_1() -> None:
    sent = interim_response(Version.V5, [("Location", "/api/tus/a")])
    assert sent == (
        b"HTTP/1.1 104 Upload Resumption Supported\r\n"
        b"Upload-Draft-Interop-Version: 5\r\n"
        b"Location: /api/tus/a\r\n\r\n"
    )


def test_a_wrong_offset_is_a_problem_that_names_the_right_one() -> None:
    found = problem(OffsetMismatch(12), 25)
    assert re.fullmatch(r"https://iana\.org/.*#mismatching-upload-offset", str(found["type"]))
    assert (found["expected-offset"], found["provided-offset"]) == (12, 25)
    assert "provided-offset" not in problem(OffsetMismatch(12))


def test_other_errors_have_no_problem_type_of_the_drafts() -> None:
    assert problem(FileNotFound()) == {}
    assert problem(InvalidField("Upload-Offset is missing")) == {}
