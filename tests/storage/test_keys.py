"""Tests of the keys and of the one way to open a storage."""

from pathlib import Path

import pytest

from storage import open_storage
from storage.errors import InvalidKey
from storage.keys import new_key, random_name, validated
from storage.local import LocalStorage
from storage.memory import MemoryStorage
from tests.storage.material import INVALID_KEYS


def test_a_new_key_is_valid_and_lies_in_a_folder_of_its_own_beginning() -> None:
    key = new_key()
    folder, name = key.split("/")
    assert validated(key) == key
    assert name.startswith(folder)
    assert len(name) == 26


def test_new_names_use_every_letter_and_do_not_repeat() -> None:
    names = [random_name() for _ in range(2000)]
    assert len(set(names)) == len(names)
    assert set("".join(names)) == set("abcdefghijklmnopqrstuvwxyz234567")


@pytest.mark.parametrize("key", INVALID_KEYS.values(), ids=INVALID_KEYS.keys())
def test_a_key_of_another_form_is_a_value_error_that_does_not_repeat_it(key: str) -> None:
    with pytest.raises(InvalidKey) as raised:
        validated(key)
    assert isinstance(raised.value, ValueError)
    assert len(key) < 2 or key not in str(raised.value)


def test_a_url_opens_the_backend_that_it_names(tmp_path: Path) -> None:
    assert isinstance(open_storage("memory:", scratch=tmp_path), MemoryStorage)
    local = open_storage((tmp_path / "uploads").as_uri(), scratch=tmp_path)
    assert isinstance(local, LocalStorage)
    assert not (tmp_path / "uploads").exists()


@pytest.mark.parametrize("url", ["", "uploads", "/srv/uploads", "ftp://host/folder", "s4://bucket"])
def test_a_url_of_no_backend_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ValueError, match="no backend"):
        open_storage(url, scratch=tmp_path)
