"""What a real browser makes of hostile files and hostile pages: nothing that harms.

That the attacks are real is part of each test: against a server that is careless, or where the
page's origin is listed, they succeed.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from tests.clients.driving import HERE
from tests.clients.hostile import CONTROL, Hostile, document, files, scripts
from tests.clients.stage import Stage, staging
from tests.clients.test_uppy import browsing
from tests.support.service import Service, running

EMBEDDING = (HERE / "embedding.html").read_bytes()
WRITING = (HERE / "writing.html").read_bytes()
WITH_WINDOWS = "--disable-popup-blocking"
REBOUND = "evil.test"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service on this machine that is open to all, and lists no origin."""
    folder = tmp_path_factory.mktemp("safety")
    with running(folder, WEB_CONCURRENCY="1") as service:
        yield service


def upload(service: Service, file: Hostile) -> str:
    """Upload a file as its sender would have it taken, and return its link."""
    answer = service.request(
        "PUT", f"/api/upload/{quote(file.name)}", file.content, Content_Type=file.careless_type
    )
    assert answer.status == 201, answer.body
    return str(answer.json()["url"])


def ask(stage: Stage, profile: Path, host: str, *options: str, **asked: Any) -> Any:
    """Open the stage's page under a host's name, and return what it tells."""
    query = urlencode({"asked": json.dumps(asked)})
    url = f"http://{host}:{stage.server_port}/?{query}"
    with browsing(url, profile, *options):
        return stage.told.get(timeout=90)


@pytest.mark.parametrize("same_origin", [False, True], ids=["elsewhere", "same origin"])
def test_an_uploaded_file_runs_nothing_in_whatever_way_it_is_opened(
    service: Service, tmp_path: Path, same_origin: bool
) -> None:
    with staging(EMBEDDING, service.port) as stage:
        base = stage.origin if same_origin else service.url
        shown, loaded = files(stage.origin, base), scripts(stage.origin, base)
        links = {
            file.name: upload(service, file) for file in (*shown, *loaded, document(stage.origin))
        }
        controls = files(stage.origin, base, CONTROL), scripts(stage.origin, base, CONTROL)
        stage.careless = {file.name: file for kind in controls for file in kind}
        awaited = [CONTROL + by for by in ("html", "png", "svg", "xhtml", "xslt", "js", "gif")]
        told = ask(
            stage,
            tmp_path / "profile",
            "127.0.0.1",
            WITH_WINDOWS,
            shown=[base + link for link in links.values()],
            scripts=[base + links[file.name] for file in loaded],
            careless={
                "shown": [f"{stage.origin}/careless/{file.name}" for file in shown],
                "scripts": [f"{stage.origin}/careless/{file.name}" for file in loaded],
            },
            awaited=awaited,
        )
    ran = set(stage.ran)
    assert ran >= set(awaited), "the files do run where a server is careless"
    assert {by for by in ran if not by.startswith(CONTROL)} == set()
    assert told["refused"].count("service worker") == len(loaded)


def write(service: Service, stage: Stage, profile: Path, host: str, *options: str, at: str) -> Any:
    """Have the stage's page write to the service at `at`; return what it tells."""
    kept = service.request("PUT", "/api/upload/kept.txt", b"kept").json()
    told = ask(stage, profile, host, *options, service=at, id=kept["id"])
    told["kept"] = service.request("GET", kept["url"]).status == 200
    return told


ASKED_FIRST = ("cors put", "cors delete", "cors delete many", "cors tus")
SENT_AT_ONCE = (
    "no-cors form",
    "no-cors text",
    "cors form",
    "credentials",
    "read",
    "read as null",
)


def test_a_page_of_another_site_changes_nothing_and_reads_nothing(
    service: Service, tmp_path: Path
) -> None:
    before = service.listing()["total"]
    with staging(WRITING) as stage:
        told = write(service, stage, tmp_path / "profile", "127.0.0.1", at=service.url)
    for way in (*ASKED_FIRST, *SENT_AT_ONCE):
        assert told[way] == "TypeError", way
    assert told["xhr"] == 0
    assert told["kept"]
    assert service.listing()["total"] == before + 1, "the one that the test itself uploaded"


def test_a_page_of_a_listed_origin_writes_so_the_attacks_are_real(tmp_path: Path) -> None:
    with (
        staging(WRITING) as stage,
        running(tmp_path, WEB_CONCURRENCY="1", CORS_ORIGINS=stage.origin) as service,
    ):
        told = write(service, stage, tmp_path / "profile", "127.0.0.1", at=service.url)
        assert (told["cors form"], told["cors put"], told["xhr"]) == (201, 201, 201)
        assert (told["cors delete"], told["cors tus"]) == (204, 201)
        assert told["read"] == told["credentials"] == "TypeError", "no cookie goes across origins"
        assert told["read as null"] == "TypeError", "the origin null is never listed"
        assert not told["kept"]
        assert service.listing()["total"] >= 6


def test_a_name_that_was_made_to_lead_to_the_service_gives_its_page_nothing(
    service: Service, tmp_path: Path
) -> None:
    before = service.listing()["total"]
    with staging(WRITING, service.port) as stage:
        at = f"http://{REBOUND}:{stage.server_port}"
        told = write(
            service,
            stage,
            tmp_path / "profile",
            REBOUND,
            f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1",
            at=at,
        )
    for way in (*ASKED_FIRST, "cors form", "credentials", "read", "no-cors form", "xhr"):
        assert told[way] == 403, way
    assert told["kept"]
    assert service.listing()["total"] == before + 1
