"""Who asks: anonymous, everyone in `open` mode, or the holder of a key. Knows no HTTP."""

from dataclasses import dataclass, field
from typing import Final

from services.errors import NotSignedIn

SCOPES: Final = frozenset({"read", "write", "delete", "admin"})


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller and what it may do. `owner` is the id of its key; None for all others."""

    owner: str | None = None
    scopes: frozenset[str] = field(default=frozenset())

    def require(self, scope: str) -> None:
        """Raise NotSignedIn unless the caller has `scope`."""
        if scope not in self.scopes:
            raise NotSignedIn("This needs an API key")

    def may_read(self, *, owner: str | None, visibility: str) -> bool:
        """Say whether the caller may have the bytes of a file with these attributes."""
        if visibility == "public" or "admin" in self.scopes:
            return True
        return "read" in self.scopes and owner is not None and owner == self.owner


ANONYMOUS: Final = Caller()
EVERYONE: Final = Caller(scopes=SCOPES)
"""The caller of every request in `open` mode: may do anything, owns nothing."""
