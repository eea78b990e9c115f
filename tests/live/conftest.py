"""One running service for the tests that only a real server can answer."""

from collections.abc import Iterator

import pytest

from tests.support.service import Service, running


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Holdall under gunicorn with two workers; a body may stall for one second."""
    with running(tmp_path_factory.mktemp("service"), BODY_TIMEOUT="1") as started:
        yield started
