"""Secrets: read from mounted files where a `…_FILE` variable says so, and refused when weak."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

_SHORTEST = 32
_KNOWN = ("change", "secret", "example", "password", "default", "your-", "xxxx", "1234")
_FROM_FILES = (
    "SECRET_KEY",
    "DATABASE_URL",
    "METRICS_TOKEN",
    "ACCESS_KEY_ID",
    "SECRET_ACCESS_KEY",
)


def with_secret_files(environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return `environ` with each secret's `…_FILE` replaced by what the file holds.

    The second value has a line for each file that cannot be read.
    """
    values, problems = dict(environ), []
    for variable in environ:
        name = variable.removesuffix("_FILE")
        if name == variable or not name.endswith(_FROM_FILES) or name.startswith("AWS_"):
            continue
        try:
            values[name] = Path(values.pop(variable)).read_text().strip()
        except OSError as error:
            problems.append(f"{variable}: cannot be read: {error.strerror}")
    return values, problems


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
        draft = folder / f".secret_key.{os.getpid()}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        try:
            os.link(draft, kept)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return kept.read_text().strip()
