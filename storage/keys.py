"""Object keys: made by the server, never taken from a client.

A key is a two-character folder and a name, `k7/k7q2…`, of lowercase letters and digits. Stores
disagree on how `a/b` and `a-b` sort; within this alphabet and this depth they all agree, and the
order that `scan` promises stands on it. 1,024 folders keep each one small for ten million objects.
"""

import re
import secrets
from typing import Final

from storage.errors import InvalidKey

_ALPHABET: Final = "abcdefghijklmnopqrstuvwxyz234567"
_NAME_LENGTH: Final = 26
_LETTERS: Final = (_ALPHABET * 8).encode("ascii")  # the letter of each byte, by 5 of its bits
_RANDOM_NAME: Final = re.compile(rf"[a-z2-7]{{{_NAME_LENGTH}}}", re.ASCII)
_KEY: Final = re.compile(r"[0-9a-z]{2}/[0-9a-z]{1,64}", re.ASCII)


def random_name() -> str:
    """Return 130 random bits as 26 characters of lowercase base32 (RFC 4648 §6)."""
    return secrets.token_bytes(_NAME_LENGTH).translate(_LETTERS).decode("ascii")


def is_random_name(text: str) -> bool:
    """Say whether `text` is one that random_name could have returned."""
    return _RANDOM_NAME.fullmatch(text) is not None


def new_key() -> str:
    """Return a key that no object has."""
    name = random_name()
    return f"{name[:2]}/{name}"


def folders() -> list[str]:
    """Return the folders of all that new_key can return, with the slash, in ascending order."""
    letters = sorted(_ALPHABET)
    return [f"{first}{second}/" for first in letters for second in letters]


def is_valid(key: str) -> bool:
    """Say whether `key` is of the form that every backend keeps."""
    return _KEY.fullmatch(key) is not None


def validated(key: str) -> str:
    """Return `key` as it is, or raise InvalidKey."""
    if not is_valid(key):
        raise InvalidKey("a key is two characters, a slash and up to 64 characters of 0-9 and a-z")
    return key
