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
_SCHEMES = ("file", "s3", "memory")


@dataclass(frozen=True, slots=True)
class BackendSettings:
    """One configured backend; credentials that are None come from the standard AWS variables."""

    name: str
    url: str
    access_key_id: str | None = None
    secret_access_key: str | None = field(default=None, repr=False)
    public_endpoint: str | None = None

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
    for name, parts in list(found.items()):
        if problem := _problem(name, parts):
            problems.append(problem)
            del found[name]
    return {name: BackendSettings(name=name, **parts) for name, parts in found.items()}, problems


def _problem(name: str, parts: Mapping[str, str]) -> str | None:
    prefix = f"STORAGE_{name.upper()}"
    if "url" not in parts:
        return f"{prefix}_URL: missing, though {prefix}_{next(iter(parts)).upper()} is set"
    if urlsplit(parts["url"]).scheme not in _SCHEMES:
        return f"{prefix}_URL: must begin with file://, s3:// or memory:"
    if ("access_key_id" in parts) != ("secret_access_key" in parts):
        return f"{prefix}_ACCESS_KEY_ID: set it and {prefix}_SECRET_ACCESS_KEY, or neither"
    return None
