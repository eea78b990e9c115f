"""Whether a browser sends a request on behalf of a page that may not make it.

A page of any site can have its visitor's browser send requests, forms and plain uploads among
them, to whatever that browser can reach. Where reaching the service, or a cookie, is right enough,
such a page would write in its visitor's name. Two rules stand against it, both over what no page
can forge: a request that changes something comes from a page of our own or of a listed origin
(Fetch Metadata; RFC 6454 §7), and where only this machine is meant, the host that is asked for is
one of its own names, so that no site's name can be made to lead here (DNS rebinding).

Knows headers only: neither who asks, nor what for.
"""

import ipaddress
from collections.abc import Collection
from typing import Final
from urllib.parse import urlsplit

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def is_from_elsewhere(
    *, origin: str | None, site: str | None, own: Collection[str], listed: Collection[str]
) -> bool:
    """Say whether a page that is neither ours nor listed sends this request.

    `origin` is the header Origin, `site` Sec-Fetch-Site; a client that is no browser sends
    neither. `own` and `listed` are origins; `*` lists all. A sibling (`same-site`: another port
    or subdomain) is another origin, and `null` is nobody's.
    """
    if site in ("same-origin", "none") or "*" in listed:
        return False
    if origin is None:
        return site is not None
    return origin not in own and origin not in listed


def origin_of(url: str) -> str | None:
    """Return the origin of an absolute URL as browsers write it, None where it has none.

    Lowercase, and without the scheme's own port (RFC 6454 §6.2).
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    shown = "" if port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{port}"
    return f"{parts.scheme}://{host}{shown}"


def host_of(header: str) -> str:
    """Return the lowercase name or address in a Host header: no port, brackets or final dot."""
    try:
        host = urlsplit(f"//{header}").hostname
    except ValueError:
        host = None
    return (host or "").removesuffix(".")


def is_loopback(host: str) -> bool:
    """Say whether a name or address always means the machine that asks (RFC 6761 §6.3)."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
