"""Which server, and with which key: a file of the user's, `~/.config/holdall/config.toml`.

It holds a secret, so that nobody else may read it.
"""

import json
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

import click

from holdall_client.errors import ClientError


@dataclass(frozen=True, slots=True)
class Profile:
    """A server's URL without a slash at its end, and an API key, empty for none."""

    url: str = ""
    key: str = ""


def config_file() -> Path:
    """Return where the profile is kept."""
    return Path(click.get_app_dir("holdall")) / "config.toml"


def load() -> Profile:
    """Return what `holdall login` kept; nothing, where it never ran. Raises ClientError."""
    path = config_file()
    try:
        kept = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return Profile()
    except (OSError, ValueError) as error:
        raise ClientError(f"{path} cannot be read: {error}") from error
    return Profile(str(kept.get("url", "")), str(kept.get("key", "")))


def save(profile: Profile) -> Path:
    """Keep a profile, readable by its user alone, and return where. Raises ClientError."""
    path = config_file()
    # A JSON string is a basic string of TOML.
    written = f"url = {json.dumps(profile.url)}\nkey = {json.dumps(profile.key)}\n"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        new.unlink(missing_ok=True)
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(written)
        new.replace(path)
    except OSError as error:
        raise ClientError(f"{path} cannot be written: {error.strerror}") from error
    return path
