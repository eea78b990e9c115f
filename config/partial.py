"""The settings as far as they are right, for an examination that goes on in spite of mistakes."""

import os
import re
import secrets
from collections.abc import Mapping

from config.settings import ConfigurationError, Settings, load_settings

_OF_A_BACKEND = re.compile(r"STORAGE_[A-Z][A-Z0-9]*_")


def load_what_is_right(
    environment: Mapping[str, str] | None = None,
) -> tuple[Settings | None, list[str]]:
    """Return the settings with every wrong variable left out, and a line for each mistake.

    They are None when nothing can be read without what is wrong. Not for serving: a secret that is
    missing or weak is replaced by one that nobody knows.
    """
    environ = dict(os.environ if environment is None else environment)
    try:
        return load_settings(environ), []
    except ConfigurationError as error:
        problems = error.problems
    for problem in problems:
        _leave_out(environ, problem.partition(":")[0])
    try:
        return load_settings(environ), problems
    except ConfigurationError as error:
        # What was left out may itself be missed: STORAGE_BACKEND names one without a URL now.
        for problem in error.problems:
            _leave_out(environ, problem.partition(":")[0])
    try:
        return load_settings(environ), problems
    except ConfigurationError:
        return None, problems


def _leave_out(environ: dict[str, str], variable: str) -> None:
    backend = _OF_A_BACKEND.match(variable)
    belongs = backend[0] if backend and variable != "STORAGE_BACKEND" else None
    for name in list(environ):
        if name in (variable, f"{variable}_FILE") or (belongs and name.startswith(belongs)):
            del environ[name]
    if variable.removesuffix("_FILE") == "SECRET_KEY":
        environ["SECRET_KEY"] = secrets.token_hex(32)
