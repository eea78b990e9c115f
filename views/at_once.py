"""The shortest way to a public file: for a server with one thread for all clients (`worker.front`).

Nothing here waits. Rows come from where no one waits for a lock, bytes from this machine's memory,
and what would take a database or a store across a network is left to another way: None.
"""

import time
from collections.abc import Iterable, Mapping, Set
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from services import delivery
from services.cors import Header
from services.delivery import DeliveryRequest, Plan
from services.errors import HoldallError
from services.ranges import ByteRange
from services.stored import StoredFile
from storage.base import Body
from storage.capabilities import Filed, Mirrored
from storage.errors import StorageError
from views.bodies import open_range, read_at_once
from views.current import Services
from views.observing import Ended, Observed, write
from views.prepared import Key, Prepared, PreparedAnswers
from views.proxies import Trust
from views.public import PREFIX, STATUS, PublicFiles, ended, filename_of, is_plain, is_routed
from views.thumbnails import Planned

SMALL: Final = 64 * 1024
"""Bytes of the largest body that is read before it is sent, and may be kept."""

LONGEST_KEY: Final = 1024
"""Characters of a client's that an answer is kept by; one that hangs on more is not kept."""

_PARTICULAR: Final = frozenset(delivery.REQUEST_HEADERS) - {"accept", "if-none-match", "origin"}
"""Headers by which an answer is one of many, and not worth keeping."""


@dataclass(slots=True)
class Ready:
    """An answer that nothing is waited for: `content`, or `length` bytes of `body` from `start`.

    `fields` are its headers as they are sent, a line each.
    """

    status: str
    fields: str
    content: bytes = b""
    body: Body | None = None
    start: int = 0
    length: int = 0


class AtOnce:
    """Answers for public files whose rows and bytes are at hand."""

    def __init__(self, services: Services, trust: Trust) -> None:
        self._rows = services.rows_at_once
        self._storages = services.storages
        self._public = PublicFiles(services)
        self._trust = trust
        self._prepared = PreparedAnswers()
        self._ended: list[Ended] = []
        self._near = {
            name
            for name, storage in services.storages.items()
            if isinstance(storage, Filed) and not isinstance(storage, Mirrored)
        }

    def begin_turn(self) -> None:
        """Have the answers that follow see all that was committed before this call."""
        self._rows.begin_turn()

    def end_turn(self) -> None:
        """Count the requests that were answered since the last call, and write their lines."""
        if self._ended:
            ended, self._ended = self._ended, []
            write(ended)

    def answer(
        self, method: str, path: str, query: str, headers: Mapping[str, str], client: Any
    ) -> Ready | None:
        """Answer a GET or HEAD without a body, or say by None that another way has to.

        `path` and `query` are as WSGI gives them, `headers` have lowercase names, and `client` is
        the peer's address as its socket tells it. It may see the database as it was when the turn
        began, so a request whose first byte came later has to begin another.
        """
        observed = Observed.begin(headers.get("x-request-id", ""))
        file_id, slash, name = path[len(PREFIX) :].partition("/")
        is_ours = path.startswith(PREFIX) and is_routed(slash, name) and is_plain(query)
        row = self._rows.find(file_id) if is_ours else None
        if row is None:
            return None
        peer, announced = self._trust.told(address_of(client), headers)
        key: Key | None = None
        if not announced and _PARTICULAR.isdisjoint(headers):
            accept = headers.get("accept") if query else None
            chosen = (headers.get("if-none-match"), headers.get("origin"), accept)
            if len(path) + len(query) + sum(map(len, filter(None, chosen))) <= LONGEST_KEY:
                key = (row, method, name, query, chosen)
            kept = self._prepared.get(key, time.time()) if key else None
            if kept is not None:
                self._ended.append(ended(observed, method, path, kept.code, kept.length, peer))
                return Ready(kept.status, kept.fields + observed.field, kept.content)
        asked = DeliveryRequest(method, headers, filename_of(name), download=False)
        made = self._made(self._rows.file(row), asked, query, announced, key)
        if made is None:
            return None
        plan, ready = made
        ready.fields += observed.field
        self._ended.append(ended(observed, method, path, plan.status, plan.length, peer))
        return ready

    def _made(
        self,
        file: StoredFile,
        asked: DeliveryRequest,
        query: str,
        announced: Set[str],
        key: Key | None,
    ) -> tuple[Plan, Ready] | None:
        """Plan an answer and have its bytes ready; keep it under `key` if it stays the same."""
        if not file.is_there() or file.visibility != "public" or not self._is_quick(file, query):
            return None
        try:
            about = self._public.about(file, asked, query, announced, makes=False)
            ready = None if about is None else self._ready(about, file.backend)
        except (StorageError, HoldallError, OSError):
            return None
        if about is None or ready is None:
            return None
        plan = about.plan
        is_steady = plan.status in (200, 304) and plan.hand_off is None and file.expires_at is None
        if key is not None and is_steady and ready.body is None:
            told = (ready.status, ready.fields, ready.content)
            since = file.created_at.timestamp()
            self._prepared.keep(key, Prepared(plan.status, *told, plan.length, since))
        return plan, ready

    def _is_quick(self, file: StoredFile, query: str) -> bool:
        """Say whether no store across a network is asked to plan an answer with the file."""
        return file.backend in self._near or (file.delivery == "proxy" and not query)

    def _ready(self, about: Planned, backend: str) -> Ready | None:
        """Have what a plan names ready, if it is on this machine and in one piece."""
        plan = about.plan
        status, fields = STATUS[plan.status], written(plan.headers)
        match plan.pieces:
            case ():
                return Ready(status, fields)
            case (bytes(content),):
                return Ready(status, fields, content)
            case (ByteRange() as piece,) if backend in self._near:
                body = open_range(about.source, about.key, about.size, piece)
                if piece.length > SMALL and body.file is not None:
                    return Ready(status, fields, b"", body, piece.start, piece.length)
                with closing(body):
                    small = read_at_once(body)
                return None if small is None else Ready(status, fields, small)
        return None


def written(headers: Iterable[Header]) -> str:
    """Return headers as they are sent, a line each."""
    return "".join([f"{name}: {value}\r\n" for name, value in headers])


def address_of(client: Any) -> str:
    """Return a peer's address; a Unix socket's has no host."""
    return str(client[0]) if isinstance(client, tuple) else ""
