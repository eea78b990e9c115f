"""docker-compose.yml, .env.example and the Dockerfile, read as the tools read them."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from config import load_settings
from config.backends import read_backends
from config.settings import documented_variables

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("holdall", "holdall-2")
PUBLISHED = (*OURS, "nginx")
KEEPS_NOTHING = ("store-s3", "nginx")
SETTINGS = {variable.name for variable in documented_variables()}
FIXED_BY_THE_IMAGE = {"DATA_DIR", "HOST", "FLASK_RUN_PORT"}
OF_OTHER_IMAGES = {
    "seaweedfs": {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
    "store-s3": {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"},
    "minio": {"MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD"},
    "postgres": {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD"},
}
SECRET = re.compile(r"SECRET|PASSWORD|TOKEN|ACCESS_KEY")


def _is_a_setting(variable: str) -> bool:
    if variable in SETTINGS or variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        return True
    _, problems = read_backends({variable: "x", "STORAGE_S3_URL": "s3://bucket"})
    return variable.startswith("STORAGE_") and not any("not a setting" in one for one in problems)


def _example_lines() -> list[tuple[str, str]]:
    text = (ROOT / ".env.example").read_text()
    return re.findall(r"^#?([A-Z][A-Z0-9_]*)=(.*)$", text, re.MULTILINE)


def test_holdall_starts_alone_unless_a_profile_is_asked_for() -> None:
    assert [name for name, service in SERVICES.items() if "profiles" not in service] == ["holdall"]
    profiles = {profile for service in SERVICES.values() for profile in service.get("profiles", ())}
    assert profiles == {"s3", "minio", "scale"}


def test_what_holdall_can_depend_on_is_optional() -> None:
    needed = SERVICES["holdall"]["depends_on"].values()
    assert all(one == {"condition": "service_healthy", "required": False} for one in needed)


@pytest.mark.parametrize("name", OURS)
def test_every_variable_given_to_holdall_is_a_setting(name: str) -> None:
    given = SERVICES[name]["environment"]
    assert [variable for variable in given if not _is_a_setting(variable)] == []
    assert set(given) >= SETTINGS - FIXED_BY_THE_IMAGE
    assert set(given.values()) == {None}, "values come from .env, never from the file itself"


@pytest.mark.parametrize("name", OF_OTHER_IMAGES)
def test_other_images_get_only_their_own_variables(name: str) -> None:
    assert set(SERVICES[name]["environment"]) == OF_OTHER_IMAGES[name]


@pytest.mark.parametrize("name", OF_OTHER_IMAGES)
def test_a_secret_has_no_default_and_must_be_set_where_it_is_needed(name: str) -> None:
    asked = "\n".join(SERVICES[name]["entrypoint"])
    secrets = {key for key in SERVICES[name]["environment"] if SECRET.search(key)}
    assert secrets
    for variable in secrets:
        assert SERVICES[name]["environment"][variable].endswith(":-}")
        assert f"$${{{variable}:?" in asked


def test_no_profile_can_stop_another_by_a_missing_variable() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    assert re.findall(r"(?<!\$)\$\{[A-Z_0-9]+:?\?", code) == []


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback_only(name: str) -> None:
    ports = SERVICES[name].get("ports", [])
    assert all(str(port).startswith("127.0.0.1:") for port in ports)
    assert SERVICES[name].get("network_mode") is None
    assert bool(ports) == (name in PUBLISHED)


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_comes_back_keeps_its_data_and_is_pinned(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    volumes = [volume.split(":")[0] for volume in service.get("volumes", ())]
    assert bool(set(volumes) & set(COMPOSE["volumes"])) == (name not in KEEPS_NOTHING)
    assert all(volume in COMPOSE["volumes"] or (ROOT / volume).exists() for volume in volumes)
    if name not in OURS:
        assert service["healthcheck"]["test"]
        assert re.search(r":[^:/]*\d", service["image"])


def test_nginx_gets_the_addresses_of_the_services_put_into_the_sample(tmp_path: Path) -> None:
    script = SERVICES["nginx"]["entrypoint"][-1]
    editing = script[: script.index("exec nginx")]
    for there, here in (("/sample", ROOT / "deploy"), ("/etc/nginx", tmp_path)):
        editing = editing.replace(f"{there}/nginx.conf", f"{here}/nginx.conf")
    subprocess.run(["sh", "-ec", editing], check=True, timeout=20)
    text = (tmp_path / "nginx.conf").read_text()
    for put_in in re.findall(r"-e 's/.+;?/([^/]+)/'", script):
        assert put_in in text
    for name, port in re.findall(r"(?:server|Host) ([a-z0-9-]+):([0-9]+)(?: resolve)?;", text):
        assert name in SERVICES and port in ("5000", "8333")
    assert "www-data" not in text and ":9000" not in text
    written = text.replace("user nginx;", "").replace("/run/nginx", f"{tmp_path}/nginx")
    local = re.sub(r"server [a-z0-9-]+:([0-9]+) resolve;", r"server 127.0.0.1:\1;", written)
    (tmp_path / "nginx.conf").write_text(local.replace("/var/log/nginx", str(tmp_path)))
    words = ["/usr/sbin/nginx", "-t", "-e", f"{tmp_path}/error.log", "-c", f"{tmp_path}/nginx.conf"]
    checked = subprocess.run(words, capture_output=True, text=True, timeout=20)
    assert checked.returncode == 0, checked.stderr


def test_each_object_of_many_hosts_is_on_two_volume_servers() -> None:
    volumes = [name for name in SERVICES if name.startswith("store-volume-")]
    assert len(volumes) >= 2
    assert len({volume for name in volumes for volume in SERVICES[name]["volumes"]}) == len(volumes)
    assert "-defaultReplication=001" in SERVICES["store-master"]["entrypoint"]
    assert "-telemetry=false" in SERVICES["store-master"]["entrypoint"]


@pytest.mark.parametrize("name", [name for name in SERVICES if name.startswith("store-")])
def test_seaweedfs_knows_the_options_that_it_is_given(name: str) -> None:
    words = " ".join(SERVICES[name]["entrypoint"]).partition("weed ")[2].split()
    weed = str(Path(sys.executable).with_name("weed"))
    told = subprocess.run([weed, words[0], "-h"], capture_output=True, text=True, timeout=20)
    known = set(re.findall(r"^  -([\w.]+)", told.stdout + told.stderr, re.MULTILINE))
    assert known
    assert {word.partition("=")[0][1:] for word in words if word.startswith("-")} <= known


def test_the_example_names_every_setting_and_nothing_else() -> None:
    names = {name for name, _ in _example_lines()}
    assert names >= SETTINGS - FIXED_BY_THE_IMAGE
    assert {name for name in names if not _is_a_setting(name)} == {"POSTGRES_PASSWORD"}


def test_the_example_holds_no_secret() -> None:
    assert [name for name, value in _example_lines() if SECRET.search(name) and value] == []


def test_the_example_becomes_valid_settings_once_its_secrets_are_filled_in() -> None:
    environment = {name: value for name, value in _example_lines() if value}
    settings = load_settings(environment | {"SECRET_KEY": "f3b1" * 8 + "9e07c5a2"})
    assert settings.backends["s3"].url.startswith("s3://")


@pytest.mark.parametrize("server", ("seaweedfs:8333", "minio:9000", "store-s3:8333"))
def test_the_switch_to_s3_is_two_lines_of_the_example(server: str) -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    assert "#STORAGE_BACKEND=s3" in lines
    assert f"#STORAGE_S3_URL=s3://holdall?endpoint=http://{server}&create_bucket=true" in lines


def test_the_image_runs_as_a_plain_user_and_tells_whether_it_is_healthy() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    assert re.search(r"^VOLUME /app/data$", text, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK .*\\\n +CMD .*/api/health", text, re.MULTILINE)
    assert "AUTH_MODE" not in text
    assert not SECRET.search(text)
    assert all(re.search(r"^\S+:\d+\.\d+\.\d+-slim", image) for image in _base_images(text))


def test_everything_the_image_runs_is_let_into_it() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    wanted = {path.name for path in ROOT.glob("*.py")} | {"requirements.txt", "requirements.lock"}
    wanted |= {"cli", "config", "migrations", "services", "static", "storage", "templates"}
    wanted |= {"views", "wiring", "worker"}
    assert ignored[ignored.index("*") :].count("*") == 1
    assert {f"!{name}" for name in wanted} <= set(ignored)


def _base_images(dockerfile: str) -> list[str]:
    images = re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)
    assert images
    return images
