"""Presigned requests over plain HTTP against the real SeaweedFS, which enforces all that is signed.

SeaweedFS refuses x-amz-* headers that were not signed, as AWS does. Of a form it does not look at
all fields: it takes an `acl` that the policy does not name, and another `success_action_status`
than it names; neither makes it store anything else.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from storage.capabilities import SignedForm
from storage.keys import new_key
from storage.s3 import S3Storage
from tests.storage.bucket import MIB, Bucket, store, stored
from tests.storage.plain_http import ask, post
from tests.support.servers import S3Server

AN_HOUR = 3600


@pytest.fixture(scope="module")
def bucket(s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    bucket = Bucket(s3_server, tmp_path_factory.mktemp("scratch"))
    bucket.create()
    yield bucket
    bucket.close()


@pytest.fixture(scope="module")
def public(s3_server: S3Server) -> str:
    """The server under another name than the one by which the storage knows it."""
    return f"http://localhost:{s3_server.port}"


@pytest.fixture(scope="module")
def storage(bucket: Bucket, public: str) -> S3Storage:
    return bucket.storage(public_endpoint=f"{public}/")


def now() -> datetime:
    return datetime.now(UTC)


def an_hour_ago() -> datetime:
    return now() - timedelta(seconds=AN_HOUR + 5)


def type_of(bucket: Bucket, key: str) -> str:
    return bucket.client.head_object(Bucket=bucket.name, Key=key)["ContentType"]


# Downloads


def test_a_link_answers_with_the_headers_that_were_signed(storage: S3Storage) -> None:
    key, content = new_key(), bytes(range(256)) * 1000
    store(storage, key, content)
    url = storage.presign_get(
        key,
        signed_at=now(),
        expires_in=60,
        content_type="text/plain; charset=utf-8",
        disposition="attachment; filename=\"a b.txt\"; filename*=UTF-8''%E2%82%AC.txt",
        cache_control="private, max-age=60",
    )
    status, headers, body = ask("GET", url)
    assert (status, body) == (200, content)
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert headers["Content-Disposition"] == (
        "attachment; filename=\"a b.txt\"; filename*=UTF-8''%E2%82%AC.txt"
    )
    assert headers["Cache-Control"] == "private, max-age=60"
    status, headers, body = ask("GET", url, Range="bytes=255-257")
    assert (status, headers["Content-Range"]) == (206, f"bytes 255-257/{len(content)}")
    assert body == content[255:258]


def test_nothing_of_a_link_can_be_changed(storage: S3Storage) -> None:
    key, other = new_key(), new_key()
    for name in (key, other):
        store(storage, name, b"content")
    url = storage.presign_get(
        key, signed_at=now(), expires_in=60, content_type="text/plain", disposition="attachment"
    )
    assert ask("GET", url)[0] == 200
    for before, after in (
        (key, other),
        ("text%2Fplain", "text%2Fhtml"),
        ("attachment", "inline"),
        ("response-content-disposition=attachment&", ""),
        ("X-Amz-Expires=60", "X-Amz-Expires=600"),
        ("X-Amz-Signature=", "X-Amz-Signature=0"),
        ("X-Amz-Date=", "versionId=null&X-Amz-Date="),
    ):
        assert before in url
        assert ask("GET", url.replace(before, after))[0] == 403
    for method in ("HEAD", "PUT", "DELETE"):
        assert ask(method, url, b"x" if method == "PUT" else None)[0] == 403
    assert stored(storage, key) == b"content"


def test_a_link_dies_at_its_end(storage: S3Storage) -> None:
    key = new_key()
    store(storage, key, b"content")
    for begun, expected in ((now() - timedelta(seconds=30), 200), (an_hour_ago(), 403)):
        url = storage.presign_get(
            key, signed_at=begun, expires_in=AN_HOUR, content_type="text/plain", disposition=""
        )
        assert ask("GET", url)[0] == expected


def test_clients_see_the_public_endpoint_and_a_proxy_the_internal_one(
    storage: S3Storage, bucket: Bucket, public: str
) -> None:
    key, upload_id = new_key(), "0" * 26 + "id"
    store(storage, key, b"content")
    when: dict[str, Any] = {"signed_at": now(), "expires_in": 60}
    link: dict[str, Any] = {"content_type": "text/plain", "disposition": "inline"}
    for url in (
        storage.presign_get(key, **when, **link),
        storage.presign_put(key, size=1, content_type="text/plain", **when).url,
        storage.presign_part(key, upload_id, 1, **when).url,
        storage.presign_post(key, largest=1, content_type=None, **when).url,
    ):
        assert url.startswith(f"{public}/{bucket.name}")
        assert "127.0.0.1" not in url
    internal = storage.presign_get(key, **when, **link, internal=True)
    assert internal.startswith(f"{bucket.server.endpoint}/{bucket.name}/{key}?")
    assert ask("GET", internal)[2] == b"content"
    alone = bucket.storage().presign_get(key, **when, **link)
    assert alone == internal


# One PUT


def test_a_put_takes_what_was_signed(storage: S3Storage, bucket: Bucket) -> None:
    for size, kind in ((11, "text/plain"), (0, "image/png"), (3, "text/x; charset=utf-8")):
        key = new_key()
        begun = now()
        signed = storage.presign_put(
            key, size=size, content_type=kind, signed_at=begun, expires_in=60
        )
        assert signed.method == "PUT"
        assert signed.headers == {"Content-Length": str(size), "Content-Type": kind}
        assert signed.expires_at == begun.replace(microsecond=0) + timedelta(seconds=60)
        status, headers, _ = ask("PUT", signed.url, b"x" * size, **signed.headers)
        assert status == 200
        assert headers["ETag"].strip('"') == storage.stat(key).etag
        assert (stored(storage, key), type_of(bucket, key)) == (b"x" * size, kind)


def test_the_type_that_the_sdk_would_not_sign_is_signed(storage: S3Storage) -> None:
    key = new_key()
    signed = storage.presign_put(
        key,
        size=1,
        content_type="application/x-www-form-urlencoded; charset=utf-8",
        signed_at=now(),
        expires_in=60,
    )
    assert ask("PUT", signed.url, b"x", Content_Type="text/html")[0] == 403
    assert ask("PUT", signed.url, b"x", **signed.headers)[0] == 200


def test_a_put_of_another_size_type_or_kind_is_refused_and_leaves_nothing(
    storage: S3Storage, bucket: Bucket
) -> None:
    key, other, secret = new_key(), new_key(), new_key()
    store(storage, secret, b"the object of someone else")
    url = storage.presign_put(
        key, size=5, content_type="text/plain", signed_at=now(), expires_in=60
    ).url
    plain = {"Content_Type": "text/plain"}
    before = bucket.names()
    for body in (b"", b"four", b"sixsix", bytes(MIB)):
        assert ask("PUT", url, body, **plain)[0] == 403
    assert ask("PUT", url, b"right", Content_Type="text/html")[0] == 403
    assert ask("PUT", url, b"right", **plain, X_Amz_Copy_Source=f"{bucket.name}/{secret}")[0] == 403
    assert ask("PUT", url, b"right", **plain, X_Amz_Meta_Holdall_Write="a" * 26)[0] == 403
    assert ask("PUT", url, b"right", **plain, X_Amz_Acl="public-read")[0] == 403
    assert ask("PUT", url.replace(key, other), b"right", **plain)[0] == 403
    assert ask("PUT", url.replace("content-length%3B", ""), b"r", **plain)[0] == 403
    assert ask("GET", url)[0] == ask("DELETE", url)[0] == 403
    assert bucket.names() == before


def test_a_put_without_a_length_is_refused(storage: S3Storage, bucket: Bucket) -> None:
    key = new_key()
    url = storage.presign_put(
        key, size=5, content_type="text/plain", signed_at=now(), expires_in=60
    ).url
    request = Request(url, iter([b"12345"]), {"Content-Type": "text/plain"}, method="PUT")
    with pytest.raises(HTTPError) as raised, urlopen(request, timeout=20):
        pass
    with raised.value:
        assert raised.value.code == 403
    assert key not in bucket.names()


def test_a_put_after_its_end_is_refused(storage: S3Storage, bucket: Bucket) -> None:
    key = new_key()
    signed = storage.presign_put(
        key, size=5, content_type="text/plain", signed_at=an_hour_ago(), expires_in=AN_HOUR
    )
    assert ask("PUT", signed.url, b"right", **signed.headers)[0] == 403
    assert key not in bucket.names()


# Forms


@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_a_form_takes_up_to_its_limit(storage: S3Storage, bucket: Bucket, size: int) -> None:
    key = new_key()
    form = storage.presign_post(
        key, largest=100_000, content_type="text/plain", signed_at=now(), expires_in=60
    )
    assert post(form, b"x" * size) == 201
    assert (stored(storage, key), type_of(bucket, key)) == (b"x" * size, "text/plain")


def test_a_form_over_its_limit_or_changed_is_refused_and_leaves_nothing(
    storage: S3Storage, bucket: Bucket
) -> None:
    key = new_key()
    form = storage.presign_post(
        key, largest=10, content_type="text/plain", signed_at=now(), expires_in=60
    )
    before = bucket.names()
    for size in (11, 12, MIB):
        assert post(form, bytes(size)) == 400
    assert post(form, b"x", key=new_key()) == 403
    assert post(form, b"x", key=f"{key}x") == 403
    assert post(form, b"x", Content_Type="text/html") == 403
    assert post(form, b"x", x_amz_meta_holdall_write="a" * 26) == 403
    assert post(form, b"x", policy=form.fields["policy"][:-4] + "AAAA") == 403
    without = SignedForm(form.url, dict(form.fields), form.expires_at)
    del without.fields["Content-Type"]
    assert post(without, b"x", kind="text/html") == 403
    unsigned = SignedForm(form.url, {"key": key, "Content-Type": "text/plain"}, form.expires_at)
    assert post(unsigned, b"x") in (400, 403)
    assert bucket.names() == before


def test_a_form_may_leave_the_type_to_the_client(storage: S3Storage, bucket: Bucket) -> None:
    for kind in ("image/png", "text/plain"):
        key = new_key()
        form = storage.presign_post(
            key, largest=10, content_type=None, signed_at=now(), expires_in=60
        )
        assert "Content-Type" not in form.fields
        assert post(form, b"x", Content_Type=kind) == 201
        assert type_of(bucket, key) == kind


def test_a_form_after_its_end_is_refused(storage: S3Storage, bucket: Bucket) -> None:
    key = new_key()
    form = storage.presign_post(
        key, largest=10, content_type=None, signed_at=an_hour_ago(), expires_in=AN_HOUR
    )
    assert post(form, b"x") == 403
    assert key not in bucket.names()


# Parts


def test_parts_are_put_by_clients_and_completed_by_us(storage: S3Storage) -> None:
    key, content = new_key(), bytes(range(256)) * 25_000
    upload_id = storage.begin(key, content_type="text/plain")
    pieces = {1: content[: 5 * MIB], 2: content[5 * MIB :]}
    for number, piece in pieces.items():
        signed = storage.presign_part(key, upload_id, number, signed_at=now(), expires_in=60)
        assert (signed.method, signed.headers) == ("PUT", {})
        assert ask("PUT", signed.url, piece, Content_Type="what/ever")[0] == 200
    parts = storage.list_parts(key, upload_id)
    assert [(part.number, part.size) for part in parts] == [(n, len(p)) for n, p in pieces.items()]
    assert storage.complete(key, upload_id, parts).size == len(content)
    assert stored(storage, key) == content


def test_a_part_s_signature_is_good_for_that_part_only(storage: S3Storage, bucket: Bucket) -> None:
    key, secret = new_key(), new_key()
    store(storage, secret, b"the object of someone else")
    uploads = [storage.begin(key), storage.begin(key)]
    first, second = (
        storage.presign_part(key, upload, 1, signed_at=now(), expires_in=60).url
        for upload in uploads
    )
    for url in (
        first.replace("partNumber=1", "partNumber=2"),
        first.replace(uploads[0][26:], uploads[1][26:]),
        first.replace(key, secret),
        first.replace("partNumber=1&", ""),
        first.partition("?")[0] + "?" + second.partition("?")[2].replace("X-Amz-Date", "x-date"),
    ):
        assert url != first
        assert ask("PUT", url, b"x")[0] in (400, 403)
    assert ask("PUT", first, b"", X_Amz_Copy_Source=f"{bucket.name}/{secret}")[0] == 403
    old = storage.presign_part(key, uploads[0], 1, signed_at=an_hour_ago(), expires_in=AN_HOUR)
    assert ask("PUT", old.url, b"x")[0] == 403
    for upload in uploads:
        assert storage.list_parts(key, upload) == []
        storage.abort(key, upload)
    assert ask("PUT", first, b"x")[0] == 404
    assert bucket.unfinished() == []


def test_stale_uploads_are_listed_to_the_end_of_many_pages_and_of_one_prefix(
    bucket: Bucket,
) -> None:
    ours, theirs = bucket.storage(), f"elsewhere/{new_key()}"
    keys = sorted(new_key() for _ in range(7))
    for key in keys:
        ours.begin(key)
    answer = bucket.client.create_multipart_upload(Bucket=bucket.name, Key=theirs)
    events = ours._connection.client.meta.events
    events.register(
        "provide-client-params.s3.ListMultipartUploads",
        lambda params, **_: params | {"MaxUploads": 2},
    )
    found = {
        key: upload_id
        for key, upload_id, _ in ours.stale_multiparts(datetime.max.replace(tzinfo=UTC))
    }
    assert sorted(found) == keys
    for key, upload_id in found.items():
        ours.abort(key, upload_id)
    assert bucket.unfinished() == [theirs]
    bucket.client.abort_multipart_upload(
        Bucket=bucket.name, Key=theirs, UploadId=answer["UploadId"]
    )
