"""Whether each backend keeps what it is given, and whether browsers can reach the stores.

A browser's part is played over plain HTTP, as a page of a listed origin would: a preflight, then a
signed PUT that must come back with an ETag the page may read (Fetch §3.2).
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from config import BackendSettings, Settings
from services.backends import open_backend
from services.doctor.addresses import is_internal, shown
from services.doctor.asking import NoReply, Reply, ask
from services.doctor.findings import Finding, fail, ok, warn
from services.doctor.machine import is_anothers, nearest, write_problem
from services.sites import origin_of
from storage.base import Storage
from storage.capabilities import Presigner, SignedRequest
from storage.errors import StorageError, StorageFull
from storage.keys import new_key

_SIGNED_FOR: Final = 60
_SKEW_SEEN: Final = 30
_SKEW_REFUSED: Final = 15 * 60
"""Seconds by which S3 stores let clocks differ."""
_ANY_ORIGIN: Final = "https://app.example.org"
_TYPE: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class _Target:
    """A backend that signs, and what findings about it are called."""

    backend: BackendSettings
    storage: Storage
    signer: Presigner
    settings: Settings

    @property
    def name(self) -> str:
        return f"storage {self.backend.name}"

    @property
    def variable(self) -> str:
        """The variable that says where clients reach the store."""
        public = self.backend.public_endpoint is not None
        return f"STORAGE_{self.backend.name.upper()}_PUBLIC_ENDPOINT" if public else self.url

    @property
    def url(self) -> str:
        return self.backend.variable


def store(settings: Settings, backend: BackendSettings) -> Iterator[Finding]:
    """Open a backend, have it prove itself, and see it as a browser does."""
    name = f"storage {backend.name}"
    if backend.members:
        primary, *mirrors = backend.members
        yield ok(name, f"keeps files on {primary}, and copies of them on {', '.join(mirrors)}")
        return
    try:
        storage = open_backend(settings, backend)
    except ValueError as error:
        yield fail(name, str(error), backend.variable)
        return
    try:
        if reason := _reason_to_wait(settings, backend):
            yield reason
            return
        storage.check()
        yield ok(name, f"takes files, in parts too, and gives them back: {_place(backend)}")
        if isinstance(storage, Presigner):
            yield from _seen_from_outside(_Target(backend, storage, storage, settings))
    except StorageFull as error:
        yield warn(name, f"{error}: files can be read and deleted only", backend.variable)
    except StorageError as error:
        yield fail(name, str(error), _variable_of(backend, str(error)))
    finally:
        storage.close()


def _reason_to_wait(settings: Settings, backend: BackendSettings) -> Finding | None:
    """Say why a folder is not tried: it is made by the service itself, as its own user."""
    name, parts = f"storage {backend.name}", urlsplit(backend.url)
    if parts.scheme != "file":
        return None
    folder = Path(unquote(parts.path))
    if is_anothers(folder):
        return warn(name, f"{folder} belongs to another user: ask as that user, and not as root")
    awaited = not folder.exists() and folder.is_relative_to(settings.data_dir)
    if awaited and not write_problem(nearest(folder)):
        return ok(name, f"{folder} is made at the first start")
    return None


def _place(backend: BackendSettings) -> str:
    parts = urlsplit(backend.url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}" if parts.netloc else backend.url


def _variable_of(backend: BackendSettings, reason: str) -> str:
    """Return the variable to mend: refused credentials are not the URL's."""
    if "credentials" not in reason:
        return backend.variable
    own = backend.access_key_id is not None
    return f"STORAGE_{backend.name.upper()}_ACCESS_KEY_ID" if own else "AWS_ACCESS_KEY_ID"


def _seen_from_outside(target: _Target) -> Iterator[Finding]:
    """Do what a browser does with a signed PUT, and remove what it stored."""
    key = new_key()
    signed = target.signer.presign_put(
        key, size=1, content_type=_TYPE, signed_at=datetime.now(UTC), expires_in=_SIGNED_FOR
    )
    origins = _origins(target.settings)
    try:
        replies = {origin: _put(signed, origin) for origin in origins or (_ANY_ORIGIN,)}
    except NoReply as error:
        yield _unreachable(target, signed, str(error))
        return
    finally:
        with suppress(StorageError):
            target.storage.delete(key)
    reply = next(iter(replies.values()))
    yield _endpoint(target, signed, reply)
    yield from _names(target, signed)
    if reply.status < 300:
        yield from _clock(target, reply)
        yield from _cors(target, signed, replies if origins else {})


def _origins(settings: Settings) -> tuple[str, ...]:
    """Return the origins whose pages may upload: those listed, and our own."""
    own = origin_of(settings.public_url)
    listed = [_ANY_ORIGIN if each == "*" else each for each in settings.cors_origins]
    return tuple(dict.fromkeys([*listed, *([own] if own else [])]))


