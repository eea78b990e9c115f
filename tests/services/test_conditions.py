"""The If-… headers, each alone and in the order of RFC 9110 §13.2.2."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.conditions import EntityTag, parse_date, parse_tags, precondition, range_applies

ETAG = "aaa"
MODIFIED = datetime(2024, 5, 17, 12, 0, 0, tzinfo=UTC)
SAME = "Fri, 17 May 2024 12:00:00 GMT"
EARLIER = "Fri, 17 May 2024 11:59:59 GMT"
LATER = "Fri, 17 May 2024 12:00:01 GMT"


def decide(**headers: str) -> int | None:
    """Evaluate headers given as keywords: `if_match` for If-Match."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return precondition(named, etag=ETAG, modified=MODIFIED)


def test_without_conditions_there_is_nothing_to_decide() -> None:
    assert decide() is None


@pytest.mark.parametrize(
    "header", ['"aaa"', '"b", "aaa"', '"b","aaa" , "c"', "*", " * ", ',, "aaa"']
)
def test_if_match_passes_with_our_tag_in_the_list_or_a_star(header: str) -> None:
    assert decide(if_match=header) is None


@pytest.mark.parametrize(
    "header", ['"b"', 'W/"aaa"', "aaa", "", '"aaa', '"aaa" "b"', '"aaa", *', "**"]
)
def test_if_match_fails_with_other_weak_or_malformed_tags(header: str) -> None:
    assert decide(if_match=header) == 412


@pytest.mark.parametrize("header", ['"aaa"', 'W/"aaa"', '"b", W/"aaa"', "*"])
def test_if_none_match_compares_weakly(header: str) -> None:
    assert decide(if_none_match=header) == 304


@pytest.mark.parametrize("header", ['"b"', "aaa", "", 'w/"aaa"', '"aaa" x', '"AAA"', '"a,aa"'])
def test_if_none_match_with_other_or_malformed_tags_has_no_effect(header: str) -> None:
    assert decide(if_none_match=header) is None


@pytest.mark.parametrize(("date", "status"), [(SAME, None), (LATER, None), (EARLIER, 412)])
def test_if_unmodified_since_is_obeyed(date: str, status: int | None) -> None:
    assert decide(if_unmodified_since=date) == status


@pytest.mark.parametrize(("date", "status"), [(SAME, 304), (LATER, 304), (EARLIER, None)])
def test_if_modified_since_is_obeyed(date: str, status: int | None) -> None:
    assert decide(if_modified_since=date) == status


@pytest.mark.parametrize(
    "date", ["", "0", "yesterday", "2024-05-17", f"{SAME}, x", f"{SAME}, {SAME}"]
)
def test_dates_that_do_not_parse_have_no_effect(date: str) -> None:
    assert decide(if_unmodified_since=date) is None
    assert decide(if_modified_since=date) is None


def test_if_match_makes_if_unmodified_since_irrelevant() -> None:
    assert decide(if_match='"aaa"', if_unmodified_since=EARLIER) is None
    assert decide(if_match='"b"', if_unmodified_since=LATER) == 412


def test_if_none_match_makes_if_modified_since_irrelevant() -> None:
    assert decide(if_none_match='"b"', if_modified_since=LATER) is None
    assert decide(if_none_match='"aaa"', if_modified_since=EARLIER) == 304


def test_a_failed_if_match_comes_before_a_matching_if_none_match() -> None:
    assert decide(if_match='"b"', if_none_match='"aaa"') == 412
    assert decide(if_unmodified_since=EARLIER, if_none_match='"aaa"') == 412


def test_a_passed_if_match_leaves_if_none_match_to_decide() -> None:
    assert decide(if_match='"aaa"', if_none_match='"aaa"') == 304
    assert decide(if_match="*", if_modified_since=SAME) == 304


@pytest.mark.parametrize("header", [None, '"aaa"', ' "aaa" ', SAME])
def test_if_range_with_the_current_validator_lets_the_range_count(header: str | None) -> None:
    assert range_applies(header, etag=ETAG, modified=MODIFIED)


@pytest.mark.parametrize(
    "header", ['"b"', 'W/"aaa"', '"aaa", "b"', "*", "aaa", "", EARLIER, LATER, f"{SAME} x"]
)
def test_if_range_with_anything_else_makes_the_range_not_count(header: str) -> None:
    assert not range_applies(header, etag=ETAG, modified=MODIFIED)


def test_tags_may_hold_commas_and_be_empty() -> None:
    assert parse_tags('"a,b" , W/"" ,"c"') == (
        EntityTag("a,b", False),
        EntityTag("", True),
        EntityTag("c", False),
    )


@pytest.mark.parametrize(
    "date",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
    ],
)
def test_all_three_forms_of_a_date_are_read(date: str) -> None:
    assert parse_date(date) == datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)


@pytest.mark.parametrize(
    "date",
    ["Sun, 06 Nov 99999999999 08:49:37 GMT", "Sun, 99 Nov 1994 08:49:37 GMT", SAME[:-3] + "+0200"],
)
def test_a_date_out_of_range_or_in_another_zone_is_no_date(date: str) -> None:
    assert parse_date(date) is None


@given(st.text(max_size=80))
def test_no_header_breaks_the_parsers(header: str) -> None:
    parse_tags(header)
    parse_date(header)
    range_applies(header, etag=ETAG, modified=MODIFIED)


def test_a_long_list_of_tags_is_read_in_full() -> None:
    assert len(parse_tags(", ".join('"x"' for _ in range(2000)))) == 2000
