"""Digests: those a client names for its bytes, and those that run along while bytes come in."""

import base64
import binascii
import hashlib
import hmac
import os
import re
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from queue import SimpleQueue
from threading import Lock
from typing import Final, Protocol, Self

from typing_extensions import Buffer

from services.errors import DigestMismatch, InvalidField

DIGESTS: Final = ("content-digest", "repr-digest", "content-md5")
"""The headers that name one, in lowercase."""

_ALGORITHMS: Final = {"sha-256": "sha256", "sha-512": "sha512", "md5": "md5"}
_MEMBER: Final = re.compile(r"\s*([a-z0-9*._-]+)=:([A-Za-z0-9+/=]*):\s*(?:;[^,]*)?")
_WORTH_A_THREAD: Final = 128 * 1024

BEHIND: Final = 3
"""How many chunks may have been taken in and not hashed yet."""


@dataclass(frozen=True, slots=True)
class ExpectedDigest:
    """A digest that the received bytes must have: hashlib's name of the algorithm, raw value."""

    algorithm: str
    value: bytes


def from_headers(headers: Mapping[str, str]) -> tuple[ExpectedDigest, ...]:
    """Read `content-digest`, `repr-digest` (RFC 9530) and `content-md5` (RFC 1864).

    Algorithms that are not known are passed over, as RFC 9530 §2 has it. Raises InvalidField.
    """
    found = []
    for name in ("content-digest", "repr-digest"):
        for member in filter(None, headers.get(name, "").split(",")):
            match = _MEMBER.fullmatch(member)
            if match is None:
                raise InvalidField(f"{name} is not a list such as sha-256=:…:")
            if algorithm := _ALGORITHMS.get(match[1]):
                found.append(_expected(name, algorithm, match[2]))
    if md5 := headers.get("content-md5"):
        found.append(_expected("content-md5", "md5", md5.strip()))
    return tuple(found)


def from_hex(value: str) -> ExpectedDigest:
    """Read a SHA-256 in hexadecimal, as a `sha256` field or parameter gives it."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", value.strip()):
        raise InvalidField("sha256 is not 64 hexadecimal digits")
    return ExpectedDigest("sha256", bytes.fromhex(value.strip()))


def _expected(name: str, algorithm: str, encoded: str) -> ExpectedDigest:
    try:
        value = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise InvalidField(f"{name} is not valid base64") from error
    if len(value) != hashlib.new(algorithm, usedforsecurity=False).digest_size:
        raise InvalidField(f"{name} has the wrong length for its algorithm")
    return ExpectedDigest(algorithm, value)


class Hash(Protocol):
    """A running hash, hashlib's or another's."""

    def update(self, data: Buffer, /) -> None: ...

    def digest(self) -> bytes: ...


class RunningDigests:
    """Digests of bytes as they come, several at once.

    Large chunks are hashed in a second thread while their caller stores them and receives the next:
    hashlib lets go of the interpreter. So a chunk must stay unchanged until BEHIND more were
    taken in. Waiting for each by itself would cost both threads a sleep, and the core its cache.
    """

    def __init__(self, running: Mapping[str, Hash]) -> None:
        self._running = running
        self._lock = Lock()
        self._chunks: deque[Buffer] = deque()
        self._is_hashing = False
        self._hashed: SimpleQueue[Exception | None] = SimpleQueue()
        self._behind = 0

    @classmethod
    def of_file(cls, algorithms: Iterable[str] = ()) -> Self:
        """Return those of a file: SHA-256 and whatever else is expected of it."""
        return cls.of({"sha256", *algorithms})

    @classmethod
    def of(cls, algorithms: Iterable[str]) -> Self:
        """Return those of hashlib's algorithms that are named."""
        return cls({name: hashlib.new(name, usedforsecurity=False) for name in algorithms})

    def update(self, chunk: Buffer) -> None:
        """Take in the next chunk."""
        if memoryview(chunk).nbytes < _WORTH_A_THREAD:
            self.settle()
            self._hash(chunk)
            return
        self._wait_for(BEHIND - 1)
        self._behind += 1
        with self._lock:
            self._chunks.append(chunk)
            begin, self._is_hashing = not self._is_hashing, True
        if begin:
            _threads().submit(self._hash_all)

    def settle(self) -> None:
        """Wait until every chunk is taken in; buffers may be reused after this."""
        self._wait_for(0)

    def _wait_for(self, behind: int) -> None:
        """Wait until no more than so many chunks are left to be hashed."""
        while self._behind > behind:
            error = self._hashed.get()
            self._behind -= 1
            if error is not None:
                raise error

    def sha256(self) -> str:
        """Return the SHA-256 in lowercase hexadecimal."""
        self.settle()
        return self._running["sha256"].digest().hex()

    def verify(self, expected: Iterable[ExpectedDigest]) -> None:
        """Raise DigestMismatch unless the bytes have every digest of `expected`.

        Their algorithms were named when this was made.
        """
        self.settle()
        for digest in expected:
            actual = self._running[digest.algorithm].digest()
            if not hmac.compare_digest(actual, digest.value):
                raise DigestMismatch(
                    f"The content does not have the {digest.algorithm} sent with it"
                )

    def _hash(self, chunk: Buffer) -> None:
        for running in self._running.values():
            running.update(chunk)

    def _hash_all(self) -> None:
        """Hash what there is, in a thread of its own, until there is no more."""
        while (chunk := self._next_chunk()) is not None:
            try:
                self._hash(chunk)
            except Exception as error:
                self._hashed.put(error)
            else:
                self._hashed.put(None)

    def _next_chunk(self) -> Buffer | None:
        with self._lock:
            self._is_hashing = bool(self._chunks)
            return self._chunks.popleft() if self._chunks else None


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="digest")
