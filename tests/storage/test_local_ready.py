"""A local disk's folders are there before the first upload, and hold nothing."""

from pathlib import Path

import pytest

from storage.keys import folders, new_key
from storage.local import LocalStorage


@pytest.mark.parametrize("durable", (False, True))
def test_a_storage_that_is_made_ready_has_every_folder_and_no_object(
    tmp_path: Path, durable: bool
) -> None:
    storage = LocalStorage(tmp_path / "objects", durable=durable)
    for _ in range(2):
        storage.make_ready()
    made = {f"{each.name}/" for each in (tmp_path / "objects").iterdir() if each.is_dir()}
    assert made >= {*folders()}
    assert list(storage.scan()) == []
    with storage.create(new_key()) as writer:
        writer.write(b"bytes")
        writer.commit()
    assert [info.size for info in storage.scan()] == [5]
    storage.close()
