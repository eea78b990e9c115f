"""docs/direct.md: its curls work, buckets take its rules, and its requests are all there."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from routes import ROUTES
from storage.s3_session import new_session
from tests.conftest import s3_variables
from tests.packaging.working import ROOT, running
from tests.support.servers import S3Server

GUIDE = (ROOT / "docs" / "direct.md").read_text()


@pytest.mark.parametrize("storage", ("local", "s3"))
def test_the_curls_of_the_guide_work(
    storage: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    section = GUIDE.partition("\n## With curl")[2].partition("\n## ")[0]
    script = "\n".join(re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL))
    variables = s3_variables(request) if storage == "s3" else {}
    with running(tmp_path, **variables) as (_, address):
        assert "HOLDALL=http://127.0.0.1:5000" in script
        done = subprocess.run(
            ["bash", "-euxo", "pipefail"],
            input='curl() { command curl -sS --fail-with-body "$@"; }\n'
            + script.replace("http://127.0.0.1:5000", address),
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"size":3000000' in done.stdout


def test_every_request_of_the_guide_is_one_and_none_is_left_out() -> None:
    urls = {route.url for route in ROUTES if route.url.startswith("/api/direct")}
    named = set(re.findall(r"`(?:[A-Z]+ )?(/api/direct[\w/<>]*)", GUIDE))
    assert urls <= named
    assert {url for url in named if "<token>" not in url} - urls == {"/api/direct/s3"}


def test_a_bucket_takes_the_rules_of_the_guide(s3_server: S3Server) -> None:
    cors, lifecycle = (
        json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", GUIDE, re.M | re.S)
    )
    client: Any = new_session().client(
        "s3",
        endpoint_url=s3_server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=s3_server.access_key_id,
        aws_secret_access_key=s3_server.secret_access_key,
    )
    try:
        client.create_bucket(Bucket="guide-direct")
        client.put_bucket_cors(Bucket="guide-direct", CORSConfiguration=cors)
        client.put_bucket_lifecycle_configuration(
            Bucket="guide-direct", LifecycleConfiguration=lifecycle
        )
    finally:
        client.close()


def test_the_links_of_the_guide_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#][^)]*)\)", GUIDE):
        assert target.startswith("https://") or (ROOT / "docs" / target).exists(), target
