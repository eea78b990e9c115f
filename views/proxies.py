"""Whom to believe about the client: forwarded headers count only when a trusted proxy sent them."""

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Application = Callable[[dict[str, Any], Any], Iterable[bytes]]


class TrustedProxies:
    """Replace the peer's address, scheme and host by the client's, where proxies tell them.

    `X-Forwarded-For` is read from the right, past every trusted proxy: what stands further left
    was written by someone who is not trusted.
    """

    def __init__(self, application: Application, networks: Sequence[Network]) -> None:
        self._application = application
        self._networks = networks

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if self._trusts(environ.get("REMOTE_ADDR", "")):
            self._believe(environ)
        return self._application(environ, start_response)

    def _believe(self, environ: dict[str, Any]) -> None:
        hops = [hop.strip() for hop in environ.get("HTTP_X_FORWARDED_FOR", "").split(",")]
        for hop in filter(None, reversed(hops)):
            if not _is_address(hop):
                break
            environ["REMOTE_ADDR"] = hop
            if not self._trusts(hop):
                break
        scheme = _last(environ.get("HTTP_X_FORWARDED_PROTO", ""))
        if scheme in ("http", "https"):
            environ["wsgi.url_scheme"] = scheme
        if host := _last(environ.get("HTTP_X_FORWARDED_HOST", "")):
            environ["HTTP_HOST"] = host

    def _trusts(self, address: str) -> bool:
        if not _is_address(address):
            return False
        peer = ipaddress.ip_address(address)
        return any(peer in network for network in self._networks)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _last(header: str) -> str:
    return header.rpartition(",")[2].strip()
