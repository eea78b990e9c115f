"""The sample configuration under a real nginx: what nginx sends is what the service would send."""

import http.client
import json
import re
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import pytest

from tests.support.nginx import nginx
from tests.support.processes import free_ports
from tests.support.servers import S3Server
from tests.support.service import Service, running

CONTENT = b"".join(b"line %d\n" % number for number in range(40_000))
SIZE = len(CONTENT)
NAME = "Größe \"1\" 'b' & 50% ü.txt"
ORIGIN = "https://app.example"
ANNOUNCED = {"X-Holdall-Accel": "local s3"}
BY_OTHERS = {"connection", "date", "keep-alive", "server", "x-request-id"}
"""What each server says of itself, and the id of a request, which is another each time."""

HANDED_OFF: dict[str, dict[str, str]] = {
    "whole": {},
    "a range": {"Range": "bytes=100-70000"},
    "a range to the end": {"Range": "bytes=5-"},
    "a range past the end": {"Range": f"bytes=5-{SIZE * 2}"},
    "one byte": {"Range": "bytes=0-0"},
    "a suffix": {"Range": "bytes=-7"},
    "a suffix of more than all": {"Range": f"bytes=-{SIZE * 2}"},
    "a page of another origin": {"Origin": ORIGIN},
    "a page that may not": {"Origin": "https://elsewhere.example"},
    "the right If-Range": {"Range": "bytes=9-99", "If-Range": "ETAG"},
    "another If-None-Match": {"If-None-Match": '"other"'},
    "another If-None-Match, and a range": {"If-None-Match": '"other"', "Range": "bytes=9-99"},
    "an early If-Modified-Since": {"If-Modified-Since": "Mon, 01 Jan 2024 00:00:00 GMT"},
    "no digest": {"Want-Repr-Digest": "sha-256=0"},
    "a key that the store must not see": {"Authorization": "Bearer x", "Cookie": "a=b"},
    "a client's own internal headers": {
        "X-Accel-Redirect": "/_holdall/local/",
        "X-Holdall-Cache-Control": "no-cache",
        "X-Holdall-Content-Disposition": "inline",
        "ETag": '"mine"',
    },
}
PROXIED: dict[str, dict[str, str]] = {
    "several ranges": {"Range": "bytes=0-9,100-109"},
    "several ranges that are one": {"Range": "bytes=0-9,10-19"},
    "no range that exists": {"Range": f"bytes={SIZE}-"},
    "no range at all": {"Range": "bytes=9-0"},
    "another unit": {"Range": "lines=0-9"},
    "the wrong If-Range": {"Range": "bytes=9-99", "If-Range": '"other"'},
    "a weak If-Range": {"Range": "bytes=9-99", "If-Range": "W/ETAG"},
    "a dated If-Range": {"Range": "bytes=9-99", "If-Range": "MODIFIED"},
    "If-None-Match": {"If-None-Match": "ETAG"},
    "If-None-Match, and a range": {"If-None-Match": "ETAG", "Range": "bytes=9-99"},
    "If-Modified-Since": {"If-Modified-Since": "MODIFIED"},
    "If-Match": {"If-Match": "ETAG"},
    "another If-Match": {"If-Match": '"other"'},
    "If-Unmodified-Since": {"If-Unmodified-Since": "MODIFIED"},
    "an early If-Unmodified-Since": {"If-Unmodified-Since": "Mon, 01 Jan 2024 00:00:00 GMT"},
}


@dataclass(frozen=True, slots=True)
class Site:
    """A service behind nginx, with files on local disk (`local`) and in a store (`s3`)."""

    service: Service
    nginx: int
    store: S3Server

    def put(self, backend: str, content: bytes, name: str = NAME) -> str:
        """Upload a file through nginx to a backend, and return its link."""
        path = f"/api/upload/{quote(name)}?collection=on-{backend}"
        status, _, made = ask(self.nginx, "PUT", path, {}, content)
        assert status == 201, made
        found = re.search(rb'"url":\s*"([^"]+)"', made)
        assert found
        return found[1].decode()


Answer = tuple[int, list[tuple[str, str]], bytes]


