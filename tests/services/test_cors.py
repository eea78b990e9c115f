"""Which origins are let in, and that a cookie is never let across."""

import pytest

from services.cors import ALLOWED_HEADERS, ALLOWED_METHODS, EXPOSED_HEADERS, CorsPolicy

APP = "https://app.example.org"
LISTED = CorsPolicy((APP, "https://other.example.org"))
ALL = CorsPolicy(("*",))


def test_a_listed_origin_may_read_the_answer_and_its_headers() -> None:
    assert dict(LISTED.headers(APP)) == {
        "Vary": "Origin",
        "Access-Control-Allow-Origin": APP,
        "Access-Control-Expose-Headers": ", ".join(EXPOSED_HEADERS),
    }


@pytest.mark.parametrize(
    "origin", [None, "", "null", "*", "https://evil.example", f"{APP}.evil.example", f"{APP}:8443"]
)
def test_any_other_origin_gets_no_permission_but_caches_learn_of_the_difference(
    origin: str | None,
) -> None:
    assert LISTED.headers(origin) == (("Vary", "Origin"),)
    assert LISTED.preflight_headers(origin) == (("Vary", "Origin"),)


@pytest.mark.parametrize("origin", [None, APP, "https://any.example"])
def test_a_star_lets_everyone_in_and_needs_no_vary(origin: str | None) -> None:
    headers = dict(ALL.headers(origin))
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert "Vary" not in headers


def test_without_origins_there_is_nothing_to_say() -> None:
    assert CorsPolicy().headers(APP) == ()
    assert CorsPolicy().preflight_headers(APP) == ()


def test_a_preflight_is_told_all_methods_and_headers() -> None:
    headers = dict(LISTED.preflight_headers(APP))
    assert headers["Access-Control-Allow-Methods"].split(", ") == list(ALLOWED_METHODS)
    assert headers["Access-Control-Allow-Headers"].split(", ") == list(ALLOWED_HEADERS)
    assert int(headers["Access-Control-Max-Age"]) > 0


@pytest.mark.parametrize("policy", [CorsPolicy(), LISTED, ALL])
def test_credentials_are_never_allowed(policy: CorsPolicy) -> None:
    told = (*policy.headers(APP), *policy.preflight_headers(APP))
    assert "Access-Control-Allow-Credentials" not in dict(told)
