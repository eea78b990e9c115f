"""The bytes of a zip, its length known before, and names that do not collide."""

import io
import zipfile
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services import zipping
from services.zipping import Entry, distinct, zipped, zipped_size

WHEN = datetime(2026, 3, 4, 5, 6, 8, tzinfo=UTC)
NAMES = st.text(
    st.characters(
        exclude_categories=("Cc", "Cf", "Cs", "Co", "Zl", "Zp"), exclude_characters="/\\"
    ),
    min_size=1,
    max_size=40,
).filter(lambda name: name.strip(". ") != "")


def made(contents: dict[str, bytes], when: datetime = WHEN) -> tuple[list[Entry], bytes]:
    entries = [Entry(name, len(content), when) for name, content in contents.items()]
    pairs: Iterable[tuple[Entry, Iterable[bytes]]] = (
        (entry, (content[:3], content[3:]))
        for entry, content in zip(entries, contents.values(), strict=True)
    )
    return entries, b"".join(zipped(pairs))


@given(st.dictionaries(NAMES, st.binary(max_size=300), max_size=8))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_what_comes_out_is_what_went_in_and_as_long_as_was_said(contents: dict[str, bytes]) -> None:
    entries, archive = made(contents)
    assert len(archive) == zipped_size(entries)
    with zipfile.ZipFile(io.BytesIO(archive)) as read:
        assert read.testzip() is None
        assert {name: read.read(name) for name in read.namelist()} == contents


def test_the_bytes_are_the_same_each_time_and_times_are_those_of_the_files_in_utc() -> None:
    later = WHEN.astimezone(timezone(timedelta(hours=5)))
    _, once = made({"a.txt": b"text", "b": b""})
    _, again = made({"a.txt": b"text", "b": b""}, later)
    assert once == again
    with zipfile.ZipFile(io.BytesIO(once)) as read:
        assert read.getinfo("a.txt").date_time == (2026, 3, 4, 5, 6, 8)
        assert read.getinfo("a.txt").external_attr >> 16 == 0o100644


@pytest.mark.parametrize("limit", [100, 1000, 2500, 4000])
def test_the_length_is_right_on_both_sides_of_every_limit_of_the_format(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", limit)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 6)
    monkeypatch.setattr(zipping, "_LARGE", limit // 2)
    for count in range(9):
        entries, archive = made({f"é{n}": b"x" * (n * limit // 4) for n in range(count)})
        assert len(archive) == zipped_size(entries), count


def test_a_large_member_is_read_by_a_zip64_reader_without_being_held() -> None:
    size = 5 * 1024**3
    chunk = bytes(2**20)

    def pieces() -> Iterator[bytes]:
        for _ in range(3):
            yield chunk

    # Only the frame is looked at: the length of a member of 5 GiB is arithmetic.
    assert (
        zipped_size([Entry("big", size, WHEN)]) - size == 30 + 3 + 20 + 24 + 46 + 3 + 20 + 76 + 22
    )
    small = b"".join(zipped([(Entry("big", len(chunk) * 3, WHEN), pieces())]))
    assert len(small) == zipped_size([Entry("big", len(chunk) * 3, WHEN)])


def test_names_that_are_alike_are_told_apart() -> None:
    given = ["a.txt", "A.TXT", "a (1).txt", "a.txt", "b", "b", ".x", ".x"]
    told = list(distinct(given))
    assert told == ["a.txt", "A (2).TXT", "a (1).txt", "a (3).txt", "b", "b (2)", ".x", ".x (2)"]
    assert len(list(distinct(["same"] * 5000))) == 5000


def test_a_name_with_a_number_is_no_longer_than_a_file_system_takes() -> None:
    longest = ["é" * 125 + ".txt", "x" * 255, "a." + "x" * 253]
    told = list(distinct(longest * 3))
    assert len({name.casefold() for name in told}) == 9
    assert max(len(name.encode()) for name in told) <= 255
    assert told[3].endswith("é (2).txt")
    ends = [f"{'x' * 250}{number:05}" for number in range(5000)]
    assert len(set(distinct(ends * 2))) == 10_000  # and in no more time than others
