"""Sessions: a browser that has shown a key once goes on with a cookie in its place.

The cookie says which key was shown, when, and until when that counts, and is signed. Nothing is
stored for it: each request asks for the key's row, so that a revoked or expired key ends its
sessions at once, and what a session may do is what its key may do. The key itself is in no cookie.

A browser adds a cookie by itself, whoever has it send a request. So what changes something shows
the session's token too, which only a page of our own can have read.

It knows no HTTP.
"""

import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from services.caller import Caller
from services.errors import CsrfFailed, KeyInvalid
from services.keys import Keys
from services.signing import SIGNATURE, Signer
from storage.keys import random_name

LASTS: Final = 12 * 3600
"""Seconds that a session lasts, used or not."""

_COOKIE: Final = re.compile(
    rf"([a-z2-7]{{26}}\.([a-z2-7]{{26}})\.[0-9]{{1,12}}\.([0-9]{{1,12}}))\.({SIGNATURE})",
    re.ASCII,
)

log = logging.getLogger("holdall.sessions")


@dataclass(frozen=True, slots=True)
class Session:
    """A session whose key is good. `name` is the key's; `expires_at` in seconds since 1970."""

    caller: Caller
    name: str
    token: str = field(repr=False)
    cookie: str = field(repr=False)
    expires_at: int


class Sessions:
    """Begin sessions, and recognise them. `clock` gives seconds since 1970."""

    def __init__(
        self, secrets: Sequence[str], keys: Keys, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._signer = Signer(secrets, "session")
        self._tokens = Signer(secrets, "session token")
        self._keys = keys
        self._clock = clock

    def begin(self, secret: str, address: str | None) -> Session:
        """Return a new session of the key that a client at `address` shows.

        Raises KeyInvalid, and TooManyFailures in place of that as `Keys.verify` does.
        """
        owner = self._keys.verify(secret, address).owner or ""
        issued = int(self._clock())
        statement = f"{random_name()}.{owner}.{issued}.{issued + LASTS}"
        found = self.find(f"{statement}.{self._signer.sign(statement.encode())}")
        if found is None:  # revoked in this moment
            raise KeyInvalid
        log.info("signed in", extra={"key": owner})
        return found

    def find(self, cookie: str) -> Session | None:
        """Return the session that a cookie stands for, None when it does not count (any more)."""
        match = _COOKIE.fullmatch(cookie)
        if match is None or not self._signer.verify(match[1].encode(), match[4]):
            return None
        expires_at = int(match[3])
        if expires_at <= self._clock():
            return None
        holder = self._keys.holder(match[2])
        if holder is None:
            return None
        token = self._tokens.sign(match[1].encode())
        return Session(holder.caller, holder.name, token, cookie, expires_at)

    def require_token(self, session: Session, given: str | None) -> None:
        """Raise CsrfFailed unless `given` is the session's token."""
        statement = session.cookie.rpartition(".")[0].encode()
        if given is None or not self._tokens.verify(statement, given):
            raise CsrfFailed
