"""The URL of an S3 storage: every mistake in it is named."""

from pathlib import Path

import pytest

from storage import open_storage
from storage.s3 import S3Storage
from storage.s3_options import S3Options


def test_a_url_says_everything(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_text("certificates")
    options = S3Options.from_url(
        "s3://files/some/folder?endpoint=http://host:9000&region=garage&path_style=false"
        "&create_bucket=true&part_size=16777216&connect_timeout=1.5&read_timeout=20"
        f"&max_attempts=5&pool=10&ca_bundle={bundle}&checksums=when_supported"
    )
    assert options == S3Options(
        bucket="files",
        prefix="some/folder/",
        endpoint="http://host:9000",
        region="garage",
        path_style=False,
        create_bucket=True,
        part_size=16_777_216,
        connect_timeout=1.5,
        read_timeout=20,
        max_attempts=5,
        pool=10,
        ca_bundle=bundle,
        checksums="when_supported",
    )


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("s3://files?endpont=http://host", "endpont"),
        ("s3://files?endpoint=host:9000", "endpoint"),
        ("s3://files?endpoint=http://user:word@host", "endpoint"),
        ("s3://files?endpoint=http://host:99999", "endpoint"),
        ("s3://files?region=", "region"),
        ("s3://files?path_style=yes", "path_style"),
        ("s3://files?create_bucket=1", "create_bucket"),
        ("s3://files?part_size=5242879", "part_size"),
        ("s3://files?part_size=8MiB", "part_size"),
        ("s3://files?connect_timeout=0", "connect_timeout"),
        ("s3://files?read_timeout=-1", "read_timeout"),
        ("s3://files?max_attempts=0", "max_attempts"),
        ("s3://files?pool=many", "pool"),
        ("s3://files?pool=1&pool=2", "pool"),
        ("s3://files?ca_bundle=/no/such/file", "ca_bundle"),
        ("s3://files?checksums=never", "checksums"),
        ("s3://?region=auto", "bucket"),
        ("s3://a/b", "bucket"),
        ("s3://files/../other", "prefix"),
        ("s3://files/a//b", "prefix"),
        ("s3://key:word@files", "credentials"),
        ("s3://files#part", "fragment"),
    ],
)
def test_a_mistake_in_a_url_is_named(url: str, name: str) -> None:
    with pytest.raises(ValueError, match=name) as caught:
        S3Options.from_url(url)
    assert "word" not in str(caught.value)


def test_a_key_without_its_secret_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="secret"):
        open_storage("s3://files", scratch=tmp_path, access_key_id="id")


def test_the_public_endpoint_is_kept_and_nothing_is_contacted(tmp_path: Path) -> None:
    storage = S3Storage.from_url(
        "s3://files?endpoint=http://127.0.0.1:9",
        scratch=tmp_path,
        public_endpoint="https://files.example",
    )
    assert storage.public_endpoint == "https://files.example"
    storage.close()
