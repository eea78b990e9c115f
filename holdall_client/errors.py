"""What can go wrong, each with the status that the command ends with.

0  all was done
1  something was refused, or went wrong here
2  the command is not written right (click's own)
3  there is no key, or the key may not do this
4  there is no such file
5  the server cannot be reached, or is not a Holdall
"""

from typing import Final

import click

FAILED: Final = 1


class ClientError(click.ClickException):
    """One sentence for the person at the terminal."""

    exit_code = FAILED


class NotAllowed(ClientError):
    """The key is missing, wrong, or lacks a scope."""

    exit_code = 3


class NotFound(ClientError):
    """The server has no such file, or none that the key may know of."""

    exit_code = 4


class Unreachable(ClientError):
    """No answer came, or none that a Holdall gives."""

    exit_code = 5
