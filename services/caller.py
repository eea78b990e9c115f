"""Who asks: anonymous, the holder of a key or of a signed upload link, or everyone in `open` mode.

Knows no HTTP and no secrets: `services.keys` and `services.links` make callers out of what a
request shows.
"""

from dataclasses import dataclass, field
from typing import Final

from services.errors import CollectionNotFound, NotPermitted, NotSignedIn

SCOPES: Final = frozenset({"read", "write", "delete", "admin"})
DEFAULT_COLLECTION: Final = "default"


@dataclass(frozen=True, slots=True)
class UploadLink:
    """What the signer of an upload link allows: one file, of at most `max_size` bytes.

    `expires_at` is in seconds since 1970. `filename` and `content_type` count in place of what the
    uploader says, where they are not None.
    """

    id: str
    max_size: int | None
    expires_at: int
    filename: str | None = None
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller and what it may do.

    `owner` is the id of its key; None for all others. `collection` is the only one that it may
    touch, None for any. `link` is the upload link that it came by, and all that it may use.
    """

    owner: str | None = None
    scopes: frozenset[str] = field(default=frozenset())
    collection: str | None = None
    link: UploadLink | None = None

    @property
    def is_admin(self) -> bool:
        """Whether it may see and do everything, in its collection where it has one."""
        return "admin" in self.scopes

    def require(self, scope: str) -> None:
        """Raise NotSignedIn for a caller without any right, NotPermitted for one without `scope`.

        `admin` includes every other scope.
        """
        if not self.scopes:
            raise NotSignedIn("This needs an API key")
        if scope not in self.scopes and not self.is_admin:
            raise NotPermitted(f"This key has not the scope {scope}")

    def require_admin_of_all(self) -> None:
        """Raise as `require` does unless the caller administers the whole service."""
        self.require("admin")
        if self.collection is not None:
            raise NotPermitted("This key administers one collection only")

    def collection_for(self, named: str | None) -> str:
        """Return the collection that a new file goes to, of the one that the request names.

        Raises CollectionNotFound for another one than the caller's own.
        """
        if self.collection is None:
            return named or DEFAULT_COLLECTION
        if named not in (None, self.collection):
            raise CollectionNotFound(f"No collection is called {named[:64]!r}")
        return self.collection

    def owns(self, *, owner: str | None, collection: str) -> bool:
        """Say whether a file or upload with these attributes is one that the caller may touch."""
        if self.collection not in (None, collection):
            return False
        return self.is_admin or (owner is not None and owner == self.owner)

    def may_read(self, *, owner: str | None, collection: str, visibility: str) -> bool:
        """Say whether the caller may have the bytes of a file with these attributes."""
        if visibility == "public":
            return True
        reads = self.is_admin or "read" in self.scopes
        return reads and self.owns(owner=owner, collection=collection)


ANONYMOUS: Final = Caller()
EVERYONE: Final = Caller(scopes=SCOPES)
"""The caller of every request in `open` mode: may do anything, owns nothing."""