def ask(
    port: int, method: str, path: str, headers: dict[str, str], body: bytes | None = None
) -> Answer:
    """Return status, headers (lowercase, sorted, without BY_OTHERS) and body of an answer."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        told = [(name.lower(), value) for name, value in response.getheaders()]
        return (
            response.status,
            sorted(header for header in told if header[0] not in BY_OTHERS),
            response.read(),
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, s3_server: S3Server) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    folder.chmod(0o755)
    with running(
        folder,
        CORS_ORIGINS=f"{ORIGIN},https://other.example",
        TRUSTED_PROXIES="127.0.0.1",
        STORAGE_S3_URL=s3_server.url(f"test-{uuid4().hex[:12]}", "deep/er", create_bucket="true"),
        STORAGE_S3_ACCESS_KEY_ID=s3_server.access_key_id,
        STORAGE_S3_SECRET_ACCESS_KEY=s3_server.secret_access_key,
        STORAGE_BACKEND="s3",
    ) as service:
        _collect(service, "on-local", "local")
        _collect(service, "on-s3", "s3")
        uploads = service.data / "uploads"
        with nginx(folder, service=service.port, store=s3_server.port, uploads=uploads) as port:
            yield Site(service, port, s3_server)


def _collect(service: Service, name: str, backend: str) -> None:
    """Make a collection whose files lie on a backend and are sent by nginx."""
    with closing(sqlite3.connect(service.data / "app.db")) as database, database:
        database.execute(
            "INSERT INTO collections (name, visibility, on_mismatch, backend, delivery,"
            " cache_max_age, created_at, updated_at) VALUES (?, 'public', 'correct', ?, 'x-accel',"
            " 3600, '2026-01-01 00:00:00', '2026-01-01 00:00:00')",
            (name, backend),
        )


@pytest.fixture(scope="module", params=["local", "s3"])
def link(request: pytest.FixtureRequest, site: Site) -> str:
    """The link of a file on each backend."""
    return site.put(request.param, CONTENT)


def assert_alike(site: Site, method: str, path: str, headers: dict[str, str]) -> None:
    """Compare what comes by way of nginx with what the service answers by itself."""
    status, told, body = ask(site.nginx, method, path, headers)
    expected_status, expected, expected_body = ask(site.service.port, method, path, headers)
    assert status == expected_status
    assert told == expected, f"not the same: {set(told) ^ set(expected)}"
    assert body == expected_body


def _filled(headers: dict[str, str], site: Site, link: str) -> dict[str, str]:
    """Put the file's own validators into a request."""
    told = dict(ask(site.service.port, "HEAD", link, {})[1])
    words = {"ETAG": told["etag"], "MODIFIED": told["last-modified"]}
    found = re.compile("|".join(words))
    return {
        name: found.sub(lambda match: words[match[0]], value) if name != "ETag" else value
        for name, value in headers.items()
    }


def _redirected(site: Site, method: str, link: str, headers: dict[str, str]) -> bool:
    """Say whether the service tells an nginx to send the bytes."""
    return "x-accel-redirect" in dict(ask(site.service.port, method, link, headers | ANNOUNCED)[1])


@pytest.mark.parametrize("case", HANDED_OFF)
def test_what_nginx_sends_is_what_the_service_would_send(site: Site, link: str, case: str) -> None:
    headers = _filled(HANDED_OFF[case], site, link)
    assert _redirected(site, "GET", link, headers)
    assert_alike(site, "GET", link, headers)


@pytest.mark.parametrize("case", PROXIED)
def test_what_nginx_would_answer_otherwise_is_left_to_the_service(
    site: Site, link: str, case: str
) -> None:
    headers = _filled(PROXIED[case], site, link)
    assert not _redirected(site, "GET", link, headers)
    assert_alike(site, "GET", link, headers)


@pytest.mark.parametrize("case", [*HANDED_OFF, *PROXIED])
def test_head_is_answered_alike(site: Site, link: str, case: str) -> None:
    headers = _filled((HANDED_OFF | PROXIED)[case], site, link)
    assert not _redirected(site, "HEAD", link, headers)
    assert_alike(site, "HEAD", link, headers)


