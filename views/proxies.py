"""Whom to believe about the client: forwarded headers count only when a trusted proxy sent them."""

import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Application = Callable[[dict[str, Any], Any], Iterable[bytes]]

_ANNOUNCED: Final = "holdall.accel"
"""No header has such a name in a WSGI environment, so that no client can put it there."""


def announced(environ: Mapping[str, Any]) -> frozenset[str]:
    """Return the backends whose files the proxy that sent a request can send by itself.

    It names them in X-Holdall-Accel; without a trusted proxy there are none.
    """
    names: frozenset[str] = environ.get(_ANNOUNCED, frozenset())
    return names


class Trust:
    """What is told of a client by proxies in `networks`; others are not believed."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = networks

    def __contains__(self, peer: str) -> bool:
        address = _address(peer) if self._networks else None
        return address is not None and any(address in network for network in self._networks)

    def told(self, peer: str, headers: Mapping[str, str]) -> tuple[str, frozenset[str]]:
        """Return the client's address and what `announced` says, for headers in lower case."""
        if peer not in self:
            return peer, frozenset()
        named = frozenset(headers.get("x-holdall-accel", "").split())
        return self.client(peer, headers.get("x-forwarded-for", "")), named

    def client(self, peer: str, forwarded_for: str) -> str:
        """Return the address of the client behind a trusted peer.

        `X-Forwarded-For` is read from the right, past every trusted proxy: what stands further left
        was written by someone who is not trusted.
        """
        for hop in reversed(forwarded_for.split(",")):
            if not (hop := hop.strip()):
                continue
            address = _address(hop)
            if address is None:
                break
            peer = str(address)
            if hop not in self:
                break
        return peer


class TrustedProxies:
    """Replace the peer's address, scheme and host by the client's, where proxies tell them."""

    def __init__(self, application: Application, trust: Trust) -> None:
        self._application = application
        self._trust = trust

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ.get("REMOTE_ADDR", "") in self._trust:
            self._believe(environ)
        return self._application(environ, start_response)

    def _believe(self, environ: dict[str, Any]) -> None:
        environ[_ANNOUNCED] = frozenset(environ.get("HTTP_X_HOLDALL_ACCEL", "").split())
        forwarded_for = environ.get("HTTP_X_FORWARDED_FOR", "")
        environ["REMOTE_ADDR"] = self._trust.client(environ["REMOTE_ADDR"], forwarded_for)
        scheme = _last(environ.get("HTTP_X_FORWARDED_PROTO", ""))
        if scheme in ("http", "https"):
            environ["wsgi.url_scheme"] = scheme
        if host := _last(environ.get("HTTP_X_FORWARDED_HOST", "")):
            environ["HTTP_HOST"] = host


def _address(text: str) -> Address | None:
    """Read an address; IPv4 that a socket for IPv6 has taken is IPv4 again."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _last(header: str) -> str:
    return header.rpartition(",")[2].strip()
