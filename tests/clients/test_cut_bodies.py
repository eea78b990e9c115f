"""Bodies that end early, at each of their bytes: what arrived is kept, the rest makes the file."""

import hashlib
import http.client
import json
import socket
import struct
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.clients.driving import OFFSET_TYPE, TUS, content_of, wait_until_read
from tests.support.service import Service

SMALL = content_of(150)
SNIFFED = 8 * 1024
"""Bytes from which a type is told: until they are there, nothing is stored."""
RESET = struct.pack("ii", 1, 0)


class Cut:
    """An upload of `content` whose bodies are cut; a connection of its own asks in between."""

    def __init__(self, service: Service, content: bytes) -> None:
        self._port = service.port
        self._content = content
        self._connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        created = self._ask("POST", "/api/tus", Upload_Length=str(len(content)))
        self._path = created.headers["Location"]
        self.offset = 0

    def send(self, body: bytes, *framing: str, reset: bool = False) -> int:
        """Send the head of a PATCH and `body`, break off, and return the offset that HEAD tells."""
        lines = (
            f"PATCH {self._path} HTTP/1.1",
            "Host: localhost",
            "Tus-Resumable: 1.0.0",
            f"Upload-Offset: {self.offset}",
            f"Content-Type: {OFFSET_TYPE}",
            *(framing or (f"Content-Length: {len(self._content) - self.offset}",)),
        )
        head = "\r\n".join((*lines, "", "")).encode()
        with socket.create_connection(("127.0.0.1", self._port), timeout=30) as connection:
            connection.sendall(head + body)
            if reset:
                wait_until_read(connection)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            else:
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
        told = self._ask("HEAD", self._path)
        assert told.status == 200
        self.offset = int(told.headers["Upload-Offset"])
        return self.offset

    def end(self) -> Any:
        """Send the rest, check that the link serves the content, and return the file."""
        answer = self._ask(
            "PATCH",
            self._path,
            self._content[self.offset :],
            Upload_Offset=str(self.offset),
            Content_Type=OFFSET_TYPE,
            Prefer="return=representation",
        )
        assert answer.status == 200, self.body
        file = json.loads(self.body)
        assert file["sha256"] == hashlib.sha256(self._content).hexdigest()
        self._ask("GET", file["url"])
        assert self.body == self._content
        self._connection.close()
        return file

    def _ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> http.client.HTTPResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, path, body, TUS | named)
        response = self._connection.getresponse()
        self.body = response.read()
        return response


def cut_at(service: Service, content: bytes, *cuts: int) -> Any:
    """Cut the body at each of `cuts`, check that all before it was kept, and send the rest."""
    upload = Cut(service, content)
    for cut in cuts:
        assert upload.send(content[upload.offset : cut]) == cut
    return upload.end()


def chunked(content: bytes, size: int) -> bytes:
    """Return a content in chunks as they stand on the wire, without the one that ends it."""
    pieces: Iterable[bytes] = (content[at : at + size] for at in range(0, len(content), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


def test_a_small_body_is_cut_at_every_byte(service: Service) -> None:
    step = 5 if "STORAGE_S3_URL" in service.variables else 1
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda cut: cut_at(service, SMALL, cut), range(0, len(SMALL), step)))


def test_a_body_is_cut_where_the_type_is_told(service: Service) -> None:
    content = b"%PDF-1.7\n" + content_of(SNIFFED)
    for cuts in (
        (1, 2, 3),
        (SNIFFED - 1,),
        (SNIFFED,),
        (SNIFFED + 1,),
        (4, SNIFFED - 1, SNIFFED, SNIFFED + 1, len(content) - 1),
    ):
        assert cut_at(service, content, *cuts)["content_type"] == "application/pdf"


def test_chunks_are_cut_at_every_byte(service: Service) -> None:
    content = SMALL[:20]
    wire = chunked(content, 7)

    def cut(at: int) -> None:
        upload = Cut(service, content)
        arrived = upload.send(wire[:at], "Transfer-Encoding: chunked")
        assert arrived <= at
        assert len(chunked(content[:arrived], 7)) <= at + 4
        upload.end()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(cut, range(len(wire))))


def test_a_reset_keeps_what_arrived(service: Service) -> None:
    content = content_of(200_000)
    for cut in (100_000, 199_999):
        upload = Cut(service, content)
        assert upload.send(content[:cut], reset=True) == cut
        upload.end()
