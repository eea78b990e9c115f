"""tuspy from PyPI against the service, every request of it with a checksum (SHA-1)."""

from pathlib import Path
from typing import Any

import pytest

from tests.clients.driving import check_served, content_of, file_of, tuspy
from tests.clients.gate import Gate
from tests.support.service import Service

MIB = 1024**2
CONTENT = content_of(6 * MIB + 77)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return file_of(tmp_path, CONTENT)


def test_it_uploads_in_chunks(service: Service, path: Path) -> None:
    said = {"filename": "größer.bin", "filetype": "text/plain"}
    told = tuspy(service.url, path, uploader={"chunk_size": MIB, "metadata": said})
    file = check_served(service, told["url"], CONTENT)
    assert (file["filename"], file["declared_type"]) == ("größer.bin", "text/plain")


def test_another_process_goes_on_with_the_stored_url(
    service: Service, path: Path, tmp_path: Path
) -> None:
    wanted: dict[str, Any] = {
        "storage": str(tmp_path / "urls.json"),
        "uploader": {"chunk_size": MIB},
    }
    first = tuspy(service.url, path, stop_at=3 * MIB, **wanted)
    assert first["offset"] == 3 * MIB
    second = tuspy(service.url, path, **wanted)
    assert (second["url"], second["begun_at"]) == (first["url"], 3 * MIB)
    check_served(service, first["url"], CONTENT)


def test_of_a_request_with_a_checksum_a_cut_leaves_nothing(
    service: Service, gate: Gate, path: Path
) -> None:
    gate.after(3 * MIB - 1000, gate.cut_all)
    told = tuspy(gate.url, path, uploader={"chunk_size": 2 * MIB, "retries": 5})
    check_served(service, told["url"], CONTENT)
