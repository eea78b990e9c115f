"""Signatures: a keyed hash of a message, by a key that is good for one purpose only.

Every secret that still counts verifies, the first one signs. It knows no links, no HTTP and no
clock: what a message says and until when it holds is the business of whoever makes it.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

SIGNATURE: Final = r"[A-Za-z0-9_-]{43}"
"""A regular expression for what `sign` returns: 256 bits in base64url without padding."""


class Signer:
    """Sign and verify for one purpose, with HMAC-SHA256.

    Its keys are derived from the secrets (HMAC again, of the purpose), so that what was signed for
    one purpose is never good for another.
    """

    def __init__(self, secrets: Sequence[str], purpose: str) -> None:
        if not secrets or not all(secrets):
            raise ValueError("a signer needs a secret")
        label = f"holdall {purpose}".encode()
        self._keys = tuple(_hmac(secret.encode(), label) for secret in secrets)

    def sign(self, message: bytes) -> str:
        """Return the signature of `message` by the first secret."""
        return _encoded(_hmac(self._keys[0], message)).decode()

    def verify(self, message: bytes, signature: str) -> bool:
        """Say whether `signature` is that of `message` by any of the secrets.

        Compared is what was written and not what it decodes to: 43 characters of base64 have
        two bits to spare, so four of them would decode to the same.
        """
        given = signature.encode("utf-8", "surrogatepass")
        right = [_encoded(_hmac(key, message)) for key in self._keys]
        return any([hmac.compare_digest(each, given) for each in right])


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, hashlib.sha256)


def _encoded(digest: bytes) -> bytes:
    return base64.urlsafe_b64encode(digest).rstrip(b"=")
