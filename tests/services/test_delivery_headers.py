"""What the planner says beside the bytes: digest, caching, safety, and other origins."""

from dataclasses import replace

import pytest

from services.delivery import (
    CONTENT_SECURITY_POLICY,
    PERSONAL,
    PUBLIC,
    Access,
    DeliveryRequest,
    Grant,
    error_headers,
    plan_options,
)
from tests.services.planning import (
    DIGEST,
    ETAG,
    FILE,
    LISTED,
    ask,
    headers_of,
)


class TestDigest:
    def test_a_range_carries_the_digest_of_the_whole_file(self) -> None:
        assert headers_of(ask({"range": "bytes=0-9"}))["repr-digest"] == DIGEST

    def test_it_is_left_out_where_no_one_has_read_the_bytes(self) -> None:
        assert "repr-digest" not in headers_of(ask(file=replace(FILE, sha256=None)))

    @pytest.mark.parametrize("wanted", ["sha-256=0", "sha-512=3, sha-256=0", "sha-256=0;x=1"])
    def test_it_is_left_out_for_a_client_that_does_not_want_it(self, wanted: str) -> None:
        assert "repr-digest" not in headers_of(ask({"want-repr-digest": wanted}))

    @pytest.mark.parametrize("wanted", ["sha-256=1", "sha-512=10, sha-256=1", "md5=0", "", "?,="])
    def test_it_is_sent_to_all_others(self, wanted: str) -> None:
        assert headers_of(ask({"want-repr-digest": wanted}))["repr-digest"] == DIGEST


class TestCaching:
    @pytest.mark.parametrize("filename", [None, "old-name.png", "Photo.png"])
    def test_a_bare_id_or_an_old_name_is_always_asked_about(self, filename: str | None) -> None:
        assert headers_of(ask(filename=filename))["cache-control"] == "public, no-cache"

    def test_a_download_is_kept_as_long_as_its_link(self) -> None:
        kept = headers_of(ask(download=True))["cache-control"]
        assert kept == "public, max-age=86400, immutable"

    def test_a_collection_can_forbid_keeping(self) -> None:
        named = headers_of(ask(file=replace(FILE, cache_max_age=0)))
        assert named["cache-control"] == "public, no-cache"

    @pytest.mark.parametrize("headers", [{}, {"range": "bytes=0-9"}, {"if-none-match": ETAG}])
    def test_what_a_key_or_a_cookie_opened_is_never_kept(self, headers: dict[str, str]) -> None:
        assert headers_of(ask(headers, access=PERSONAL))["cache-control"] == "private, no-store"

    @pytest.mark.parametrize(("left", "age"), [(60, 60), (10**9, 86_400), (0, 0), (-5, 0)])
    def test_a_signed_link_is_kept_no_longer_than_it_lives(self, left: int, age: int) -> None:
        named = headers_of(ask(access=Access(Grant.SIGNED, left)))
        assert named["cache-control"] == f"public, max-age={age}"


class TestSafety:
    @pytest.mark.parametrize(
        "content_type", ["image/svg+xml", "text/html", "application/xml", "text/javascript"]
    )
    def test_what_could_run_is_an_attachment_in_a_sandbox(self, content_type: str) -> None:
        named = headers_of(ask(file=replace(FILE, content_type=content_type)))
        assert named["content-disposition"].startswith("attachment")
        assert named["content-security-policy"] == CONTENT_SECURITY_POLICY
        assert named["x-content-type-options"] == "nosniff"
        assert named["content-type"].partition(";")[0] == content_type

    def test_text_says_its_encoding_unless_the_row_does(self) -> None:
        plain = headers_of(ask(file=replace(FILE, content_type="text/plain")))
        assert plain["content-type"] == "text/plain; charset=utf-8"
        told = replace(FILE, content_type="text/plain; charset=koi8-r")
        assert headers_of(ask(file=told))["content-type"] == "text/plain; charset=koi8-r"

    def test_a_download_is_an_attachment(self) -> None:
        named = headers_of(ask(download=True))
        assert named["content-disposition"] == 'attachment; filename="photo.png"'

    def test_the_name_is_the_current_one_whatever_the_url_says(self) -> None:
        named = headers_of(ask(filename="evil.exe"))
        assert named["content-disposition"] == 'inline; filename="photo.png"'

    def test_only_what_a_cookie_opened_is_closed_to_pages_elsewhere(self) -> None:
        policies = [
            headers_of(ask(access=access))["cross-origin-resource-policy"]
            for access in (PUBLIC, Access(Grant.SIGNED, 60), PERSONAL)
        ]
        assert policies == ["cross-origin", "cross-origin", "same-origin"]

    @pytest.mark.parametrize("headers", [{}, {"range": "bytes=0-1,5-6"}, {"if-match": '"x"'}])
    def test_every_answer_is_safe(self, headers: dict[str, str]) -> None:
        named = headers_of(ask(headers))
        assert named["x-content-type-options"] == "nosniff"
        assert named["content-security-policy"].startswith("sandbox; default-src 'none'; ")


class TestOtherOrigins:
    def test_a_listed_origin_may_read_the_answer(self) -> None:
        named = headers_of(ask({"origin": "https://app.example.org"}))
        assert named["access-control-allow-origin"] == "https://app.example.org"
        assert "Content-Range" in named["access-control-expose-headers"]
        assert named["vary"] == "Origin"

    def test_a_preflight_is_told_which_methods_and_headers_it_may_use(self) -> None:
        request = DeliveryRequest("OPTIONS", {"origin": "https://app.example.org"}, None, False)
        answer = plan_options(request, cors=LISTED)
        named = headers_of(answer)
        assert (answer.status, answer.pieces) == (204, ())
        assert named["allow"] == "GET, HEAD, OPTIONS"
        assert "If-Range" in named["access-control-allow-headers"]

    def test_a_preflight_from_elsewhere_gets_no_permission(self) -> None:
        request = DeliveryRequest("OPTIONS", {"origin": "null"}, None, False)
        named = headers_of(plan_options(request, cors=LISTED))
        assert named == {"allow": "GET, HEAD, OPTIONS", "vary": "Origin"}

    def test_an_error_can_be_read_by_the_page_and_kept_by_no_cache(self) -> None:
        request = DeliveryRequest("GET", {"origin": "https://app.example.org"}, None, False)
        named = dict(error_headers(request, cors=LISTED))
        assert named["Access-Control-Allow-Origin"] == "https://app.example.org"
        assert named["Cache-Control"] == "no-store"
