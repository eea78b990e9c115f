"""Examines everything the service stands on, and says what to mend: `flask doctor`.

It needs no application, since it is for services that do not start. It changes nothing that lasts:
what it writes to try a disk or a store is removed again, and no table or folder is made.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from config import Settings
from services.doctor.addresses import access, proxies, public_url
from services.doctor.collections import collections
from services.doctor.database import database
from services.doctor.findings import Check, Finding, Status, examine, fail, ok
from services.doctor.machine import data_folder, metrics_folder, types
from services.doctor.stores import store

__all__ = ["Finding", "Status", "diagnose"]

_STORE_SECONDS: Final = 45
"""A store that hangs ends a call after some 15 seconds; a few calls are made."""


def diagnose(
    settings: Settings | None, problems: Sequence[str], *, migrations: Path
) -> Iterator[Finding]:
    """Yield what is found: first of the settings, then of all that they name.

    `problems` are the mistakes in the settings, and `settings` what could be read in spite of
    them; a part whose variable is wrong is left out. No secret is in any finding.
    """
    yield from _settings(problems)
    if settings is not None:
        wrong = {_variable(problem).removesuffix("_FILE") for problem in problems}
        yield from examine(_checks(settings, wrong, migrations), _secrets(settings))


def _settings(problems: Sequence[str]) -> Iterator[Finding]:
    for problem in problems:
        yield fail("settings", problem.partition(": ")[2], _variable(problem))
    if not problems:
        yield ok("settings", "every variable has a value that can be worked with")


def _variable(problem: str) -> str:
    return problem.partition(": ")[0]


def _checks(settings: Settings, wrong: set[str], migrations: Path) -> Iterator[Check]:
    if not wrong & {"AUTH_MODE", "SECRET_KEY"}:
        yield Check("access", partial(access, settings), "AUTH_MODE")
    yield Check("proxies", partial(proxies, settings), "TRUSTED_PROXIES")
    yield Check("public URL", partial(public_url, settings), "PUBLIC_URL", seconds=25)
    yield Check("data folder", partial(data_folder, settings), "DATA_DIR")
    yield Check("metrics folder", partial(metrics_folder, settings))
    yield Check("libmagic", types)
    if "DATABASE_URL" not in wrong:
        known = partial(database, settings, migrations)
        yield Check("database", known, "DATABASE_URL", seconds=20)
        yield Check("collections", partial(collections, settings), "DATABASE_URL", seconds=20)
    for backend in settings.backends.values():
        look = partial(store, settings, backend)
        yield Check(f"storage {backend.name}", look, backend.variable, seconds=_STORE_SECONDS)


def _secrets(settings: Settings) -> Iterator[str]:
    """Yield every value that must not be shown."""
    yield settings.secret_key.get_secret_value()
    yield from (each.get_secret_value() for each in settings.secret_key_fallbacks)
    yield settings.metrics_token.get_secret_value()
    for backend in settings.backends.values():
        yield backend.secret_access_key or ""
    try:
        yield str(make_url(settings.database_url).password or "")
    except (ArgumentError, ValueError):
        yield settings.database_url