def _put(signed: SignedRequest, origin: str) -> Reply:
    return ask(
        signed.url, method=signed.method, headers=signed.headers | {"Origin": origin}, body=b"1"
    )


def _unreachable(target: _Target, signed: SignedRequest, reason: str) -> Finding:
    message = f"clients are sent to {shown(signed.url)}, but {reason}"
    return fail(target.name, message, target.variable)


def _endpoint(target: _Target, signed: SignedRequest, reply: Reply) -> Finding:
    where = shown(signed.url)
    if reply.status < 300 and "etag" in reply.headers:
        return ok(target.name, f"takes what it is sent by signed URLs at {where}")
    if 300 <= reply.status < 400:
        message = f"{where} sends clients elsewhere (status {reply.status}): name that address"
    elif reply.status == 403:
        message = f"{where} refuses signed URLs (status 403): a proxy there must keep Host and path"
    else:
        message = f"{where} does not store what signed URLs bring (status {reply.status})"
    return fail(target.name, message, target.variable)


def _names(target: _Target, signed: SignedRequest) -> Iterator[Finding]:
    public, where = target.settings.public_url, shown(signed.url)
    variable = f"STORAGE_{target.backend.name.upper()}_PUBLIC_ENDPOINT"
    if public and is_internal(signed.url) and not is_internal(public):
        message = f"{where} means nothing to the clients of {shown(public)}: set its public address"
        yield warn(target.name, message, variable)
    if public.startswith("https://") and signed.url.startswith("http://"):
        message = f"{where} is not https: browsers do not let a page of {shown(public)} use it"
        yield warn(target.name, message, variable)


def _clock(target: _Target, reply: Reply) -> Iterator[Finding]:
    """Compare the store's clock, which ticks in seconds, with ours."""
    try:
        skew = (parsedate_to_datetime(reply.headers["date"]) - datetime.now(UTC)).total_seconds()
    except (KeyError, ValueError, TypeError):
        return
    if abs(skew) <= _SKEW_SEEN:
        yield ok(target.name, "its clock and ours agree")
        return
    side = "behind" if skew > 0 else "ahead of"
    message = f"our clock is {abs(skew):.0f} seconds {side} the store's: run NTP on both hosts"
    yield (fail if abs(skew) > _SKEW_REFUSED else warn)(target.name, message)


def _cors(target: _Target, signed: SignedRequest, replies: dict[str, Reply]) -> Iterator[Finding]:
    """Say for which origins a browser would not let a page upload, and why."""
    refused = False
    for origin, reply in replies.items():
        lacking = [*_lacking_in_preflights(signed, origin), *_lacking_in(reply, origin)]
        refused = refused or bool(lacking)
        if lacking:
            message = (
                f"its CORS rules keep pages of {origin} from uploading directly "
                f"({', '.join(dict.fromkeys(lacking))}): allow that origin the methods GET, PUT "
                "and POST and every header, and expose ETag"
            )
            own = origin == origin_of(target.settings.public_url)
            yield warn(target.name, message, "PUBLIC_URL" if own else "CORS_ORIGINS")
    if replies and not refused:
        yield ok(target.name, f"its CORS rules let in pages of {', '.join(replies)}")


def _lacking_in_preflights(signed: SignedRequest, origin: str) -> Iterator[str]:
    for method in ("PUT", "POST"):
        asked = {
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": "content-type",
        }
        try:
            reply = ask(signed.url, method="OPTIONS", headers=asked)
        except NoReply as error:
            yield f"its preflight: {error}"
            continue
        allowed = _listed(reply, "access-control-allow-methods")
        # POST is a method that needs no permission of its own (Fetch §2.2.1).
        if not 200 <= reply.status < 300 or not _lets_in(reply, origin):
            yield f"{method} is refused"
        elif method != "POST" and not {method.lower(), "*"} & allowed:
            yield f"{method} is not allowed"
        elif not {"content-type", "*"} & _listed(reply, "access-control-allow-headers"):
            yield "Content-Type is not allowed"


def _lacking_in(reply: Reply, origin: str) -> Iterator[str]:
    if not _lets_in(reply, origin):
        yield "the answer is not shown"
    elif not {"etag", "*"} & _listed(reply, "access-control-expose-headers"):
        yield "ETag is not exposed"


def _lets_in(reply: Reply, origin: str) -> bool:
    return reply.headers.get("access-control-allow-origin") in ("*", origin)


def _listed(reply: Reply, name: str) -> set[str]:
    return {each.strip().lower() for each in reply.headers.get(name, "").split(",")}
