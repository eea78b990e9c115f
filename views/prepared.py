"""Answers that are the same each time, kept as long as the row they were made of is the same.

A row is read for every request, so that a file that is deleted, renamed or moved is so at once. An
object never changes under its key; what may be kept of one is its bytes, if they are few.
"""

from dataclasses import dataclass
from typing import Any, Final

KEPT: Final = 16 * 1024 * 1024
"""Bytes of all answers that a process keeps."""

_AROUND: Final = 4096
"""Bytes that an answer takes besides those of its body, with what it is kept by."""

Key = tuple[Any, ...]
"""A row as the database gives it, and what else an answer depends on."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """An answer but for its date and its request's id.

    `fields` are its headers as they are sent, a line each, and `length` is what they say of the
    body. It may not be sent before `since`, in seconds since 1970.
    """

    code: int
    status: str
    fields: str
    content: bytes
    length: int
    since: float


class PreparedAnswers:
    """The answers used last; for one thread."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._size = 0
        self._answers: dict[Key, Prepared] = {}

    def get(self, key: Key, now: float) -> Prepared | None:
        """Return what was kept, if it may be sent now."""
        found = self._answers.pop(key, None)
        if found is None:
            return None
        self._answers[key] = found
        return found if found.since <= now else None

    def keep(self, key: Key, answer: Prepared) -> None:
        """Keep an answer, and drop those that were not used for longest."""
        self._drop(key)
        self._answers[key] = answer
        self._size += _size(answer)
        while self._size > self._kept:
            self._drop(next(iter(self._answers)))

    def _drop(self, key: Key) -> None:
        dropped = self._answers.pop(key, None)
        if dropped is not None:
            self._size -= _size(dropped)


def _size(answer: Prepared) -> int:
    return len(answer.content) + _AROUND
