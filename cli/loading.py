"""Which application a process that imports `app:app` gets: a server's, or a command's."""

import os
import sys
from collections.abc import Callable
from typing import Final

import click
from flask import Flask
from flask.cli import NoAppException

from cli.doctor import doctor
from config import ConfigurationError

_WITH_A_VALUE: Final = ("-A", "--app", "-e", "--env-file")
"""The options of `flask` itself that the next word belongs to."""


def loaded(create: Callable[[], Flask]) -> Flask:
    """Return what `create` makes, or for `flask doctor` an application with that command alone.

    The doctor is for services that do not start, and must not bring a database up to date. For
    any other command, mistakes in the settings are lines and no stack.
    """
    if click.get_current_context(silent=True) is None:
        return create()
    command = _command(sys.argv[1:])
    if command == doctor.name:
        bare = Flask("doctor", static_folder=None)
        bare.cli.add_command(doctor)
        return bare
    # As of the server: what is made here, the database above all, is nobody else's to read.
    os.umask(0o027)
    try:
        return create()
    except ConfigurationError as error:
        # The help goes on after the one and is ended by the other.
        kind = NoAppException if command is None else click.ClickException
        raise kind(f"the service does not start:\n{error}") from error


def _command(arguments: list[str]) -> str | None:
    """Return the command among the words after `flask`; click does not tell while it looks."""
    words = iter(arguments)
    for word in words:
        if word in _WITH_A_VALUE:
            next(words, None)
        elif not word.startswith("-"):
            return word
    return None
