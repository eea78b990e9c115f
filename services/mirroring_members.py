"""Which backends lie on the same storages: one that is mirrored, and those it is put together of.

An object has no mark of the backend whose file it is. So whoever holds a storage against the rows
of one backend has to know of all backends that keep objects there.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from storage.base import Storage
from storage.capabilities import Mirrored

_SEPARATOR: Final = "/"
"""Between a backend and its mirror; no name of a backend has one."""


class Place(NamedTuple):
    """A storage that keeps objects of a backend.

    `member` is the name of that storage where the backend is mirrored, None where it is the
    backend itself. `neighbours` are other backends that keep objects there.
    """

    backend: str
    storage: Storage
    member: str | None
    is_mirror: bool
    neighbours: tuple[str, ...]

    @property
    def lies_on(self) -> str:
        """The name of the storage."""
        return self.member or self.backend


def members_of(backend: str, storages: Mapping[str, Storage]) -> list[str]:
    """Return the storages that a backend keeps objects on, the primary first."""
    storage = storages.get(backend)
    return [*storage.members] if isinstance(storage, Mirrored) else [backend]


def places(storages: Mapping[str, Storage]) -> dict[str, Place]:
    """Return every place by the name it goes by: a backend's own, and `safe/s3` for a mirror."""
    tenants: dict[str, list[str]] = {}
    for backend in storages:
        for member in members_of(backend, storages):
            tenants.setdefault(member, []).append(backend)
    found = {}
    for backend, storage in storages.items():
        mirrored = storage if isinstance(storage, Mirrored) else None
        for number, member in enumerate(members_of(backend, storages)):
            name = f"{backend}{_SEPARATOR}{member}" if number else backend
            found[name] = Place(
                backend,
                mirrored.members[member] if mirrored else storage,
                member if mirrored else None,
                number > 0,
                tuple(each for each in tenants[member] if each != backend),
            )
    return found


def with_mirrors(backends: Sequence[str], storages: Mapping[str, Storage]) -> list[str]:
    """Return the names of `backends`, and behind each the names of its mirrors."""
    known = places(storages)
    return [
        name
        for backend in backends
        for name in [
            backend,
            *(n for n, p in known.items() if p.is_mirror and p.backend == backend),
        ]
    ]
