"""Where bytes are kept: one contract (`storage.base`), several backends, one way to open them."""

from pathlib import Path
from urllib.parse import urlsplit

from storage.base import Storage
from storage.errors import StorageUnavailable


class Storages(dict[str, Storage]):
    """The configured storages by name. One that files name and nobody configures is unavailable."""

    def __missing__(self, name: str) -> Storage:
        raise StorageUnavailable(f"no storage is configured under the name {name!r}")


def open_mirror(members: dict[str, Storage]) -> Storage:
    """Compose open storages, the first of which is the primary, to one that has mirrors.

    Raises ValueError for fewer than two.
    """
    from storage.mirror import mirror_of

    return mirror_of(members)


def open_storage(
    url: str,
    *,
    scratch: Path,
    durable: bool = True,
    access_key_id: str | None = None,
    secret_access_key: str | None = None,
    public_endpoint: str | None = None,
) -> Storage:
    """Open the backend that `url` describes: `file:///folder`, `s3://bucket/prefix?…` or `memory:`.

    `scratch` is a folder for bytes on their way to a remote store. `durable` asks for an fsync
    before a commit returns, where there is one to make. Nothing is contacted yet, and the
    backends' own packages are loaded only when they are used. Raises ValueError for a URL that
    describes no backend.
    """
    scheme = urlsplit(url).scheme
    if scheme == "file":
        from storage.local import LocalStorage

        return LocalStorage.from_url(url, durable=durable)
    if scheme == "s3":
        from storage.s3 import S3Storage

        return S3Storage.from_url(
            url,
            scratch=scratch,
            access_key_id=access_key_id,
            secret_access_key=secret_access_key,
            public_endpoint=public_endpoint,
        )
    if scheme == "memory":
        from storage.memory import MemoryStorage

        return MemoryStorage()
    raise ValueError(f"no backend is called {scheme!r}: use file://, s3:// or memory:")
