"""What a collection's fields may hold, and what they hold unless they are given.

Values are those of the API: sizes in bytes, spans in seconds, None for no limit.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from services.errors import InvalidField

NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
LARGEST: Final = 2**53 - 1
"""The largest size and count: JSON's numbers are exact up to it everywhere."""
LONGEST_LIFE: Final = 100 * 366 * 86_400
"""Seconds that a file may live at the most: a hundred years."""
LONGEST_CACHED: Final = 365 * 86_400
"""Seconds that caches keep a link at the most: a year."""
MOST_TYPES: Final = 100

CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "visibility": ("public", "private"),
    "on_mismatch": ("correct", "reject"),
    "delivery": ("proxy", "redirect", "x-accel"),
}
DEFAULTS: Final[dict[str, Any]] = {
    "visibility": "public",
    "allowed_types": None,
    "on_mismatch": "correct",
    "max_size": None,
    "max_files": None,
    "max_bytes": None,
    "expires_in": None,
    "backend": None,
    "delivery": "proxy",
    "cache_max_age": 3600,
}

_TOKEN: Final = r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}"
_PATTERN: Final = re.compile(rf"\*/\*|{_TOKEN}/(\*|{_TOKEN})")


def is_name(name: str) -> bool:
    """Say whether a collection can be called so."""
    return NAME.fullmatch(name) is not None


def checked_name(name: str) -> str:
    """Return `name`. Raises InvalidField for what no collection can be called."""
    if not is_name(name):
        raise InvalidField(
            "name is not 1 to 63 of a-z, 0-9, - and _, beginning with a letter or a digit"
        )
    return name


def checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return `given` as it is to be kept. Raises InvalidField."""
    values = {}
    for field, value in given.items():
        if field not in _CHECKS:
            raise InvalidField(f"{field} is not a field of a collection")
        values[field] = _CHECKS[field](field, value)
    return values


def _choice(field: str, value: Any) -> str:
    choices = CHOICES[field]
    if value not in choices:
        raise InvalidField(f"{field} is not one of {', '.join(choices)}")
    return str(value)


def _number(least: int, most: int) -> Callable[[str, Any], int]:
    def check(field: str, value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise InvalidField(f"{field} is not a whole number from {least} to {most}")
        return value

    return check


def _or_none(check: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    return lambda field, value: None if value is None else check(field, value)


def _types(field: str, value: Any) -> list[str]:
    if not isinstance(value, list | tuple) or not 0 < len(value) <= MOST_TYPES:
        raise InvalidField(f"{field} is not a list of 1 to {MOST_TYPES} types")
    patterns = [each.strip().lower() if isinstance(each, str) else "" for each in value]
    for pattern, each in zip(patterns, value, strict=True):
        if not _PATTERN.fullmatch(pattern):
            raise InvalidField(
                f"{field}: {str(each)[:64]!r} is not a type such as image/png or image/*"
            )
    return list(dict.fromkeys(patterns))


def _text(field: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InvalidField(f"{field} is not a text")
    return value


_CHECKS: Final[dict[str, Callable[[str, Any], Any]]] = {
    **dict.fromkeys(CHOICES, _choice),
    "allowed_types": _or_none(_types),
    **dict.fromkeys(("max_size", "max_files", "max_bytes"), _or_none(_number(1, LARGEST))),
    "expires_in": _or_none(_number(1, LONGEST_LIFE)),
    "backend": _or_none(_text),
    "cache_max_age": _number(0, LONGEST_CACHED),
}
