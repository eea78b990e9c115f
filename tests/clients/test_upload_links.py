"""tus-js-client and Uppy upload by a signed link, with nothing set but the URL they are given."""

from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import requests

from tests.clients.driving import check_served, content_of, file_of, tus_js
from tests.clients.gate import Gate
from tests.clients.test_uppy import CONTENT as DROPPED
from tests.clients.test_uppy import NAME, Page, browsing, listing, page
from tests.support.service import Service

__all__ = ("listing", "page")

MIB = 1024**2
CONTENT = content_of(7 * MIB + 5, seed="link")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return file_of(tmp_path, CONTENT)


def link(service: Service, **asked: Any) -> str:
    """Have a link for one upload made, and return its path."""
    answer = requests.post(f"{service.url}/api/upload-links", json=asked, timeout=30)
    assert answer.status_code == 201, answer.text
    url: str = answer.json()["tus_url"]
    return url


def test_it_uploads_one_file_in_chunks_and_no_second(service: Service, path: Path) -> None:
    before = service.listing()["total"]
    options = {"endpoint": service.url + link(service), "chunkSize": 2 * MIB, "retryDelays": None}
    told = tus_js(service.url, path, options=options)
    assert told.ended == "done", told.failed
    assert "?link=" in told.url
    check_served(service, told.url, CONTENT)
    again = tus_js(service.url, path, options=options)
    assert again.failed and not again.ended
    assert {request["status"] for request in again.sent("POST")} == {410}
    assert service.listing()["total"] == before + 1


def test_it_goes_on_where_a_cut_left_off(service: Service, gate: Gate, path: Path) -> None:
    gate.after(3 * MIB, gate.cut_all)
    told = tus_js(gate.url, path, options={"endpoint": gate.url + link(service)})
    assert told.ended == "done", told.failed
    assert len(told.sent("POST")) == 1 and told.sent("HEAD")
    check_served(service, told.url, CONTENT)


def test_it_uploads_in_parallel_and_joins(service: Service, path: Path) -> None:
    options = {"endpoint": service.url + link(service), "parallelUploads": 3}
    told = tus_js(service.url, path, options=options)
    assert told.ended == "done", told.failed
    assert len(told.sent("POST")) == 4
    check_served(service, told.url, CONTENT)


def test_what_the_signer_does_not_allow_is_not_taken(service: Service, path: Path) -> None:
    before = service.listing()["total"]
    endpoint = service.url + link(service, max_size=len(CONTENT) - 1)
    told = tus_js(service.url, path, options={"endpoint": endpoint, "retryDelays": None})
    assert {request["status"] for request in told.sent("POST")} == {413}
    assert service.listing()["total"] == before


@pytest.mark.parametrize("draft", ("ietf-draft-03", "ietf-draft-05"))
def test_it_speaks_a_draft(service: Service, path: Path, draft: str) -> None:
    endpoint = service.url + link(service)
    options = {"endpoint": endpoint, "protocol": draft, "chunkSize": 2 * MIB}
    told = tus_js(service.url, path, options=options)
    assert told.ended == "done", told.failed
    assert told.sent("PATCH")
    check_served(service, told.url, CONTENT)


def test_uppy_uploads_from_a_page_elsewhere(listing: Service, page: Page, tmp_path: Path) -> None:
    endpoint = listing.url + link(listing, filename="fixed.png", expires_in=600)
    asked = {"endpoint": endpoint, "chunk": 2 * MIB, "name": NAME}
    with browsing(f"{page.origin}/?{urlencode(asked)}", tmp_path / "profile"):
        told = page.told.get(timeout=60)
    assert told.get("failed") == [], told
    (url,) = told["urls"]
    file = check_served(listing, url, DROPPED)
    assert file["filename"] == "fixed.png"
