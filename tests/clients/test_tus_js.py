"""tus-js-client from npm against the service: each way it has to upload, and what it survives."""

from pathlib import Path

import pytest

from tests.clients.driving import check_served, content_of, file_of, head, tus_js
from tests.clients.gate import Gate
from tests.support.service import Service

MIB = 1024**2
CONTENT = content_of(7 * MIB + 321)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of more than one part and not of whole ones."""
    return file_of(tmp_path, CONTENT)


def test_it_uploads_in_chunks(service: Service, path: Path) -> None:
    told = tus_js(service.url, path, options={"chunkSize": 2 * MIB})
    assert told.ended == "done", told.failed
    assert [request["status"] for request in told.sent("PATCH")] == [204] * 4
    check_served(service, told.url, CONTENT)


def test_it_uploads_in_the_request_that_creates(service: Service, path: Path) -> None:
    told = tus_js(service.url, path, options={"uploadDataDuringCreation": True})
    assert told.ended == "done", told.failed
    assert [request["request"] for request in told.requests] == ["POST"]
    check_served(service, told.url, CONTENT)


def test_it_goes_on_where_a_cut_left_off(service: Service, gate: Gate, path: Path) -> None:
    gate.after(3 * MIB, gate.cut_all)
    # Who comes back at once ends the reading of what has arrived.
    told = tus_js(gate.url, path, options={"retryDelays": [2000, 2000]})
    assert told.ended == "done", told.failed
    offset = int(told.sent("HEAD")[-1]["to"])
    assert 2 * MIB < offset < 3 * MIB, "what arrived before the cut was kept"
    assert told.sent("PATCH")[-1]["from"] == str(offset)
    assert len(told.sent("POST")) == 1
    check_served(service, told.url, CONTENT)


def test_it_survives_many_cuts(service: Service, gate: Gate, path: Path) -> None:
    for count in range(500_000, len(CONTENT), 700_000):
        gate.after(count, gate.cut_all)
    told = tus_js(gate.url, path, options={"chunkSize": 1_000_000})
    assert told.ended == "done", told.failed
    assert len(told.sent("POST")) == 1
    check_served(service, told.url, CONTENT)


def test_another_process_goes_on_with_the_stored_url(
    service: Service, gate: Gate, path: Path, tmp_path: Path
) -> None:
    storage = str(tmp_path / "urls.json")
    gate.after(4 * MIB, gate.cut_all)
    options = {"chunkSize": 3 * MIB, "retryDelays": None}
    first = tus_js(gate.url, path, storage=storage, options=options)
    assert first.failed and not first.ended
    second = tus_js(gate.url, path, storage=storage, options=options)
    assert second.ended == "done", second.failed
    assert not second.sent("POST")
    assert int(second.sent("HEAD")[0]["to"]) > 3 * MIB
    check_served(service, first.url, CONTENT)


def test_it_uploads_in_parallel_and_joins(service: Service, path: Path) -> None:
    options = {"parallelUploads": 3, "metadata": {"filename": "joined.bin"}}
    told = tus_js(service.url, path, options=options)
    assert told.ended == "done", told.failed
    assert len(told.sent("POST")) == 4
    file = check_served(service, told.url, CONTENT)
    assert file["filename"] == "joined.bin"


def test_it_tells_the_length_at_the_end(service: Service, path: Path) -> None:
    options = {"uploadLengthDeferred": True, "chunkSize": 2 * MIB}
    told = tus_js(service.url, path, stream=True, options=options)
    assert told.ended == "done", told.failed
    check_served(service, told.url, CONTENT)


def test_it_patches_with_post(service: Service, path: Path) -> None:
    options = {"overridePatchMethod": True, "chunkSize": 3 * MIB}
    told = tus_js(service.url, path, options=options)
    assert told.ended == "done", told.failed
    assert not told.sent("PATCH")
    assert [r["status"] for r in told.sent("POST") if r["override"] == "PATCH"] == [204] * 3
    check_served(service, told.url, CONTENT)


def test_what_it_says_of_the_file_is_kept(service: Service, path: Path) -> None:
    said = {"filename": "Grüße 漢字 🎉.bin", "filetype": "image/png", "Ort": "Zürich", "empty": ""}
    told = tus_js(service.url, path, options={"metadata": said})
    assert told.ended == "done", told.failed
    file = check_served(service, told.url, CONTENT)
    assert (file["filename"], file["declared_type"]) == (said["filename"], "image/png")
    assert file["metadata"] == {"Ort": "Zürich", "empty": ""}


def test_it_ends_an_upload(service: Service, path: Path) -> None:
    before = service.listing()["total"]
    options = {"chunkSize": MIB}
    told = tus_js(service.url, path, stopAt=6 * MIB, terminate=True, options=options)
    assert told.ended == "stopped", told.failed
    assert head(service, "/api/tus/" + told.url.rpartition("/")[2]).status_code in (404, 410)
    assert service.listing()["total"] == before


@pytest.mark.parametrize("draft", ("ietf-draft-03", "ietf-draft-05"))
def test_it_speaks_a_draft(service: Service, path: Path, draft: str) -> None:
    told = tus_js(service.url, path, options={"protocol": draft, "chunkSize": 2 * MIB})
    assert told.ended == "done", told.failed
    assert {request["status"] for request in told.sent("PATCH")} <= {201, 204}
    check_served(service, told.url, CONTENT)


@pytest.mark.parametrize("draft", ("ietf-draft-03", "ietf-draft-05"))
def test_it_goes_on_in_a_draft(service: Service, gate: Gate, path: Path, draft: str) -> None:
    gate.after(5 * MIB, gate.cut_all)
    told = tus_js(gate.url, path, options={"protocol": draft})
    assert told.ended == "done", told.failed
    assert 4 * MIB < int(told.sent("HEAD")[-1]["to"]) < 5 * MIB
    assert len(told.sent("POST")) == 1
    check_served(service, told.url, CONTENT)


@pytest.mark.parametrize("draft", ("ietf-draft-03", "ietf-draft-05"))
def test_it_tells_the_length_at_the_end_in_a_draft(
    service: Service, path: Path, draft: str
) -> None:
    options = {"protocol": draft, "uploadLengthDeferred": True, "chunkSize": 2 * MIB}
    told = tus_js(service.url, path, stream=True, options=options)
    assert told.ended == "done", told.failed
    check_served(service, told.url, CONTENT)


def test_a_file_of_nothing_is_a_file(service: Service, tmp_path: Path) -> None:
    told = tus_js(service.url, file_of(tmp_path, b""))
    assert told.ended == "done", told.failed
    check_served(service, told.url, b"")
