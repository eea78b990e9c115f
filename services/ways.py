"""Which backends' bytes another server can send, and the header that tells it to.

It asks storages for their capabilities once, and knows no HTTP but the two headers. What is handed
off and when is decided in `services.delivery`.
"""

from collections.abc import Mapping, Set
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from services.delivery import Plan
from services.handoff import HandOff, Way
from services.stored import StoredFile
from storage.base import Storage
from storage.capabilities import Filed, Mirrored, Presigner
from storage.errors import IntegrityError, StorageError

INTERNAL: Final = "/_holdall"
"""Where nginx has a location for each backend, `/_holdall/<backend>/`, that no client can ask."""


class Ways:
    """The ways that the configured storages offer."""

    def __init__(self, storages: Mapping[str, Storage]) -> None:
        self._storages = storages
        self._presigners = {
            name: storage for name, storage in storages.items() if isinstance(storage, Presigner)
        }
        self._filed = {
            name: storage for name, storage in storages.items() if isinstance(storage, Filed)
        }
        self._primaries = {
            name: storage.primary
            for name, storage in storages.items()
            if isinstance(storage, Mirrored)
        }

    def of(self, file: StoredFile, announced: Set[str]) -> Way | None:
        """Return the way of the file's collection, or None where its bytes come from us.

        `announced` names the backends that the nginx by which a request came has locations for.
        A mirrored backend's bytes come from its primary, and from us while that cannot give them.
        """
        way = self._way(file, announced)
        return way if way is None or self._is_at_hand(file) else None

    def _way(self, file: StoredFile, announced: Set[str]) -> Way | None:
        if file.delivery == Way.REDIRECT.value and file.backend in self._presigners:
            return Way.REDIRECT
        if file.delivery == Way.ACCEL.value and self._place(file) in announced:
            known = file.backend in self._filed or file.backend in self._presigners
            return Way.ACCEL if known else None
        return None

    def _place(self, file: StoredFile) -> str:
        """Return the backend that other servers find the file on."""
        return self._primaries.get(file.backend, file.backend)

    def _is_at_hand(self, file: StoredFile) -> bool:
        """Say whether the place has the file, where there are others that may have it instead."""
        if file.backend not in self._primaries:
            return True
        try:
            return self._storages[self._place(file)].stat(file.key).size == file.size
        except StorageError:
            return False

    def told(self, plan: Plan, file: StoredFile) -> Plan:
        """Return a plan with the header by which the other server finds the bytes, if there is one.

        Raises ObjectNotFound and IntegrityError for a plain file that is not there or not whole,
        and StorageUnavailable.
        """
        if plan.hand_off is None:
            return plan
        if plan.hand_off.way is Way.REDIRECT:
            place = ("Location", self._link(plan.hand_off, file, internal=False))
        else:
            place = ("X-Accel-Redirect", INTERNAL + self._internal_path(plan.hand_off, file))
        return replace(plan, headers=(*plan.headers, place))

    def _internal_path(self, hand_off: HandOff, file: StoredFile) -> str:
        """Return the object's path under INTERNAL; a store's has the signed query behind it."""
        if file.backend in self._filed:
            if self._storages[file.backend].stat(file.key).size != file.size:
                raise IntegrityError(f"The object has not the {file.size} bytes of its row")
            return f"/{self._place(file)}/{self._filed[file.backend].filed_at(file.key)}"
        link = urlsplit(self._link(hand_off, file, internal=True))
        return f"/{self._place(file)}{link.path}?{link.query}"

    def _link(self, hand_off: HandOff, file: StoredFile, *, internal: bool) -> str:
        return self._presigners[file.backend].presign_get(
            file.key,
            signed_at=hand_off.lease.signed_at,
            expires_in=hand_off.lease.expires_in,
            content_type=hand_off.content_type,
            disposition=hand_off.disposition,
            cache_control=hand_off.cache_control,
            internal=internal,
        )
