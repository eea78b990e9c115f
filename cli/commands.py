"""What groups of commands share: mistakes are lines, durations are said in words.

A command runs inside the application's context and, since whoever can run it reads the settings
and the database, as a caller that may do everything.
"""

import re
from typing import Any, Final

import click
from flask.cli import AppGroup
from sqlalchemy.exc import SQLAlchemyError

from services.errors import HoldallError

_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_DURATION: Final = re.compile(r"([1-9][0-9]{0,11})([smhdw]?)", re.ASCII)


class Commands(AppGroup):
    """A group whose commands end with status 1 and one line when something cannot be done."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Raises ClickException."""
        try:
            return super().invoke(ctx)
        except HoldallError as error:
            raise click.ClickException(str(error)) from error
        except SQLAlchemyError as error:
            reason = str(getattr(error, "orig", None) or error).splitlines()[0]
            raise click.ClickException(f"the database cannot be used: {reason}") from error


class Duration(click.ParamType[int]):
    """`90`, `90s`, `15m`, `12h`, `30d` or `4w`, as seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the seconds that `value` says. Raises BadParameter."""
        match = _DURATION.fullmatch(str(value))
        if match is None:
            self.fail(f"{value!r} is no duration such as 90s, 15m, 12h, 30d or 4w", param, ctx)
        return int(match[1]) * _SECONDS[match[2]]
