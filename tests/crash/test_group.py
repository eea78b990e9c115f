"""The service is killed while uploads share a commit: what was answered is there, and whole."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.conftest import Deployment
from tests.crash.stage import Stage, staged
from tests.support.preloaded import Nursery
from tests.support.service import Answer

TOGETHER = 8
FORM = {"Content_Type": "multipart/form-data; boundary=b"}


@pytest.fixture(scope="module")
def stage(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    here = Deployment("local-sqlite", {})
    with staged(tmp_path_factory.mktemp("stage"), nursery, here) as started:
        yield started


def upload(stage: Stage, name: str, content: bytes) -> Answer | None:
    disposition = f'Content-Disposition: form-data; name="file"; filename="{name}"'
    body = f"--b\r\n{disposition}\r\n\r\n".encode() + content + b"\r\n--b--\r\n"
    try:
        return stage.ask("POST", "/api/upload", body, **FORM)
    except (OSError, HTTPException):
        return None


@pytest.mark.parametrize("point", ("ingest-inserted:2", "ingest-committed:3"))
def test_what_was_answered_outlives_a_kill(stage: Stage, tmp_path: Path, point: str) -> None:
    files = {stage.name(): stage.content(4_000) for _ in range(TOGETHER)}
    first, *others = files.items()
    with ThreadPoolExecutor(TOGETHER) as pool, stage.dying(point):
        answers = [upload(stage, *first)]
        answers += pool.map(lambda file: upload(stage, *file), others)
    assert answers[0] is not None and answers[0].status == 201
    listed = {each["filename"]: each for each in stage.service.listing()["items"]}
    for answer, (name, content) in zip(answers, files.items(), strict=True):
        if answer is not None and answer.status == 201:
            assert answer.json() == listed[name]
        if name in listed:
            stage.keep(listed[name], content)
    stage.require_sound()
