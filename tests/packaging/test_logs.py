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
from views.observing import Ended, RequestLines


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


ENDED = Ended("an-id", 'GE"T', "/\u00e9\n\u2028\\", "/", 200, 4096, 0.00125, "::1", 1900000000.5)


@pytest.mark.parametrize("length", (None, 4096))
def test_a_request_writes_its_line_as_any_record_would(length: int | None) -> None:
    lines = RequestLines(logging.INFO, (ENDED._replace(length=length),))
    (plain,) = lines.each()
    formatted = JsonFormatter().format(lines)
    assert formatted == JsonFormatter().format(plain)
    assert "\n" not in formatted
    text = TextFormatter().format(lines)
    assert text == TextFormatter().format(plain)
    assert text.startswith(datetime.fromtimestamp(ENDED.at, UTC).isoformat()[:19])
    assert "status=200" in text and "\n" not in text


def test_requests_that_end_together_have_a_line_each() -> None:
    lines = RequestLines(logging.INFO, (ENDED, ENDED._replace(request_id="another", at=5.0)))
    for formatter in (JsonFormatter(), TextFormatter()):
        each = [formatter.format(record) for record in lines.each()]
        assert formatter.format(lines).split("\n") == each
    assert lines.getMessage() == "request"
    assert vars(lines)["request_id"] == "an-id"


@pytest.mark.parametrize("library", ("botocore.auth", "urllib3.connectionpool", "boto3.resources"))
def test_libraries_do_not_write_down_what_they_sign(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _configured("json", monkeypatch) as written:
        logging.getLogger(library).debug("StringToSign")
        logging.getLogger(library).warning("that something failed")
    assert "StringToSign" not in written.getvalue()
    assert "that something failed" in written.getvalue()
