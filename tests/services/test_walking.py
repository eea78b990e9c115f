"""Rows and objects are paired by key, whatever is on either side."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.walking import READY, Row, side_by_side
from storage.base import ObjectInfo
from storage.errors import StorageError

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = st.sets(st.from_regex(r"[0-9a-z]{2}/[0-9a-z]{1,3}", fullmatch=True), max_size=30)


def row(key: str) -> Row:
    return Row(key, "id", 1, READY, None, MOMENT)


def found(key: str) -> ObjectInfo:
    return ObjectInfo(key, 1, "etag", MOMENT)


@given(KEYS, KEYS)
def test_each_key_comes_once_in_order_with_what_each_side_has(
    of_rows: set[str], of_objects: set[str]
) -> None:
    both = side_by_side(map(row, sorted(of_rows)), map(found, sorted(of_objects)))
    assert list(both) == [
        (row(key) if key in of_rows else None, found(key) if key in of_objects else None)
        for key in sorted(of_rows | of_objects)
    ]


@pytest.mark.parametrize("keys", (["ab/2", "ab/1"], ["ab/1", "ab/1"]))
def test_objects_out_of_order_are_refused(keys: list[str]) -> None:
    with pytest.raises(StorageError, match="out of order"):
        list(side_by_side(iter(()), map(found, keys)))
