"""Opens the configured backends, each under its name. Knows settings, and no concrete backend."""

from config import BackendSettings, ConfigurationError, Settings
from storage import Storages, open_mirror, open_storage
from storage.base import Storage


def open_backend(settings: Settings, backend: BackendSettings) -> Storage:
    """Open a backend that has no members. Raises ValueError for a URL that is wrong."""
    return open_storage(
        backend.url,
        scratch=settings.scratch,
        durable=settings.durable,
        access_key_id=backend.access_key_id,
        secret_access_key=backend.secret_access_key,
        public_endpoint=backend.public_endpoint,
    )


def open_storages(settings: Settings) -> Storages:
    """Open every configured backend by name. Raises ConfigurationError for URLs that are wrong."""
    storages, problems = Storages(), []
    for backend in sorted(settings.backends.values(), key=lambda backend: bool(backend.members)):
        try:
            if not backend.members:
                storages[backend.name] = open_backend(settings, backend)
            # One whose member is wrong is of no use; the member's own line says why.
            elif storages.keys() >= {*backend.members}:
                members = {name: storages[name] for name in backend.members}
                storages[backend.name] = open_mirror(members)
        except ValueError as error:
            problems.append(f"{backend.variable}: {error}")
    if problems:
        raise ConfigurationError(problems)
    return storages
