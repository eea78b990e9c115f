"""Part buffers, their budget, and how large parts get."""

import errno
import os
from pathlib import Path

import pytest

from storage.errors import StorageFull
from storage.multipart import part_capacity
from storage.parts import LARGE_PAGE, Budget, PartBuffer, rewindable, size_of

PIECE = memoryview(bytes(range(256)) * 4)


def filled(part: PartBuffer, pieces: int) -> PartBuffer:
    for _ in range(pieces):
        part.take_memory(len(PIECE))
        part.append(PIECE)
    return part


@pytest.mark.parametrize("limit", [0, 2_000, 1_000_000])
@pytest.mark.parametrize("pieces", [0, 1, 5, 8])
def test_a_part_reads_back_what_was_appended_and_can_be_read_again(
    tmp_path: Path, limit: int, pieces: int
) -> None:
    budget = Budget(limit)
    part = filled(PartBuffer(8 * len(PIECE), budget=budget, scratch=tmp_path / "new"), pieces)
    reader = part.reader()
    assert size_of(reader) == part.size == pieces * len(PIECE)
    assert reader.read() == bytes(PIECE) * pieces
    reader.seek(0)
    assert reader.read(300) == (bytes(PIECE) * pieces)[:300]
    assert budget.used <= limit
    part.close()
    part.close()
    assert budget.used == 0


def test_a_part_that_outgrows_the_budget_gives_its_memory_back(tmp_path: Path) -> None:
    budget = Budget(3 * len(PIECE))
    part = filled(PartBuffer(8 * len(PIECE), budget=budget, scratch=tmp_path), 4)
    assert (part.in_memory, budget.used, list(tmp_path.iterdir())) == (False, 0, [])
    part.close()


def test_large_pages_are_counted_whole_and_are_not_taken_where_they_do_not_fit(
    tmp_path: Path,
) -> None:
    budget = Budget(3 * LARGE_PAGE)
    part = PartBuffer(4 * LARGE_PAGE, budget=budget, scratch=tmp_path, large_pages=True)
    piece = memoryview(bytes(LARGE_PAGE - 10))
    for taken in (1, 2, 3):
        assert part.take_memory(len(piece))
        part.append(piece)
        assert budget.used == taken * LARGE_PAGE
    assert not part.take_memory(len(piece))
    part.append(piece)
    assert (part.in_memory, budget.used) == (False, 0)
    assert part.reader().read() == bytes(4 * len(piece))
    part.close()


def test_a_full_disk_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    part = PartBuffer(len(PIECE), budget=Budget(0), scratch=tmp_path)
    with pytest.raises(StorageFull):
        part.append(PIECE)
    part.close()


def test_the_rest_of_a_file_begins_at_its_position(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    with (tmp_path / "file").open("rb") as file:
        file.seek(4)
        rest = rewindable(file)
        assert (size_of(rest), rest.read(3), rest.read(), rest.read()) == (6, b"456", b"789", b"")
        rest.seek(0)
        assert rest.read() == b"456789"


def test_ten_thousand_parts_hold_the_largest_object() -> None:
    smallest, tebibyte = 5 * 1024**2, 1024**4
    total = sum(part_capacity(smallest, number) for number in range(1, 10_001))
    assert total > 5 * tebibyte
    assert part_capacity(smallest, 900) == smallest
    assert max(part_capacity(smallest, number) for number in range(1, 10_001)) <= 5 * 1024**3
