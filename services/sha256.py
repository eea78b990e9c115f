"""A SHA-256 whose running state can be stored, and gone on with in another process or host.

hashlib cannot give its state away. libcrypto's own SHA256_CTX can, at hashlib's speed, and is
reached through ctypes; where there is none, the package `resumablesha256` takes its place. Both
are believed only after they have agreed with hashlib. What is stored is FIPS 180-4's own state
(eight words, the number of bytes, the bytes that do not fill a block yet), never a struct of
either, so that builds and machines may differ. It knows neither uploads nor where states go.
"""

import base64
import binascii
import ctypes
import hashlib
import importlib
import logging
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from ctypes.util import find_library
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Final, Protocol, Self

from typing_extensions import Buffer

log = logging.getLogger("holdall.sha256")

STATE_VERSION: Final = 1
BLOCK: Final = 64

_WORDS: Final = struct.Struct(">8I")
_MOST_BYTES: Final = 2**61
"""The standard's limit: the length is 64 bits of bits."""

_FIRST_WORDS: Final = (
    0x6A09E667,
    0xBB67AE85,
    0x3C6EF372,
    0xA54FF53A,
    0x510E527F,
    0x9B05688C,
    0x1F83D9AB,
    0x5BE0CD19,
)


@dataclass(frozen=True, slots=True)
class _State:
    """The chaining value, how many bytes went in, and those of them that await their block."""

    words: tuple[int, ...]
    count: int
    tail: bytes


class _Engine(Protocol):
    """One way to compute it. Used by one thread at a time."""

    def update(self, data: Buffer, /) -> None: ...

    def digest(self) -> bytes: ...

    def export(self) -> _State: ...

    def adopt(self, state: _State, /) -> None: ...


class ResumableSha256:
    """A running SHA-256, for one thread at a time; `update` lets go of the interpreter lock."""

    def __init__(self) -> None:
        self._engine = _best_engine()()

    def update(self, data: Buffer) -> None:
        """Take in contiguous bytes, without a copy of them where libcrypto computes."""
        self._engine.update(data)

    def digest(self) -> bytes:
        """Return the digest of what went in so far; more may follow."""
        return self._engine.digest()

    def hexdigest(self) -> str:
        """Return the digest in lowercase hexadecimal."""
        return self.digest().hex()

    def state(self) -> dict[str, int | str]:
        """Return the running state as a small JSON object, for `from_state`."""
        state = self._engine.export()
        packed = _WORDS.pack(*state.words) + state.tail
        return {
            "version": STATE_VERSION,
            "bytes": state.count,
            "state": base64.b64encode(packed).decode("ascii"),
        }

    @classmethod
    def from_state(cls, stored: Mapping[str, object]) -> Self:
        """Return a hash that goes on where `stored` was taken.

        Raises ValueError when it is of another version, or cannot be a state.
        """
        state = _parse(stored)
        resumed = cls()
        resumed._engine.adopt(state)
        return resumed


