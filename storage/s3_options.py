"""What an `s3://` URL says, checked: `s3://bucket/prefix?endpoint=http://host:9000&region=…`.

Knows the URL only: no network, no SDK, and no credentials, which never stand in a URL.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

MINIMUM_PART_SIZE: Final = 5 * 1024 * 1024
MAXIMUM_PART_SIZE: Final = 5 * 1024**3
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]", re.ASCII)
_PREFIX: Final = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9._-]*/)*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Options:
    """Where the objects are and how to talk to the store; times in seconds, sizes in bytes.

    `prefix` is empty or ends in a slash. `endpoint` None is AWS itself. A call that gets no
    answer ends after about two `read_timeout`s, whatever `max_attempts` allows: three attempts
    are for a store that answers and fails, and a caller waits for no more than some 15 seconds.
    """

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str = "us-east-1"
    path_style: bool = True
    create_bucket: bool = False
    part_size: int = 8 * 1024 * 1024
    connect_timeout: float = 3
    read_timeout: float = 8
    max_attempts: int = 3
    pool: int = 64
    ca_bundle: Path | None = None
    checksums: str = "when_required"

    @classmethod
    def from_url(cls, url: str) -> "S3Options":
        """Read `url`; raise ValueError naming the parameter that is unknown or malformed."""
        parts = urlsplit(url)
        if parts.scheme != "s3":
            raise ValueError("the URL of an S3 storage begins with s3://")
        if "@" in parts.netloc:
            raise ValueError("credentials do not belong in the URL of an S3 storage")
        if parts.fragment:
            raise ValueError("the URL of an S3 storage has no #fragment")
        if not _BUCKET.fullmatch(parts.netloc):
            raise ValueError(f"bucket: {parts.netloc!r} is not the name of a bucket")
        return cls(
            bucket=parts.netloc,
            prefix=_read_prefix(unquote(parts.path)),
            **_read_parameters(parts.query),
        )

    def __str__(self) -> str:
        """Name the place as error messages do."""
        return f"s3://{self.bucket} at {self.endpoint or f'AWS {self.region}'}"


def _read_prefix(path: str) -> str:
    name = path.strip("/")
    prefix = f"{name}/" if name else ""
    if not _PREFIX.fullmatch(prefix):
        raise ValueError("prefix: use folders of letters, digits, '.', '_' and '-'")
    return prefix


def _read_parameters(query: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in _READERS:
            known = ", ".join(sorted(_READERS))
            raise ValueError(f"{name}: an S3 storage has no such parameter; it has {known}")
        if name in values:
            raise ValueError(f"{name}: the parameter is given twice")
        try:
            values[name] = _READERS[name](text)
        except ValueError as exc:
            raise ValueError(f"{name}: {exc}") from exc
    return values


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("say true or false")
    return text == "true"


def _integer(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,15}", text, re.ASCII) or not low <= int(text) <= high:
            raise ValueError(f"a whole number from {low} to {high} is needed")
        return int(text)

    return read


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,3})?", text, re.ASCII) or not 0 < float(text) <= 600:
        raise ValueError("a number of seconds up to 600 is needed")
    return float(text)


def read_endpoint(text: str) -> str:
    """Check the address of a store; raise ValueError for one that cannot be."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("an address such as http://host:9000 is needed")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("an address has no credentials, query or fragment")
    _ = parts.port
    return text.rstrip("/")


def _region(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", text, re.ASCII):
        raise ValueError("a name such as us-east-1 is needed")
    return text


def _ca_bundle(text: str) -> Path:
    path = Path(text)
    if not path.is_file():
        raise ValueError("there is no such file")
    return path


def _checksums(text: str) -> str:
    if text not in ("when_required", "when_supported"):
        raise ValueError("say when_required or when_supported")
    return text


_READERS: Final[dict[str, Callable[[str], Any]]] = {
    "endpoint": read_endpoint,
    "region": _region,
    "path_style": _boolean,
    "create_bucket": _boolean,
    "part_size": _integer(MINIMUM_PART_SIZE, MAXIMUM_PART_SIZE),
    "connect_timeout": _seconds,
    "read_timeout": _seconds,
    "max_attempts": _integer(1, 10),
    "pool": _integer(1, 10_000),
    "ca_bundle": _ca_bundle,
    "checksums": _checksums,
}
assert set(_READERS) == {field.name for field in fields(S3Options)} - {"bucket", "prefix"}
