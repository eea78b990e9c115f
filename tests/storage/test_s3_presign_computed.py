"""What a presigned request is made of: the same bytes everywhere, and nothing is contacted."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from storage.errors import InvalidKey, ObjectNotFound, StorageUnavailable
from storage.s3 import S3Storage

KEY = "k7/k7object"
SIGNED_AT = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
AN_HOUR = 3600


def unreachable(public_endpoint: str | None = None) -> S3Storage:
    """Open a storage at an address that nothing has (RFC 5737)."""
    return S3Storage.from_url(
        "s3://bucket/some/prefix?endpoint=http://192.0.2.1:1&region=garage",
        scratch=Path("/nonexistent"),
        access_key_id="an-id",
        secret_access_key="a-secret",
        public_endpoint=public_endpoint,
    )


@pytest.fixture
def storage() -> Iterator[S3Storage]:
    with closing(unreachable()) as storage:
        yield storage


def everything_signed() -> list[object]:
    """Sign one of each with the same arguments, from a storage made anew."""
    with closing(unreachable("https://files.example")) as storage:
        return [
            storage.presign_get(
                KEY,
                signed_at=SIGNED_AT,
                expires_in=AN_HOUR,
                content_type="text/plain",
                disposition="inline",
            ),
            storage.presign_put(
                KEY, size=5, content_type="text/plain", signed_at=SIGNED_AT, expires_in=AN_HOUR
            ),
            storage.presign_post(
                KEY, largest=5, content_type=None, signed_at=SIGNED_AT, expires_in=AN_HOUR
            ),
            storage.presign_part(KEY, "0" * 26 + "id", 7, signed_at=SIGNED_AT, expires_in=AN_HOUR),
        ]


def test_every_process_signs_the_same_bytes() -> None:
    here = everything_signed()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        assert process.submit(everything_signed).result() == here
    assert "X-Amz-Date=20260102T030405Z&X-Amz-Expires=3600&" in str(here[0])
    assert "%2F20260102%2Fgarage%2Fs3%2F" in str(here[0])
    assert "a-secret" not in str(here)


def test_a_date_is_read_in_its_time_zone(storage: S3Storage) -> None:
    elsewhere = SIGNED_AT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    one, two = (
        storage.presign_put(KEY, size=1, content_type="a/b", signed_at=date, expires_in=60)
        for date in (SIGNED_AT, elsewhere)
    )
    assert one == two
    assert one.expires_at == datetime(2026, 1, 2, 3, 5, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("parameters", "public_endpoint", "expected"),
    [
        ("", None, "https://s3.amazonaws.com/bucket/"),
        ("region=eu-west-1", None, "https://s3.eu-west-1.amazonaws.com/bucket/"),
        (
            "region=eu-west-1&path_style=false",
            None,
            "https://bucket.s3.eu-west-1.amazonaws.com/",
        ),
        ("endpoint=http://store:9000", None, "http://store:9000/bucket/"),
        ("endpoint=http://store:9000", "https://s3.example", "https://s3.example/bucket/"),
        (
            "endpoint=http://store:9000&path_style=false",
            "https://s3.example:8443",
            "https://bucket.s3.example:8443/",
        ),
        (
            "endpoint=http://store:9000",
            "https://s3.example/store",
            "https://s3.example/store/bucket/",
        ),
    ],
)
def test_the_bucket_stands_where_the_style_says(
    tmp_path: Path, parameters: str, public_endpoint: str | None, expected: str
) -> None:
    storage = S3Storage.from_url(
        f"s3://bucket/prefix?{parameters}",
        scratch=tmp_path,
        access_key_id="an-id",
        secret_access_key="a-secret",
        public_endpoint=public_endpoint,
    )
    with closing(storage):
        when: dict[str, Any] = {"signed_at": SIGNED_AT, "expires_in": 60}
        signed = storage.presign_put(KEY, size=1, content_type="a/b", **when)
        assert signed.url.startswith(f"{expected}prefix/{KEY}?")
        form = storage.presign_post(KEY, largest=1, content_type=None, **when)
        assert f"{form.url}/" == expected
        assert form.fields["key"] == f"prefix/{KEY}"


def test_temporary_credentials_put_their_token_into_what_is_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "an-id"),
        ("AWS_SECRET_ACCESS_KEY", "a-secret"),
        ("AWS_SESSION_TOKEN", "a+token"),
    ):
        monkeypatch.setenv(name, value)
    with closing(S3Storage.from_url("s3://bucket", scratch=tmp_path)) as storage:
        when: dict[str, Any] = {"signed_at": SIGNED_AT, "expires_in": 60}
        url = storage.presign_put(KEY, size=1, content_type="a/b", **when).url
        assert "&X-Amz-Security-Token=a%2Btoken&" in url
        fields = storage.presign_post(KEY, largest=1, content_type=None, **when).fields
        assert fields["x-amz-security-token"] == "a+token"


def test_without_credentials_nothing_is_signed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with (
        closing(S3Storage.from_url("s3://bucket", scratch=tmp_path)) as storage,
        pytest.raises(StorageUnavailable, match="no credentials"),
    ):
        storage.presign_put(KEY, size=1, content_type="a/b", signed_at=SIGNED_AT, expires_in=60)


def test_what_cannot_be_signed_is_refused(storage: S3Storage) -> None:
    when: dict[str, Any] = {"signed_at": SIGNED_AT, "expires_in": 60}
    wrongs: tuple[dict[str, Any], ...] = (
        {"expires_in": 0},
        {"expires_in": -1},
        {"expires_in": 604_801},
        {"signed_at": SIGNED_AT.replace(tzinfo=None)},
        {"size": -1},
        {"content_type": ""},
        {"content_type": "text/plain\r\nx-amz-acl: public-read"},
        {"content_type": "text/pläin"},
    )
    for wrong in wrongs:
        with pytest.raises(ValueError, match=r"seconds|time zone|PUT|ASCII"):
            storage.presign_put(KEY, **{"size": 1, "content_type": "a/b", **when, **wrong})
    with pytest.raises(ValueError, match="ASCII"):
        storage.presign_get(KEY, content_type="a/b", disposition='inline; filename="€"', **when)
    with pytest.raises(ValueError, match="0 bytes"):
        storage.presign_post(KEY, largest=-1, content_type=None, **when)
    for number in (0, 10_001):
        with pytest.raises(ValueError, match="numbered"):
            storage.presign_part(KEY, "0" * 26 + "id", number, **when)
    for upload_id in ("", "short", "0" * 26 + "..", "0" * 26 + "a&partNumber=2"):
        with pytest.raises(ObjectNotFound):
            storage.presign_part(KEY, upload_id, 1, **when)
    with pytest.raises(InvalidKey):
        storage.presign_put("../passwd", size=1, content_type="a/b", **when)
    storage.presign_put(KEY, size=1, content_type="a/b", signed_at=SIGNED_AT, expires_in=604_800)


@pytest.mark.parametrize("endpoint", ["files.example", "ftp://files.example", "https://a:b@c", "/"])
def test_a_public_endpoint_that_is_no_address_is_told_at_the_start(
    tmp_path: Path, endpoint: str
) -> None:
    with pytest.raises(ValueError, match="public endpoint"):
        S3Storage.from_url("s3://bucket", scratch=tmp_path, public_endpoint=endpoint)


def test_a_key_stands_in_the_url_as_it_is(storage: S3Storage) -> None:
    url = storage.presign_put(
        KEY, size=1, content_type="a/b", signed_at=SIGNED_AT, expires_in=60
    ).url
    assert urlsplit(url).path.endswith(f"/{KEY}")