def _parse(stored: Mapping[str, object]) -> _State:
    version, count, encoded = (stored.get(name) for name in ("version", "bytes", "state"))
    if type(version) is not int or version != STATE_VERSION:
        raise ValueError(f"A SHA-256 state of version {version!r} is not known here")
    if type(count) is not int or not 0 <= count < _MOST_BYTES or not isinstance(encoded, str):
        raise ValueError("A SHA-256 state has a number of bytes and a state in base64")
    try:
        packed = base64.b64decode(encoded.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError("A SHA-256 state is not base64") from error
    if len(packed) != _WORDS.size + count % BLOCK:
        raise ValueError("A SHA-256 state has the wrong length for its number of bytes")
    words = _WORDS.unpack_from(packed)
    if count < BLOCK and words != _FIRST_WORDS:
        raise ValueError("A SHA-256 state has mixed words before its first block")
    return _State(words, count, packed[_WORDS.size :])


class _Context(ctypes.Structure):
    """OpenSSL's SHA256_CTX, with room to spare should a build's be larger than the known one."""

    _fields_ = (
        ("words", ctypes.c_uint32 * 8),
        ("bits_low", ctypes.c_uint32),
        ("bits_high", ctypes.c_uint32),
        ("tail", ctypes.c_ubyte * BLOCK),
        ("tail_length", ctypes.c_uint),
        ("digest_length", ctypes.c_uint),
        ("spare", ctypes.c_ubyte * 400),
    )


class _PyBuffer(ctypes.Structure):
    """CPython's Py_buffer, part of the stable ABI since 3.11."""

    _fields_ = (
        ("address", ctypes.c_void_p),
        ("owner", ctypes.c_void_p),
        ("length", ctypes.c_ssize_t),
        ("item_size", ctypes.c_ssize_t),
        ("read_only", ctypes.c_int),
        ("dimensions", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.c_void_p),
        ("strides", ctypes.c_void_p),
        ("sub_offsets", ctypes.c_void_p),
        ("internal", ctypes.c_void_p),
    )


_get_buffer = ctypes.PYFUNCTYPE(
    ctypes.c_int, ctypes.py_object, ctypes.POINTER(_PyBuffer), ctypes.c_int
)(("PyObject_GetBuffer", ctypes.pythonapi))
_release_buffer = ctypes.PYFUNCTYPE(None, ctypes.POINTER(_PyBuffer))(
    ("PyBuffer_Release", ctypes.pythonapi)
)


@contextmanager
def _memory(data: Buffer) -> Iterator[tuple[int | None, int]]:
    """Give the address and the length of contiguous bytes, which cannot move until it ends.

    ctypes alone can do so for writable buffers only, and a view of bytes is not one.
    """
    view = _PyBuffer()
    _get_buffer(data, ctypes.byref(view), 0)
    try:
        yield view.address, view.length
    finally:
        _release_buffer(ctypes.byref(view))


class _Libcrypto:
    """libcrypto's SHA256_* functions, which every OpenSSL, LibreSSL and BoringSSL exports."""

    def __init__(self, functions: "_Functions") -> None:
        self._functions = functions
        self._context = _Context()
        _succeed(functions.init(ctypes.byref(self._context)))

    def update(self, data: Buffer, /) -> None:
        with _memory(data) as (address, length):
            _succeed(self._functions.update(ctypes.byref(self._context), address, length))

    def digest(self) -> bytes:
        copy = _Context.from_buffer_copy(self._context)
        out = ctypes.create_string_buffer(_WORDS.size)
        _succeed(self._functions.final(out, ctypes.byref(copy)))
        return out.raw

    def export(self) -> _State:
        context = self._context
        count = (context.bits_high << 32 | context.bits_low) // 8
        return _State(tuple(context.words), count, bytes(context.tail[: context.tail_length]))

    def adopt(self, state: _State, /) -> None:
        context = self._context
        _succeed(self._functions.init(ctypes.byref(context)))
        bits = state.count * 8
        context.words[:] = state.words
        context.bits_low, context.bits_high = bits & 0xFFFFFFFF, bits >> 32
        context.tail[: len(state.tail)] = state.tail
        context.tail_length = len(state.tail)


class _Functions:
    """The three functions of one library, which release the interpreter lock while they run."""

    def __init__(self, library: ctypes.CDLL) -> None:
        pointer = ctypes.c_void_p
        self.init = _function(library, "SHA256_Init", pointer)
        self.update = _function(library, "SHA256_Update", pointer, pointer, ctypes.c_size_t)
        self.final = _function(library, "SHA256_Final", pointer, pointer)


def _function(library: ctypes.CDLL, name: str, *arguments: Any) -> Any:
    found = library[name]
    found.argtypes, found.restype = arguments, ctypes.c_int
    return found


def _succeed(result: int) -> None:
    if result != 1:
        raise RuntimeError("libcrypto failed to compute a SHA-256")


class _Package:
    """`resumablesha256`: a seventh of the speed, it copies and keeps the interpreter lock."""

    _LAYOUT: Final = struct.Struct("@64sIQ8I")
    """What it pickles: the open block, how much of it counts, bits of whole blocks, words."""

    def __init__(self) -> None:
        self._hash: Any = importlib.import_module("resumablesha256").sha256()

    def update(self, data: Buffer, /) -> None:
        self._hash.update(data if isinstance(data, bytes) else bytes(data))

    def digest(self) -> bytes:
        value: bytes = self._hash.copy().digest()
        return value

    def export(self) -> _State:
        block, length, bits, *words = self._LAYOUT.unpack(self._hash.__getstate__())
        return _State(tuple(words), bits // 8 + length, block[:length])

    def adopt(self, state: _State, /) -> None:
        bits = (state.count - len(state.tail)) * 8
        packed = self._LAYOUT.pack(state.tail, len(state.tail), bits, *state.words)
        self._hash.__setstate__(packed)


_Maker = Callable[[], _Engine]


@cache
def _best_engine() -> _Maker:
    """Return the fastest engine that computes and continues as hashlib does."""
    for maker in _makers():
        with suppress(Exception):
            if _agrees_with_hashlib(maker):
                return maker
    raise RuntimeError("A SHA-256 that can be resumed needs libcrypto or `resumablesha256`")


def _makers() -> Iterator[_Maker]:
    for path in _libraries():
        with suppress(OSError, AttributeError):
            yield partial(_Libcrypto, _Functions(ctypes.CDLL(path)))
    log.warning("slow_sha256", extra={"reason": "no libcrypto computes as hashlib does"})
    yield _Package


def _libraries() -> Iterator[str | None]:
    """Yield where libcrypto may be: behind Python's own `_hashlib`, in Python, on the system."""
    with suppress(ImportError):
        yield getattr(importlib.import_module("_hashlib"), "__file__", None)
    if found := find_library("crypto"):
        yield found


def _agrees_with_hashlib(maker: _Maker) -> bool:
    """Say whether it is right after pieces of awkward lengths, each taken in by a new engine."""
    expected, engine, sent = hashlib.sha256(), maker(), 0
    for length in (0, 1, 54, 1, 7, 1, 64, 63, 2, 127, 1000, 4096):
        piece = bytes((sent + place) % 251 for place in range(length))
        state = engine.export()
        engine = maker()
        engine.adopt(state)
        engine.update(memoryview(piece))
        expected.update(piece)
        sent += length
        if engine.digest() != expected.digest() or engine.export().count != sent:
            return False
    return _carries_the_count(maker)


def _carries_the_count(maker: _Maker) -> bool:
    """Say whether the number of bits is right past 32 bits, without hashing so much."""
    engine = maker()
    engine.adopt(_State(_FIRST_WORDS, 2**29 - BLOCK, b""))
    engine.update(bytes(2 * BLOCK + 3))
    return engine.export().count == 2**29 + BLOCK + 3
