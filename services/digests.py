"""Digests: those a client names for its bytes, and those that run along while bytes come in."""

import base64
import binascii
import hashlib
import hmac
import os
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Final, Protocol, Self

from typing_extensions import Buffer

from services.errors import DigestMismatch, InvalidField

DIGESTS: Final = ("content-digest", "repr-digest", "content-md5")
"""The headers that name one, in lowercase."""

_ALGORITHMS: Final = {"sha-256": "sha256", "sha-512": "sha512", "md5": "md5"}
_MEMBER: Final = re.compile(r"\s*([a-z0-9*._-]+)=:([A-Za-z0-9+/=]*):\s*(?:;[^,]*)?")
_WORTH_A_THREAD: Final = 128 * 1024


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

    A large chunk is hashed in a second thread while its caller stores it and receives the next:
    hashlib lets go of the interpreter. So a chunk must stay unchanged until the next call here.
    """

    def __init__(self, running: Mapping[str, Hash]) -> None:
        self._running = running
        self._busy: Future[None] | None = None

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
        self.settle()
        if memoryview(chunk).nbytes < _WORTH_A_THREAD:
            self._hash(chunk)
        else:
            self._busy = _threads().submit(self._hash, chunk)

    def settle(self) -> None:
        """Wait until every chunk is taken in; buffers may be reused after this."""
        if self._busy is not None:
            self._busy.result()
            self._busy = None

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


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="digest")
