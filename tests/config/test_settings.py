"""Settings: blank variables, secrets from files, and mistakes that each get a line of their own."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from config import ConfigurationError, load_settings
from config.secrets import secret_in

SECRET = "0f" * 8 + "7c" * 8 + "e41d9ab2"


def problems(**variables: str) -> list[str]:
    """Return the lines that a start with `variables` ends with."""
    with pytest.raises(ConfigurationError) as raised:
        load_settings(variables)
    return raised.value.problems


@pytest.mark.parametrize("mode", ["", "  ", "keys", " keys "])
@pytest.mark.parametrize("secret", ["", "short", "change-me" * 8])
def test_keys_mode_needs_a_good_secret_however_it_is_written(mode: str, secret: str) -> None:
    (line,) = problems(AUTH_MODE=mode, SECRET_KEY=secret)
    assert line.startswith("SECRET_KEY: ")


def test_blank_variables_count_as_not_set() -> None:
    names = ("DATABASE_URL", "SECRET_KEY_FILE", "THREADS", "STORAGE_BACKEND", "STORAGE_S3_URL")
    blank = load_settings({name: " " for name in names} | {"AUTH_MODE": "open"})
    assert blank == load_settings({"AUTH_MODE": "open"})


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite+pysqlite:///:memory:",
        "sqlite:///file:a?mode=memory&uri=true",
    ],
)
def test_a_database_in_memory_is_refused(url: str) -> None:
    (line,) = problems(AUTH_MODE="open", DATABASE_URL=url)
    assert line.startswith("DATABASE_URL: ")


def test_a_secret_is_read_from_its_file(tmp_path: Path) -> None:
    kept = tmp_path / "secret"
    kept.write_text(f"{SECRET}\n")
    settings = load_settings({"SECRET_KEY_FILE": str(kept)})
    assert settings.secret_key.get_secret_value() == SECRET


def test_a_secret_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    for kept in (binary, tmp_path, tmp_path / "missing"):
        (line,) = problems(AUTH_MODE="open", METRICS_TOKEN_FILE=str(kept))
        assert line.startswith("METRICS_TOKEN_FILE: ")


EARLIER = ("4d" * 8 + "a5" * 8 + "7f31c0be", "6b" * 8 + "e8" * 8 + "92d05ca4")


@pytest.mark.parametrize("between", (",", " , ", "\n", "\r\n", ",\n"))
def test_earlier_secrets_are_read_one_by_one(tmp_path: Path, between: str) -> None:
    kept = tmp_path / "earlier"
    kept.write_text(between.join(EARLIER) + "\n")
    for settings in (
        load_settings({"SECRET_KEY": SECRET, "SECRET_KEY_FALLBACKS_FILE": str(kept)}),
        load_settings({"SECRET_KEY": SECRET, "SECRET_KEY_FALLBACKS": between.join(EARLIER)}),
    ):
        read = [each.get_secret_value() for each in settings.secret_key_fallbacks]
        assert read == list(EARLIER)
        assert EARLIER[0] not in repr(settings)


@pytest.mark.parametrize("mode", ("keys", "open"))
@pytest.mark.parametrize("weak", ("tiny", "change-me" * 8, "a" * 40))
def test_an_earlier_secret_is_held_to_the_same_rules(mode: str, weak: str) -> None:
    fallbacks = f"{EARLIER[0]},{weak}"
    (line,) = problems(AUTH_MODE=mode, SECRET_KEY=SECRET, SECRET_KEY_FALLBACKS=fallbacks)
    assert line.startswith("SECRET_KEY_FALLBACKS: number 2 is ")
    assert EARLIER[0] not in line and weak not in line


def test_files_of_other_programs_are_left_alone() -> None:
    load_settings({"AUTH_MODE": "open", "OTHER_SECRET_KEY_FILE": "/missing"})


def test_everyone_who_makes_the_secret_at_once_gets_the_same(tmp_path: Path) -> None:
    (tmp_path / f".secret_key.{os.getpid()}").touch()
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: secret_in(tmp_path), range(8)))
    assert len(made) == 1
    assert len(made.pop()) == 64
    assert stat.S_IMODE((tmp_path / "secret_key").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mirror:local,far", "no backend is called 'far': set STORAGE_FAR_URL"),
        ("mirror:safe,local", "a mirror cannot be a part of itself"),
        ("mirror:local,other", "'other' is a mirror itself"),
        ("mirror:local,mem", "'mem' is memory:"),
        ("mirror:local", "name the primary and at least one mirror of it"),
        ("mirror:local,s3,local", "'local' is named twice"),
        ("mirror:", "a mirror is written mirror:local,s3"),
        ("mirror:local,,s3", "a mirror is written mirror:local,s3"),
        ("mirror://local,s3", "a mirror is written mirror:local,s3"),
        ("mirror:local,s3?x=1", "a mirror is written mirror:local,s3"),
    ],
)
def test_a_mistake_in_a_mirror_is_one_line_that_names_its_variable(url: str, reason: str) -> None:
    (line,) = problems(
        AUTH_MODE="open",
        STORAGE_SAFE_URL=url,
        STORAGE_OTHER_URL="mirror:local,s3",
        STORAGE_S3_URL="s3://bucket",
        STORAGE_MEM_URL="memory:",
    )
    assert line.startswith("STORAGE_SAFE_URL: ")
    assert reason in line


def test_a_mirror_has_no_credentials_of_its_own() -> None:
    members = {"STORAGE_SAFE_URL": "mirror:local,s3", "STORAGE_S3_URL": "s3://bucket"}
    (line,) = problems(AUTH_MODE="open", STORAGE_SAFE_PUBLIC_ENDPOINT="http://a", **members)
    assert line.startswith("STORAGE_SAFE_URL: credentials and endpoint")
    settings = load_settings({"AUTH_MODE": "open", "STORAGE_BACKEND": "safe", **members})
    assert settings.backends["safe"].members == ("local", "s3")
