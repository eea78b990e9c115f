"""A TLS front for a plain TCP server, with a certificate authority of the tests' own.

Knows nothing above TCP.
"""

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from tests.support.relay import Relay


@dataclass(frozen=True, slots=True)
class TlsFront:
    """A listening TLS port; clients that trust `ca_bundle` (a PEM file) accept its certificate."""

    port: int
    ca_bundle: Path

    @property
    def endpoint(self) -> str:
        return f"https://127.0.0.1:{self.port}"


@contextmanager
def tls_proxy(target_port: int, folder: Path) -> Iterator[TlsFront]:
    """Terminate TLS in front of `target_port` of 127.0.0.1; the CA's file is kept in `folder`."""
    authority = trustme.CA()
    ca_bundle = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_bundle))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)

    def accept_tls(client: socket.socket) -> socket.socket:
        client.settimeout(10)
        return context.wrap_socket(client, server_side=True)

    with Relay(target_port, wrap=accept_tls) as relay:
        yield TlsFront(relay.port, ca_bundle)
