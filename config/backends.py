"""Which storage backends the environment defines: `STORAGE_<NAME>_URL` and what belongs to each.

The URL's own parameters are the backend's business; here a name, a scheme and credentials are
read, and a variable that begins with STORAGE_ and means nothing is reported, since it is a typo.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

_VARIABLE = re.compile(
    r"STORAGE_([A-Z][A-Z0-9]*)_(URL|ACCESS_KEY_ID|SECRET_ACCESS_KEY|PUBLIC_ENDPOINT)"
)
_SCHEMES = ("file", "s3", "memory", "mirror")


@dataclass(frozen=True, slots=True)
class BackendSettings:
    """One configured backend; credentials that are None come from the standard AWS variables."""

    name: str
    url: str
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    public_endpoint: str | None = None

    @property
    def members(self) -> tuple[str, ...]:
        """The backends that a mirror is put together of, the primary first; else none."""
        parts = urlsplit(self.url)
        return _names(parts.path) if parts.scheme == "mirror" else ()

    @property
    def variable(self) -> str:
        """The variable that an operator changes to mend this backend."""
        return f"STORAGE_{self.name.upper()}_URL"


def read_backends(values: Mapping[str, str]) -> tuple[dict[str, BackendSettings], list[str]]:
    """Return the backends by name, and the mistakes found on the way."""
    data_dir = values.get("DATA_DIR", "").strip() or "/app/data"
    found: dict[str, dict[str, str]] = {
        "local": {"url": (Path(data_dir).absolute() / "uploads").as_uri()}
    }
    problems = []
    for variable, value in values.items():
        if not variable.startswith("STORAGE_") or variable == "STORAGE_BACKEND":
            continue
        match = _VARIABLE.fullmatch(variable)
        if match is None:
            problems.append(f"{variable}: not a setting; backends are named by STORAGE_<NAME>_URL")
        elif value.strip():
            found.setdefault(match[1].lower(), {})[match[2].lower()] = value.strip()
    urls = {name: parts.get("url", "") for name, parts in found.items()}
    for name, parts in list(found.items()):
        if problem := _problem(name, parts) or _problem_of_mirror(name, parts, urls):
            problems.append(problem)
            del found[name]
    return {name: BackendSettings(name=name, **parts) for name, parts in found.items()}, problems


def _problem(name: str, parts: Mapping[str, str]) -> str | None:
    prefix = f"STORAGE_{name.upper()}"
    if "url" not in parts:
        return f"{prefix}_URL: missing, though {prefix}_{next(iter(parts)).upper()} is set"
    if urlsplit(parts["url"]).scheme not in _SCHEMES:
        return f"{prefix}_URL: must begin with file://, s3://, mirror: or memory:"
    if ("access_key_id" in parts) != ("secret_access_key" in parts):
        return f"{prefix}_ACCESS_KEY_ID: set it and {prefix}_SECRET_ACCESS_KEY, or neither"
    return None


def _names(listed: str) -> tuple[str, ...]:
    return tuple(name.strip().lower() for name in listed.split(","))


def _problem_of_mirror(name: str, parts: Mapping[str, str], urls: Mapping[str, str]) -> str | None:
    url = urlsplit(parts["url"])
    if url.scheme != "mirror":
        return None
    variable, members = f"STORAGE_{name.upper()}_URL", _names(url.path)
    if url.netloc or url.query or url.fragment or not all(members):
        return f"{variable}: a mirror is written mirror:local,s3, with names of other backends"
    if mistaken := next((each for each in members if members.count(each) > 1), None):
        return f"{variable}: {mistaken!r} is named twice"
    if name in members:
        return f"{variable}: a mirror cannot be a part of itself"
    for each in members:
        if each not in urls:
            return f"{variable}: no backend is called {each!r}: set STORAGE_{each.upper()}_URL"
        if urlsplit(urls[each]).scheme == "mirror":
            return f"{variable}: {each!r} is a mirror itself: name the backends it is made of"
        if urlsplit(urls[each]).scheme == "memory":
            return f"{variable}: {each!r} is memory:, which each process has for itself"
    if len(members) < 2:
        return f"{variable}: name the primary and at least one mirror of it: mirror:local,s3"
    if len(parts) > 1:
        return f"{variable}: credentials and endpoint are those of the backends it is made of"
    return None
