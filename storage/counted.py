"""The part of an unfinished object's state that all backends have: how many bytes, and if complete.

Knows the contract only.
"""

from dataclasses import asdict, dataclass
from typing import Self

from storage.capabilities import State
from storage.errors import IntegrityError


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """A state, read: `size` bytes were kept; once `complete`, no more will come."""

    size: int = 0
    complete: bool = False

    @classmethod
    def read(cls, state: State) -> Self:
        try:
            return cls(**state)
        except TypeError as exc:
            raise IntegrityError("the state of an unfinished object cannot be read") from exc

    @classmethod
    def to_append(cls, state: State, offset: int) -> Self:
        """Read a state to go on from at `offset`. Raises IntegrityError or ValueError."""
        counted = cls.read(state)
        if counted.complete:
            raise ValueError("an object that is complete takes no further bytes")
        counted._require(offset)
        return counted

    @classmethod
    def to_finish(cls, state: State, size: int) -> Self:
        """Read a state to make an object of `size` bytes. Raises IntegrityError or ValueError."""
        counted = cls.read(state)
        if not counted.complete:
            raise ValueError("an object is finished from the state that `complete` returned")
        counted._require(size)
        return counted

    def state(self) -> State:
        return asdict(self)

    def _require(self, size: int) -> None:
        if size != self.size:
            raise IntegrityError(f"the unfinished object has {self.size} bytes, not {size}")
