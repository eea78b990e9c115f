"""Log lines: one for each record, with everything it carries, whatever a client put in it."""

import io
import json
import logging
import logging.config
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from config import load_settings
from config.logs import JsonFormatter, TextFormatter, logging_config
from views.observing import RequestLine


@contextmanager
def _configured(log_format: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Configure logging as the service does, into the stream that is given; undo it at the end."""
    settings = load_settings({"AUTH_MODE": "open", "LOG_FORMAT": log_format, "LOG_LEVEL": "debug"})
    wanted = logging_config(settings)
    loggers = [logging.getLogger(), *map(logging.getLogger, wanted["loggers"])]
    before = [(logger, logger.handlers[:], logger.level) for logger in loggers]
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    try:
        logging.config.dictConfig(wanted)
        yield written
    finally:
        for logger, handlers, level in before:
            logger.handlers[:] = handlers
            logger.setLevel(level)


def test_a_json_line_carries_what_the_record_carries(monkeypatch: pytest.MonkeyPatch) -> None:
    with _configured("json", monkeypatch) as written:
        logging.getLogger("holdall.request").info("request", extra={"path": "/a\nb", "status": 200})
    line = json.loads(written.getvalue())
    assert (line["level"], line["logger"], line["message"]) == (
        "INFO",
        "holdall.request",
        "request",
    )
    assert (line["path"], line["status"]) == ("/a\nb", 200)
    assert line["time"].endswith("+00:00")


def test_no_client_can_end_a_line_of_text(monkeypatch: pytest.MonkeyPatch) -> None:
    with _configured("text", monkeypatch) as written:
        logging.getLogger("holdall.request").info("request", extra={"path": "/a\nb", "status": 200})
    (line,) = written.getvalue().splitlines()
    assert line.endswith(' INFO holdall.request request path="/a\\nb" status=200')


@pytest.mark.parametrize("length", (None, 4096))
def test_a_request_writes_its_line_as_any_record_would(length: int | None) -> None:
    told = ("an-id", 'GE"T', "/\u00e9\n\u2028\\", 200, length, 1.25, "::1")
    line = RequestLine(logging.INFO, *told)
    plain = logging.makeLogRecord(vars(line))
    formatted = JsonFormatter().format(line)
    assert json.loads(formatted) == json.loads(JsonFormatter().format(plain))
    assert formatted == JsonFormatter().format(plain)
    assert "\n" not in formatted
    text = TextFormatter().format(line)
    assert text.startswith(datetime.fromtimestamp(line.created, UTC).isoformat()[:19])
    assert "status=200" in text and "\n" not in text


@pytest.mark.parametrize("library", ("botocore.auth", "urllib3.connectionpool", "boto3.resources"))
def test_libraries_do_not_write_down_what_they_sign(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _configured("json", monkeypatch) as written:
        logging.getLogger(library).debug("StringToSign")
        logging.getLogger(library).warning("that something failed")
    assert "StringToSign" not in written.getvalue()
    assert "that something failed" in written.getvalue()
