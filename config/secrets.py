"""Secrets: read from mounted files where a `…_FILE` variable says so, and refused when weak."""

import os
import re
import secrets
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_SHORTEST = 32
_KNOWN = ("change", "secret", "example", "password", "default", "your-", "xxxx", "1234")
_FROM_FILES = re.compile(
    r"(SECRET_KEY|SECRET_KEY_FALLBACKS|DATABASE_URL|METRICS_TOKEN|STORAGE_\w+_(ACCESS_KEY_ID|SECRET_ACCESS_KEY))_FILE"
)


def with_secret_files(environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return `environ` with each secret's `…_FILE` replaced by what the file holds.

    The second value has a line for each file that cannot be read.
    """
    values, problems = dict(environ), []
    for variable in environ:
        if not _FROM_FILES.fullmatch(variable):
            continue
        try:
            values[variable.removesuffix("_FILE")] = Path(values.pop(variable)).read_text().strip()
        except OSError as error:
            problems.append(f"{variable}: cannot be read: {error.strerror}")
        except ValueError:
            problems.append(f"{variable}: the file is not text")
    return values, problems


def separate_secrets(value: str) -> list[str]:
    """Return the secrets that `value` has between commas and line ends."""
    return [secret.strip() for secret in re.split(r"[,\r\n]", value) if secret.strip()]


def secret_problem(secret: str) -> str | None:
    """Say why `secret` must not sign anything, or None when it may."""
    if not secret:
        return "missing: AUTH_MODE=keys needs one; make it with `openssl rand -hex 32`"
    if len(secret) < _SHORTEST:
        return f"shorter than {_SHORTEST} characters; make one with `openssl rand -hex 32`"
    if len(set(secret)) < 8 or any(word in secret.lower() for word in _KNOWN):
        return "a well-known or guessable value; make one with `openssl rand -hex 32`"
    return None


def secret_in(folder: Path) -> str:
    """Return the secret kept in `folder`/secret_key, made at the first call with mode 0600.

    Processes that start together agree on one: whoever links the file first wins.
    """
    kept = folder / "secret_key"
    if not kept.exists():
        # A name that no one else has: process ids repeat from container to container.
        with tempfile.NamedTemporaryFile("w", dir=folder, prefix=".secret_key.") as draft:
            draft.write(secrets.token_hex(32))
            draft.flush()
            os.fsync(draft.fileno())
            with suppress(FileExistsError):
                os.link(draft.name, kept)
    return kept.read_text().strip()
