"""What the tests of storage share: an event loop in a thread, and TLS in front of the S3 server."""

from collections.abc import Iterator

import pytest

from tests.storage.synced import LoopThread
from tests.support.servers import S3Server
from tests.support.tls import TlsFront, tls_proxy


@pytest.fixture(scope="session")
def loop_thread() -> Iterator[LoopThread]:
    loop = LoopThread()
    yield loop
    loop.close()


@pytest.fixture(scope="session")
def s3_tls_front(
    s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TlsFront]:
    with tls_proxy(s3_server.port, tmp_path_factory.mktemp("tls")) as front:
        yield front
