"""Fetches files: into a part beside the target, which a later run goes on with, and then checks.

The part's name has the file's tag in it, so that only bytes of the very same file are added to
(RFC 9110 §13.1.5, §14.2), and what arrived is held against `Repr-Digest` (RFC 9530).
"""

import base64
import hashlib
import os
import re
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import unquote, urlsplit

import httpx

from holdall_client.errors import ClientError, Unreachable
from holdall_client.server import Server, require_success

_ID: Final = re.compile(r"[a-z2-7]{26}")
_LINK: Final = re.compile(r"/uploads/([a-z2-7]{26})(?:/([^/]*))?")
_DIGEST: Final = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")
_UNSHOWN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_LONGEST_STEM: Final = 200
"""Bytes of a name that stand in its part's: with all of them it could be longer than names may."""
_PIECE: Final = 256 * 1024
_TRIES: Final = 8

Advance = Callable[[int, int | None], None]
"""Is told how many bytes are there, and of how many, where that is known."""


def link_of(named: str) -> str:
    """Return the URL of what a person names: an id, or a link. Raises ClientError."""
    if _ID.fullmatch(named):
        return f"/uploads/{named}"
    if _LINK.search(urlsplit(named).path):
        return named
    raise ClientError(f"{named} is neither a file's id nor a link to one")


def id_of(named: str) -> str:
    """Return the id of what a person names. Raises ClientError."""
    if _ID.fullmatch(named):
        return named
    if found := _LINK.search(urlsplit(named).path):
        return found[1]
    raise ClientError(f"{named} is neither a file's id nor a link to one")


def fetch(
    server: Server, named: str, target: Callable[[str], Path], advance: Advance, *, force: bool
) -> Path:
    """Download a file and return where it is: `target` says so, given the file's name.

    Raises ClientError, also for a target that is there already, unless `force`.
    """
    link = link_of(named)
    for tried in range(_TRIES):
        try:
            return _fetch_once(server, link, target, advance, force=force)
        except Unreachable:
            if tried + 1 == _TRIES:
                raise
            time.sleep(min(0.25 * 2**tried, 8))
        except OSError as error:
            raise ClientError(f"cannot be written: {error.strerror}") from error
    raise AssertionError("the last try returns or raises")


def fetch_into(server: Server, named: str, out: BinaryIO, advance: Advance) -> None:
    """Write a file's bytes to a stream, which cannot be gone on with. Raises ClientError."""
    with server.stream(link_of(named), {}) as answer:
        _require_success(answer)
        _copy(answer, out, 0, advance, hashlib.sha256())


def _fetch_once(
    server: Server, link: str, target: Callable[[str], Path], advance: Advance, *, force: bool
) -> Path:
    head = server.request("HEAD", link, follow_redirects=True)
    path, tag = target(_name(head)), head.headers.get("ETag", "")
    if path.exists() and not force:
        raise _taken(path)
    part = _part_of(path, tag)
    with open(part, "ab", opener=_open_itself) as file:
        there = file.tell()
        if there != _size(head) or not there:
            _fetch_rest(server, link, tag, file, there, advance)
    _require_digest(part, head)
    _put_in_place(part, path, force=force)
    return path


def _part_of(path: Path, tag: str) -> Path:
    told = hashlib.sha256(tag.encode()).hexdigest()[:12]
    stem = path.name.encode(errors="surrogateescape")[:_LONGEST_STEM].decode(errors="ignore")
    return path.with_name(f".{stem}.{told}.part")


def _open_itself(path: str, flags: int) -> int:
    """Open a file, but no link: others may write here too, and know what a part is called."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def _put_in_place(part: Path, path: Path, *, force: bool) -> None:
    """Give a part its name. Raises ClientError for one that was taken meanwhile, unless `force`."""
    if force:
        part.replace(path)
        return
    try:
        os.link(part, path)
    except FileExistsError as error:
        part.unlink()
        raise _taken(path) from error
    except OSError as error:
        # Some file systems have no hard links.
        if path.exists():
            raise _taken(path) from error
        part.replace(path)
    else:
        part.unlink()


def _taken(path: Path) -> ClientError:
    return ClientError(f"{path} is there already: --force replaces it")


def _fetch_rest(
    server: Server, link: str, tag: str, file: BinaryIO, there: int, advance: Advance
) -> None:
    goes_on = {"Range": f"bytes={there}-", "If-Range": tag} if there and tag else {}
    with server.stream(link, goes_on) as answer:
        _require_success(answer)
        if answer.status_code != 206:
            file.seek(0)
            file.truncate()
            there = 0
        _copy(answer, file, there, advance, None)


def _copy(
    answer: httpx.Response,
    out: BinaryIO,
    there: int,
    advance: Advance,
    hashed: "hashlib._Hash | None",
) -> None:
    length = _size(answer)
    whole = None if length is None else there + length
    for piece in answer.iter_raw(_PIECE):
        out.write(piece)
        there += len(piece)
        if hashed is not None:
            hashed.update(piece)
        advance(there, whole)
    expected = _digest(answer)
    if hashed is not None and expected not in (None, hashed.digest()):
        raise ClientError("arrived with other bytes than the server promised")


def _require_success(answer: httpx.Response) -> None:
    if not answer.is_success:
        answer.read()
    require_success(answer)


def _require_digest(part: Path, head: httpx.Response) -> None:
    expected = _digest(head)
    if expected is None:
        return
    with part.open("rb") as file:
        arrived = hashlib.file_digest(file, "sha256").digest()
    if arrived != expected:
        part.unlink()
        raise ClientError("arrived with other bytes than the server promised: fetch it again")


def _digest(answer: httpx.Response) -> bytes | None:
    found = _DIGEST.search(answer.headers.get("Repr-Digest", ""))
    return base64.b64decode(found[1]) if found else None


def _size(answer: httpx.Response) -> int | None:
    length = answer.headers.get("Content-Length")
    return None if length is None else int(length)


def _name(answer: httpx.Response) -> str:
    """Return what the file is called, fit to be a name here (RFC 6266 §4.3)."""
    said = answer.headers.get("Content-Disposition", "")
    if found := re.search(r"filename\*=UTF-8''([^;]+)", said):
        name = unquote(found[1])
    elif found := re.search(r'filename="((?:[^"\\]|\\.)*)"', said):
        name = re.sub(r"\\(.)", r"\1", found[1])
    else:
        name = ""
    last = re.split(r"[/\\]", name)[-1]
    last = "".join(char for char in last if unicodedata.category(char) not in _UNSHOWN)
    return last if last not in ("", ".", "..") else "file"
