"""The commands of `holdall` against a real server: what they do, print, and end with."""

import hashlib
import json
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.client.conftest import Client, new_key
from tests.live.test_faults import eventually
from tests.storage.material import content_of
from tests.support.processes import free_ports
from tests.support.relay import Listener
from tests.support.service import Service, running

UNKNOWN = "a" * 26


def test_a_file_goes_there_and_back(client: Client, tmp_path: Path) -> None:
    content = content_of(100_000)
    (tmp_path / "Übung 1.bin").write_bytes(content)
    put = client.run("put", "Übung 1.bin")
    assert (put.status, put.err) == (0, "")
    assert re.fullmatch(rf"{client.url}/uploads/[a-z2-7]{{26}}/%C3%9Cbung%201\.bin", put.lines[0])
    (tmp_path / "in").mkdir()
    got = client.run("get", "-d", "in", put.lines[0])
    assert (got.status, got.lines) == (0, ["in/Übung 1.bin"])
    assert (tmp_path / "in" / "Übung 1.bin").read_bytes() == content
    again = client.run("get", "-d", "in", put.lines[0])
    assert again.status == 1 and "--force" in again.err
    assert client.run("get", "-d", "in", "--force", put.lines[0]).status == 0
    assert [each.name for each in (tmp_path / "in").iterdir()] == ["Übung 1.bin"]


def test_a_large_file_goes_by_tus_and_is_listed_linked_and_deleted(
    client: Client, tmp_path: Path
) -> None:
    content = content_of(9 * 1024**2)
    (tmp_path / "large.bin").write_bytes(content)
    made = client.json("put", "large.bin", "--meta", "project=alpha")["items"][0]
    assert made["sha256"] == hashlib.sha256(content).hexdigest()
    assert made["metadata"] == {"project": "alpha"}
    assert not list((tmp_path / "config" / "holdall" / "uploads").iterdir())
    listed = client.json("ls", "-q", "large.bin")
    assert [item["id"] for item in listed["items"]] == [made["id"]]
    plain = client.run("ls", "-q", "large.bin").lines[0].split("\t")
    assert plain[0] == made["id"] and plain[1] == str(len(content)) and plain[4] == "large.bin"
    link = client.run("link", made["id"], "--expires-in", "10m", "--download").lines[0]
    out = Client(tmp_path, client.url).run("get", link, "-o", "-")
    assert out.out == content
    assert client.run("rm", made["id"]).status == 0
    gone = client.run("rm", made["id"])
    assert gone.status == 4 and "no such file" in gone.err


def test_a_folder_goes_with_all_that_is_in_it(client: Client, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "deep" / "deeper").mkdir(parents=True)
    contents = {f"{n:03}.txt": f"file {n}".encode() for n in range(200)}
    for n, (name, content) in enumerate(contents.items()):
        (folder / ("deep/deeper" if n % 2 else "") / name).write_bytes(content)
    said = client.json("put", "folder", "--parallel", "8")
    assert (said["total"], said["failed"]) == (200, [])
    (tmp_path / "back").mkdir()
    ids = [item["id"] for item in said["items"]]
    assert client.run("get", "-d", "back", *ids).status == 0
    assert {each.name: each.read_bytes() for each in (tmp_path / "back").iterdir()} == contents
    assert client.json("ls", "--all")["total"] >= 200


def test_standard_input_and_output(client: Client) -> None:
    content = content_of(3 * 1024**2)
    put = client.run("put", "-", "--name", "piped.bin", given=content)
    assert put.status == 0, put
    assert client.run("get", put.lines[0], "-o", "-").out == content
    assert client.run("put", "-", given=b"x").status == 2


