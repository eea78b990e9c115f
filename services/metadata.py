"""What people write on a file: a small JSON object, bounded so that lists stay quick."""

import json
from collections.abc import Mapping
from typing import Any, Final

from services.errors import InvalidField

MOST_KEYS: Final = 64
LONGEST_KEY: Final = 128
LARGEST: Final = 16 * 1024
"""Bytes of JSON that the metadata of one file has at the most."""


def checked(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return `metadata` as a dict, or raise InvalidField when it is over a limit."""
    if len(metadata) > MOST_KEYS:
        raise InvalidField(f"metadata has more than {MOST_KEYS} keys")
    if any(not key or len(key) > LONGEST_KEY for key in metadata):
        raise InvalidField(f"metadata has a key that is empty or over {LONGEST_KEY} characters")
    if "\0" in (written := json.dumps(metadata, ensure_ascii=False)) or "\\u0000" in written:
        raise InvalidField("metadata has a NUL character")
    if len(written.encode("utf-8", "replace")) > LARGEST:
        raise InvalidField(f"metadata is over {LARGEST} bytes")
    return dict(metadata)


def merged(kept: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `kept` with `changes` merged in as RFC 7396 has it: null takes a key away."""
    result: dict[str, Any] = dict(kept)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            below = result.get(key)
            result[key] = merged(below if isinstance(below, Mapping) else {}, value)
        else:
            result[key] = value
    return checked(result)
