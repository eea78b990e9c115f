"""Signed requests to this service, for storages that clients cannot send to by themselves.

They have the shapes of a store's own (`storage.capabilities.Presigner`), and lead to paths under
`/api/direct`: whoever shows one to a client puts the service's address before it. A signature
covers the method, the path, which names the upload and the part, and the end; sizes stand in the
upload's row.
"""

import re
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

from services.errors import LinkExpired, LinkInvalid
from services.signing import Signer
from storage.capabilities import SignedForm, SignedRequest

_NOT_OURS: Final = "This URL was not signed here, or not for this"
_EXPIRES: Final = re.compile(r"[1-9][0-9]{9,10}", re.ASCII)


def whole_path(upload_id: str) -> str:
    """Return where the bytes of a whole upload are sent."""
    return f"/api/direct/whole/{upload_id}"


def part_path(upload_id: str, number: int) -> str:
    """Return where a part of an upload is sent."""
    return f"/api/direct/parts/{upload_id}/{number}"


class OwnUrls:
    """Sign such requests, and verify them. `clock` gives seconds since 1970."""

    def __init__(self, secrets: Sequence[str], clock: Callable[[], float] = time.time) -> None:
        self._signer = Signer(secrets, "direct upload")
        self._clock = clock

    def put(
        self, upload_id: str, *, size: int, content_type: str, expires_in: int
    ) -> SignedRequest:
        """Sign a PUT of the whole file."""
        url, expires_at = self._signed("PUT", whole_path(upload_id), expires_in)
        headers = {"Content-Length": str(size), "Content-Type": content_type}
        return SignedRequest("PUT", url, headers, expires_at)

    def form(self, upload_id: str, key: str, *, expires_in: int) -> SignedForm:
        """Sign a form with the whole file in its field `file`."""
        url, expires_at = self._signed("POST", whole_path(upload_id), expires_in)
        return SignedForm(url, {"key": key}, expires_at)

    def part(self, upload_id: str, number: int, *, expires_in: int) -> SignedRequest:
        """Sign a PUT of one part."""
        url, expires_at = self._signed("PUT", part_path(upload_id, number), expires_in)
        return SignedRequest("PUT", url, {}, expires_at)

    def verify(self, method: str, path: str, expires: str | None, signature: str | None) -> None:
        """Raise LinkInvalid or LinkExpired unless the request was signed here."""
        if not expires or not signature or not _EXPIRES.fullmatch(expires):
            raise LinkInvalid(_NOT_OURS)
        if not self._signer.verify(_message(method, path, expires), signature):
            raise LinkInvalid(_NOT_OURS)
        if int(expires) <= self._clock():
            raise LinkExpired("This URL has come to its end")

    def _signed(self, method: str, path: str, expires_in: int) -> tuple[str, datetime]:
        expires = int(self._clock()) + expires_in
        signature = self._signer.sign(_message(method, path, str(expires)))
        url = f"{path}?expires={expires}&signature={signature}"
        return url, datetime.fromtimestamp(expires, UTC)


def _message(method: str, path: str, expires: str) -> bytes:
    return f"{method}\n{path}\n{expires}".encode()