@pytest.mark.parametrize("backend", ["local", "s3"])
def test_other_files_and_links_are_sent_alike(site: Site, backend: str) -> None:
    files = {
        "empty": site.put(backend, b"", "leer.txt"),
        "never shown in place": site.put(backend, b"<!doctype html><script>1</script>", "a.html"),
        "the longest name": site.put(backend, CONTENT, "ä" * 127),
    }
    link = site.put(backend, CONTENT)
    bare = link.rpartition("/")[0]
    asked = [*files.values(), bare, f"{bare}/an%20old%20name", f"{link}?download=1"]
    for url in asked:
        assert _redirected(site, "GET", url, {}) == (url != files["empty"])
        assert_alike(site, "GET", url, {})


def test_a_file_that_is_gone_is_a_404_of_the_service(site: Site) -> None:
    link = site.put("local", CONTENT)
    file_id = link.split("/")[2]
    assert ask(site.nginx, "DELETE", f"/api/files/{file_id}", {})[0] == 204
    assert_alike(site, "GET", link, {})
    assert ask(site.nginx, "GET", link, {})[0] == 404


def test_what_a_client_announces_does_not_count(site: Site, link: str) -> None:
    expected = ask(site.nginx, "GET", link, {})
    for announced in ("", "nothing", "local s3 archive"):
        assert ask(site.nginx, "GET", link, {"X-Holdall-Accel": announced}) == expected


def test_the_internal_locations_are_closed_to_clients(site: Site, link: str) -> None:
    inside = dict(ask(site.service.port, "GET", link, ANNOUNCED)[1])["x-accel-redirect"]
    assert inside.startswith("/_holdall/")
    for path in (
        inside,
        f"/{inside}",
        f"/uploads/..{inside}",
        inside.replace("_", "%5f"),
        inside.replace("/_holdall/", "/_holdall//"),
        f"/_holdall/local/../local/{inside.partition('local/')[2]}",
        "/_holdall/",
        "/_holdall",
    ):
        status, _, body = ask(site.nginx, "GET", path, {"X-Accel-Redirect": inside})
        assert status == 404, path
        assert CONTENT[:20] not in body


def test_a_client_does_not_choose_the_address_that_counts(site: Site) -> None:
    asked = uuid4().hex
    ask(site.nginx, "GET", "/api/files", {"X-Request-ID": asked, "X-Forwarded-For": "192.0.2.7"})
    lines = map(json.loads, site.service.log.read_text().splitlines())
    clients = [line["client"] for line in lines if line.get("request_id") == asked]
    assert clients == ["127.0.0.1"]


def test_nginx_logs_no_signature_and_no_token(site: Site) -> None:
    secret = uuid4().hex
    for path in (
        f"/uploads/{'a' * 26}/a.txt?disposition=inline&expires=1&signature={secret}",
        f"/api/tus?link={secret}",
        f"/api/direct/by/{secret}/s3/params?filename=a.txt&type=text/plain",
        f"//api//direct/by/{secret}/s3/params",
    ):
        ask(site.nginx, "GET", path, {"Referer": f"http://x/?link={secret}"})
    logged = (site.service.data.parent / "access.log").read_text()
    assert f'"GET /uploads/{"a" * 26}/a.txt"' in logged
    assert secret not in logged


@pytest.mark.parametrize("backend", ["local", "s3"])
def test_bytes_that_nginx_cannot_find_are_an_error_that_no_cache_keeps(
    site: Site, tmp_path: Path, backend: str
) -> None:
    link = site.put(backend, CONTENT)
    tmp_path.chmod(0o755)
    (closed,) = free_ports(1)
    lost = tmp_path / "empty"
    with nginx(tmp_path, service=site.service.port, store=closed, uploads=lost) as port:
        status, told, body = ask(port, "GET", link, {})
    headers = dict(told)
    assert (status, json.loads(body)["code"]) == (503, "storage_unavailable")
    assert (headers["cache-control"], headers["retry-after"]) == ("no-store", "5")
    assert headers["content-type"].startswith("application/json")
    assert not headers.keys() & {"etag", "last-modified", "repr-digest", "content-disposition"}


