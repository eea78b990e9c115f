"""Every way by which a client sends a file, each as one function with the same arguments.

Each returns the answer to the request that ends the upload, or to the one that was refused.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.http.test_tus import OFFSET_TYPE, VERSION, metadata

DRAFT = {"Upload-Draft-Interop-Version": "8"}


@dataclass(frozen=True)
class Named:
    """What a client says of a file."""

    filename: str = "a.bin"
    content_type: str = ""
    collection: str | None = None

    @property
    def query(self) -> dict[str, str]:
        return {} if self.collection is None else {"collection": self.collection}

    @property
    def header(self) -> dict[str, str]:
        told = {"filename": self.filename, "filetype": self.content_type}
        told |= {} if self.collection is None else {"collection": self.collection}
        return {"Upload-Metadata": metadata(**told)}


Door = Callable[[FlaskClient, bytes, Named], TestResponse]


def form(client: FlaskClient, data: bytes, named: Named) -> TestResponse:
    file = (io.BytesIO(data), named.filename, named.content_type)
    return client.post("/api/upload", query_string=named.query, data={"file": file})


def form_field(client: FlaskClient, data: bytes, named: Named) -> TestResponse:
    file = (io.BytesIO(data), named.filename, named.content_type)
    return client.post("/api/upload", data={**named.query, "file": file})


def bare(client: FlaskClient, data: bytes, named: Named) -> TestResponse:
    return client.put(
        f"/api/upload/{named.filename}",
        query_string=named.query,
        data=data,
        environ_overrides={"CONTENT_LENGTH": str(len(data))},
        content_type=named.content_type,
    )


def chunked(client: FlaskClient, data: bytes, named: Named) -> TestResponse:
    return client.put(
        f"/api/upload/{named.filename}",
        query_string=named.query,
        input_stream=io.BytesIO(data),
        headers={"Transfer-Encoding": "chunked"},
        content_type=named.content_type,
    )


def tus(client: FlaskClient, data: bytes, named: Named) -> TestResponse:
    size = {"Upload-Length": str(len(data))}
    begun = client.post("/api/tus", headers=VERSION | size | named.header)
    return begun if begun.status_code != 201 else _append(client, begun, data)


def tus_at_once(client: FlaskClient, data: bytes, named: Named) -> TestResponse:
    said = {"Upload-Length": str(len(data)), **OFFSET_TYPE}
    return client.post("/api/tus", data=data, headers=VERSION | said | named.header)


def tus_deferred(client: FlaskClient, data: bytes, named: Named) -> TestResponse:
    deferred = {"Upload-Defer-Length": "1"}
    begun = client.post("/api/tus", headers=VERSION | deferred | named.header)
    if begun.status_code != 201:
        return begun
    return _append(client, begun, data, **{"Upload-Length": str(len(data))})


def tus_joined(client: FlaskClient, data: bytes, named: Named) -> TestResponse:
    urls, half = [], len(data) // 2
    for piece in (data[:half], data[half:]):
        said = {"Upload-Length": str(len(piece)), "Upload-Concat": "partial"}
        begun = client.post("/api/tus", headers=VERSION | said | named.header)
        if begun.status_code != 201:
            return begun
        answer = _append(client, begun, piece) if piece else begun
        if answer.status_code >= 400:
            return answer
        urls.append(begun.headers["Location"])
    joined = {"Upload-Concat": "final;" + " ".join(urls)}
    return client.post("/api/tus", headers=VERSION | joined | named.header)


def draft(client: FlaskClient, data: bytes, named: Named) -> TestResponse:
    said = {"Upload-Complete": "?1", "Upload-Length": str(len(data))}
    return client.post("/api/tus", data=data, headers=DRAFT | said | named.header)


def draft_in_pieces(client: FlaskClient, data: bytes, named: Named) -> TestResponse:
    said = {"Upload-Complete": "?0"}
    begun = client.post("/api/tus", headers=DRAFT | said | named.header)
    if begun.status_code >= 300:
        return begun
    return client.patch(
        begun.headers["Location"],
        data=data,
        headers=DRAFT | {"Upload-Complete": "?1", "Upload-Offset": "0"},
        content_type="application/partial-upload",
    )


def _append(client: FlaskClient, begun: TestResponse, data: bytes, **headers: str) -> TestResponse:
    said = VERSION | OFFSET_TYPE | {"Upload-Offset": "0"} | headers
    return client.patch(begun.headers["Location"], data=data, headers=said)


ALL: tuple[Door, ...] = (
    form,
    form_field,
    bare,
    chunked,
    tus,
    tus_at_once,
    tus_deferred,
    tus_joined,
    draft,
    draft_in_pieces,
)
EVERY_DOOR = pytest.mark.parametrize("door", ALL, ids=lambda door: door.__name__)


def file_by(client: FlaskClient, answer: TestResponse) -> dict[str, Any]:
    """Return the file that came of an upload."""
    assert answer.status_code < 300, answer.data
    file_id = answer.headers.get("Upload-File-Id")
    if file_id is None and answer.is_json:
        file_id = answer.get_json()["id"]
    if file_id is None:
        asked = client.head(answer.headers["Location"], headers=VERSION)
        file_id = asked.headers["Upload-File-Id"]
    found: dict[str, Any] = client.get(f"/api/files/{file_id}").get_json()
    return found
