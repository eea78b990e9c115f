"""What a turn works on, and what comes of it. It knows neither the cases nor the servers."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.meter import Usage

MIB = 1024 * 1024


@dataclass(slots=True)
class Fixture:
    """What the cases work on: source files, how long a turn lasts, and what is stored where.

    `big` and `small` map a subject's name to the paths that it serves the files at.
    """

    big_file: Path
    small_files: list[Path]
    size: int
    seconds: int
    big: dict[str, str] = field(default_factory=dict)
    small: dict[str, list[str]] = field(default_factory=dict)
    numbered: int = 0

    def numbers(self) -> int:
        """Return the first of numbers that no earlier turn has used."""
        self.numbered += 10**7
        return self.numbered


@dataclass(frozen=True, slots=True)
class Sample:
    """One turn's figure, in the case's unit, how much was done in all, and what the server used.

    `parts` is how many the stored object has, `held` how many of the slow clients were still
    connected at the end, `unloaded` the rate without them; 0 where a case has no such thing.
    """

    rate: float
    done: float
    usage: Usage
    parts: int = 0
    held: int = 0
    unloaded: float = 0.0

    @property
    def cpu(self) -> float:
        """The server's CPU seconds for each unit done, which other work on the machine spares."""
        return self.usage.cpu / self.done

    def as_json(self) -> dict[str, object]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> "Sample":
        """Return the sample that `as_json` told of."""
        return cls(**{**told, "usage": Usage(**told["usage"])})
