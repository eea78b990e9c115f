"""What a log line looks like, for gunicorn and for everything that runs in it.

Every record goes to stderr once, as JSON or as text; what a record has beside its message
(`extra`) is part of both.
"""

import json
import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from config.settings import Settings

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_ENCODER = json.JSONEncoder(default=str)
_TALKATIVE = ("alembic", "boto3", "botocore", "flask_cors", "s3transfer", "urllib3")


class TextFormatter(logging.Formatter):
    """Lines for people: `2030-01-31T12:00:00.000+00:00 INFO holdall.request request status=200`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        each: Callable[[], Iterable[logging.LogRecord]] | None = getattr(record, "each", None)
        if each is not None:
            return "\n".join(map(super().format, each()))
        return super().format(record)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")

    def formatMessage(self, record: logging.LogRecord) -> str:
        extra = (
            f" {name}={_quoted(value)}"
            for name, value in vars(record).items()
            if name not in _PLAIN
        )
        return super().formatMessage(record) + "".join(extra)


class JsonFormatter(logging.Formatter):
    """Lines for machines: an object each, first what every record has, then what it carries.

    A record that there are very many of may write its own lines: `as_json`, and for people `each`.
    """

    def format(self, record: logging.LogRecord) -> str:
        as_json: Callable[[], str] | None = getattr(record, "as_json", None)
        if as_json is not None:
            return as_json()
        line = {
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
        }
        line.update((name, value) for name, value in vars(record).items() if name not in _PLAIN)
        if record.exc_info:
            line["exc_info"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack_info"] = self.formatStack(record.stack_info)
        line["time"] = datetime.fromtimestamp(record.created, UTC).isoformat()
        return _ENCODER.encode(line)


def _quoted(value: object) -> str:
    """Show `value` on one line: a client chooses some of them, and must not end a line."""
    text = str(value)
    return text if text.isprintable() and " " not in text and text else json.dumps(text)


def logging_config(settings: Settings) -> dict[str, Any]:
    """Return the `logging.config.dictConfig` dictionary that `settings` ask for.

    Libraries log warnings only: at debug level, an S3 client writes down what it signs.
    """
    level = settings.log_level.upper()
    own_level: dict[str, Any] = {"level": level, "handlers": [], "propagate": True}
    libraries = {name: {"level": "WARNING"} for name in _TALKATIVE}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "text": {"()": "config.logs.TextFormatter"},
            "json": {"()": "config.logs.JsonFormatter"},
        },
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": settings.log_format}
        },
        "root": {"level": level, "handlers": ["stderr"]},
        "loggers": libraries | {"gunicorn.error": own_level},
    }
