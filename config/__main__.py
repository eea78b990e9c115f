"""Check the settings, then become the command: `python -m config gunicorn app:app`.

A server reads some variables itself before it reads ours (gunicorn takes WEB_CONCURRENCY while it
is imported), and ends in a traceback when one is wrong. Checked here first, every mistake is a
line of its own, and a variable that is set but empty counts as not set for the server as well.
Without a command, only the check is made.
"""

import os
import sys

from config import ConfigurationError, load_settings


def main(command: list[str]) -> int:
    """Return 1 when a setting is wrong, 0 when none is and there is no command to become."""
    try:
        load_settings()
    except ConfigurationError as error:
        print(error, file=sys.stderr)
        return 1
    if command:
        environment = {name: value for name, value in os.environ.items() if value.strip()}
        os.execvpe(command[0], command, environment)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