def test_one_that_fails_does_not_keep_the_others_back(client: Client, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    made = client.json("put", "a.txt")["items"][0]
    mixed = client.run("get", "--json", "--force", made["id"], UNKNOWN)
    assert mixed.status == 4
    said = json.loads(mixed.out)
    assert (said["total"], said["failed"][0]["file"]) == (1, UNKNOWN)
    secret = tmp_path / "secret.txt"
    secret.write_text("no")
    refused = client.run("put", "a.txt", "secret.txt", "--collection", "nowhere")
    assert refused.status == 4 and refused.err.count("nowhere") >= 2


@pytest.mark.parametrize(
    "words",
    [
        ("put",),
        ("put", "no-such-file"),
        ("put", "a", "b", "--name", "c"),
        ("link", "x", "--expires-in", "soon"),
        ("get", "--parallel", "0", "x"),
        ("nothing",),
    ],
)
def test_a_command_that_is_not_written_right_ends_with_2(
    client: Client, words: tuple[str, ...]
) -> None:
    outcome = client.run(*words)
    assert (outcome.status, outcome.out) == (2, b"")
    assert "Error" in outcome.err


def test_what_is_wrong_is_said_in_a_sentence_and_a_status(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    nowhere = Client(tmp_path, "").run("ls")
    assert nowhere.status == 1 and "holdall login" in nowhere.err
    (port,) = free_ports(1)
    closed = Client(tmp_path, f"http://127.0.0.1:{port}").run("ls")
    assert closed.status == 5 and "cannot be reached" in closed.err
    assert Client(tmp_path, "ftp://x").run("ls").status == 1
    assert "Traceback" not in nowhere.err + closed.err


def test_login_keeps_a_key_that_only_its_user_can_read(
    keyed_service: Service, tmp_path: Path
) -> None:
    key = new_key(keyed_service, "read", "write", "delete")
    (tmp_path / "a.txt").write_text("a")
    user = Client(tmp_path, "")
    before = Client(tmp_path, keyed_service.url).run("put", "a.txt")
    assert before.status == 3 and "key" in before.err
    wrong = user.run("login", keyed_service.url, "--key-file", "-", given=b"holdall_wrong\n")
    assert wrong.status == 3
    kept = tmp_path / "config" / "holdall" / "config.toml"
    assert not kept.exists()
    assert (
        user.run("login", keyed_service.url + "/", "--key-file", "-", given=key.encode()).status
        == 0
    )
    assert kept.stat().st_mode & 0o777 == 0o600
    put = user.run("put", "a.txt")
    assert put.status == 0, put
    assert user.run("get", put.lines[0], "-o", "-").out == b"a"
    elsewhere = user.run("--url", "http://127.0.0.1:9", "ls")
    assert elsewhere.status == 5 and key not in elsewhere.err


def test_a_key_goes_to_no_other_server(keyed_service: Service, tmp_path: Path) -> None:
    key = new_key(keyed_service, "read")
    heard: list[bytes] = []

    def listen(connection: socket.socket) -> None:
        heard.append(connection.recv(65536))

    with Listener(listen) as other:
        link = f"http://127.0.0.1:{other.port}/uploads/{UNKNOWN}/x"
        outcome = Client(tmp_path, keyed_service.url, key).run("get", link, "-o", "-")
    assert outcome.status == 5
    assert heard and key.encode() not in b"".join(heard)


def test_an_upload_that_was_killed_goes_on(tmp_path: Path) -> None:
    content = content_of(32 * 1024**2)
    (tmp_path / "large.bin").write_bytes(content)
    with running(tmp_path, WEB_CONCURRENCY="1") as service:
        client = Client(tmp_path, service.url)
        command = [sys.executable, "-m", "holdall_client", "put", "large.bin"]
        sending = subprocess.Popen(command, env=client.environment(), cwd=tmp_path)
        records = tmp_path / "config" / "holdall" / "uploads"
        eventually(lambda: records.is_dir() and any(records.iterdir()))
        time.sleep(0.1)
        sending.send_signal(signal.SIGKILL)
        sending.wait()
        first = next(records.iterdir()).read_text() if any(records.iterdir()) else None
        made = client.json("put", "large.bin")["items"][0]
        assert made["sha256"] == hashlib.sha256(content).hexdigest()
        if first is not None:
            head = service.request("HEAD", first.removeprefix(service.url), Tus_Resumable="1.0.0")
            assert head.headers["upload-file-id"] == made["id"]
            assert len(service.listing()["items"]) == 1


def test_a_server_that_comes_back_is_waited_for(tmp_path: Path) -> None:
    content = content_of(24 * 1024**2)
    (tmp_path / "large.bin").write_bytes(content)
    with running(tmp_path, WEB_CONCURRENCY="1") as service:
        client = Client(tmp_path, service.url)
        command = [sys.executable, "-m", "holdall_client", "put", "large.bin", "--json"]
        sending = subprocess.Popen(
            command, env=client.environment(), cwd=tmp_path, stdout=subprocess.PIPE
        )
        records = tmp_path / "config" / "holdall" / "uploads"
        eventually(lambda: records.is_dir() and any(records.iterdir()))
        for process in service.processes():
            process.kill()
        service.stop()
        service.start()
        out, _ = sending.communicate(timeout=60)
        assert sending.returncode == 0
        assert json.loads(out)["items"][0]["sha256"] == hashlib.sha256(content).hexdigest()


def test_a_download_that_was_cut_goes_on_and_is_checked(client: Client, tmp_path: Path) -> None:
    content = content_of(2 * 1024**2)
    (tmp_path / "a.bin").write_bytes(content)
    made = client.json("put", "a.bin")["items"][0]
    tag = hashlib.sha256(f'"{made["sha256"]}"'.encode()).hexdigest()[:12]
    (tmp_path / "in").mkdir()
    part = tmp_path / "in" / f".a.bin.{tag}.part"
    part.write_bytes(content[:1_000_000])
    assert client.run("get", "-d", "in", made["id"]).status == 0
    assert (tmp_path / "in" / "a.bin").read_bytes() == content
    (tmp_path / "in" / "a.bin").unlink()
    part.write_bytes(b"?" * 1_000_000)
    spoilt = client.run("get", "-d", "in", made["id"])
    assert spoilt.status == 1 and "other bytes" in spoilt.err
    assert list((tmp_path / "in").iterdir()) == []


def test_the_client_knows_nothing_of_the_server() -> None:
    code = "import sys, holdall_client.commands; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True
    ).stdout.split()
    ours = {"app", "routes", "models", "services", "storage", "views", "config", "flask", "boto3"}
    assert ours.isdisjoint(loaded)