def test_an_upload_arrives_while_it_is_sent(site: Site) -> None:
    half = b"x" * 2_000_000
    request = "PUT /api/upload/large.bin?collection=on-local HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    head = f"{request}Content-Length: {2 * len(half)}\r\nConnection: close\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", site.nginx), timeout=20) as connection:
        connection.sendall(head + half)
        _wait_for(site, ".tmp", 1_000_000)
        connection.sendall(half)
        assert connection.recv(64).startswith(b"HTTP/1.1 201 ")


def _wait_for(site: Site, folder: str, size: int) -> None:
    """Wait until the service holds `size` bytes of an upload that is not over."""
    deadline = time.monotonic() + 10
    where = site.service.data / "uploads" / folder
    while not any(path.stat().st_size >= size for path in where.glob("*")):
        assert time.monotonic() < deadline, "nothing has come of what was sent"
        time.sleep(0.05)


def test_an_upload_that_is_too_large_is_refused_before_it_has_come(site: Site) -> None:
    head = b"PUT /api/upload/huge.bin HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    with socket.create_connection(("127.0.0.1", site.nginx), timeout=20) as connection:
        connection.sendall(head + b"Content-Length: 1000000000000\r\n\r\n")
        assert connection.recv(64).startswith(b"HTTP/1.1 413 ")


def test_locations_are_relative_behind_a_proxy(site: Site) -> None:
    status, told, _ = ask(site.nginx, "PUT", "/api/upload/a.txt", {}, b"text")
    assert (status, dict(told)["location"][:9]) == (201, "/uploads/")
    headers = {"Tus-Resumable": "1.0.0", "Upload-Length": "4"}
    status, told, _ = ask(site.nginx, "POST", "/api/tus", headers, b"")
    assert (status, dict(told)["location"][:9]) == (201, "/api/tus/")


def test_a_link_swapped_into_the_folder_leads_nowhere(site: Site, tmp_path: Path) -> None:
    link = site.put("local", CONTENT)
    path = dict(ask(site.service.port, "GET", link, ANNOUNCED)[1])["x-accel-redirect"]
    shard = path.split("/")[3]
    tmp_path.chmod(0o755)
    swapped = tmp_path / "uploads"
    swapped.mkdir()
    (swapped / shard).symlink_to(site.service.data / "uploads" / shard)
    with nginx(tmp_path, service=site.service.port, store=1, uploads=swapped) as port:
        status, _, body = ask(port, "GET", link, {})
    assert (status, json.loads(body)["code"]) == (503, "storage_unavailable")


def test_an_interim_response_does_not_stand_in_the_way(site: Site) -> None:
    headers = {
        "Upload-Draft-Interop-Version": "8",
        "Upload-Complete": "?1",
        "Upload-Length": str(SIZE),
    }
    status, told, _ = ask(site.nginx, "POST", "/api/tus", headers, CONTENT)
    assert status == 201
    link = dict(told)["upload-file-url"]
    assert ask(site.nginx, "GET", link, {})[2] == CONTENT


def test_tus_goes_on_behind_nginx_where_a_broken_request_ended(site: Site) -> None:
    version = {"Tus-Resumable": "1.0.0"}
    where = "/api/tus?collection=on-local"
    made = ask(site.nginx, "POST", where, version | {"Upload-Length": str(SIZE)}, b"")
    path = dict(made[1])["location"]
    patch = version | {"Content-Type": "application/offset+octet-stream"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in patch.items())
    head = f"PATCH {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}"
    head += f"Upload-Offset: 0\r\nContent-Length: {SIZE}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", site.nginx), timeout=20) as connection:
        connection.sendall(head.encode() + CONTENT[:100_000])
        _wait_for(site, ".unfinished", 1)
    offset = int(dict(ask(site.nginx, "HEAD", path, version)[1])["upload-offset"])
    assert 0 < offset <= 100_000
    status, told, _ = ask(
        site.nginx, "PATCH", path, patch | {"Upload-Offset": str(offset)}, CONTENT[offset:]
    )
    assert (status, dict(told)["upload-offset"]) == (204, str(SIZE))
    assert ask(site.nginx, "GET", dict(told)["upload-file-url"], {})[2] == CONTENT
