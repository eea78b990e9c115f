"""Whom the settings let in, and what clients are told to come to.

Knows addresses and headers. What a store answers is the business of `services.doctor.stores`.
"""

import ipaddress
import json
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from config import Settings
from config.secrets import secret_problem
from services.doctor.asking import NoReply, Reply, ask
from services.doctor.findings import Finding, fail, ok, warn
from services.sites import is_loopback

_HEALTH: Final = {"status": "healthy", "service": "backend"}


def access(settings: Settings) -> Iterator[Finding]:
    """Look who may do what, and whether the secret is one."""
    name, where = "access", f"{settings.host}:{settings.flask_run_port}"
    if settings.auth_mode == "keys":
        yield ok(name, "every write needs a key, and SECRET_KEY is strong")
        return
    if is_loopback(settings.host):
        yield ok(name, f"open to all on this machine, which alone reaches {where}")
    else:
        message = f"whoever reaches {where} may do anything: set keys and SECRET_KEY"
        yield warn(name, message, "AUTH_MODE")
    secret = settings.secret_key.get_secret_value()
    if secret and (problem := secret_problem(secret)):
        yield warn(name, f"is {problem}", "SECRET_KEY")


def proxies(settings: Settings) -> Iterator[Finding]:
    """Look whose word on the client's address counts."""
    name, variable = "proxies", "TRUSTED_PROXIES"
    networks = settings.trusted_proxies
    everyone = [str(each) for each in networks if each.prefixlen == 0]
    if everyone:
        message = f"{everyone[0]} believes anyone who claims to be anyone: name the proxy's network"
        yield warn(name, message, variable)
    elif networks:
        yield ok(name, f"believed: {', '.join(map(str, networks))}")
    elif settings.public_url.startswith("https://"):
        message = "empty, though PUBLIC_URL is https, which a proxy speaks for us: all clients"
        yield warn(name, f"{message} look like that proxy. Name its network", variable)
    else:
        yield ok(name, "none is believed")


def public_url(settings: Settings) -> Iterator[Finding]:
    """Look whether PUBLIC_URL leads here."""
    name, variable, url = "public URL", "PUBLIC_URL", settings.public_url
    if not url:
        yield ok(name, "not set: links are relative")
        return
    if is_internal(url) and not is_loopback(settings.host):
        yield warn(name, f"{shown(url)} is a name that only this host or network knows", variable)
    try:
        reply = ask(f"{url}/api/health")
    except NoReply as error:
        yield from _without_reply(settings, str(error))
        return
    if _is_ours(reply):
        yield ok(name, f"{shown(url)} leads here")
        return
    message = f"{shown(url)}/api/health is answered by something else (status {reply.status})"
    if 300 <= reply.status < 400:
        message += ", which sends clients elsewhere: set the URL that they end at"
    yield fail(name, message, variable)


def is_internal(url: str) -> bool:
    """Say whether the host of `url` means nothing to clients on the internet.

    That is a loopback or private address, and a name without a dot, as containers have.
    """
    host = urlsplit(url).hostname or ""
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        inside = (".local", ".internal", ".lan", ".home.arpa", ".svc")
        return is_loopback(host) or "." not in host.strip(".") or host.endswith(inside)


def shown(url: str) -> str:
    """Return scheme, host and port of `url`: all of it that is no secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _without_reply(settings: Settings, reason: str) -> Iterator[Finding]:
    name, variable = "public URL", "PUBLIC_URL"
    where = shown(settings.public_url)
    if _runs(settings):
        yield fail(name, f"{where} does not lead here: {reason}", variable)
    else:
        message = f"{where} does not answer: {reason}, and the service is not running, either"
        yield warn(name, f"{message}. Ask again when it is", variable)


def _runs(settings: Settings) -> bool:
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    host = f"[{host}]" if ":" in host else host
    try:
        return _is_ours(ask(f"http://{host}:{settings.flask_run_port}/api/health"))
    except NoReply:
        return False


def _is_ours(reply: Reply) -> bool:
    try:
        return reply.status == 200 and bool(json.loads(reply.body) == _HEALTH)
    except ValueError:
        return False
