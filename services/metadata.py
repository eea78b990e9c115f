"""What people write on a file: a small JSON object, bounded so that lists stay quick."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from services.errors import InvalidField

MOST_KEYS: Final = 64
LONGEST_KEY: Final = 128
LARGEST: Final = 16 * 1024
"""Bytes of JSON that the metadata of one file has at the most."""
DEEPEST: Final = 16
"""Levels of objects and lists: what reads it back may have less of a stack than we."""


def checked(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return `metadata` as a dict, or raise InvalidField when it is over a limit."""
    if not metadata:
        return {}
    if len(metadata) > MOST_KEYS:
        raise InvalidField(f"metadata has more than {MOST_KEYS} keys")
    if any(not key or len(key) > LONGEST_KEY for key in metadata):
        raise InvalidField(f"metadata has a key that is empty or over {LONGEST_KEY} characters")
    _require_shallow(metadata)
    try:
        written = json.dumps(metadata, ensure_ascii=False, allow_nan=False)
        size = len(written.encode())
    except ValueError as error:
        raise InvalidField("metadata has an infinite number or a broken character") from error
    if "\\u0000" in written:
        raise InvalidField("metadata has a NUL character")
    if size > LARGEST:
        raise InvalidField(f"metadata is over {LARGEST} bytes")
    return dict(metadata)


def merged(kept: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `kept` with `changes` merged in as RFC 7396 has it: null takes a key away."""
    _require_shallow(changes)
    return checked(_merged(kept, changes))


def _merged(kept: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = dict(kept)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            below = result.get(key)
            result[key] = _merged(below if isinstance(below, Mapping) else {}, value)
        else:
            result[key] = value
    return result


def _require_shallow(metadata: Mapping[str, Any]) -> None:
    """Raise InvalidField for more than DEEPEST levels, without following them any further."""
    level: list[Any] = [metadata]
    for _ in range(DEEPEST):
        level = [below for each in level for below in _members(each)]
    if any(isinstance(each, Mapping | list) for each in level):
        raise InvalidField(f"metadata is nested more than {DEEPEST} levels deep")


def _members(value: Any) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list) else ()
