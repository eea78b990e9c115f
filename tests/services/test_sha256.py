"""A SHA-256 that is stored and gone on with, held against hashlib."""

import base64
import hashlib
import importlib.util
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services import sha256
from services.sha256 import ResumableSha256

ENGINES = {"libcrypto": "_Libcrypto"}
if importlib.util.find_spec("resumablesha256"):
    # requirements.txt names the machines that the package is built for.
    ENGINES["package"] = "_Package"

ROOT = Path(__file__).resolve().parents[2]


def no_libraries() -> Iterator[str | None]:
    """Be a machine where no libcrypto is found."""
    yield from ()


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Compute with one engine, then with the other."""
    if request.param == "package":
        monkeypatch.setattr(sha256, "_libraries", no_libraries)
    sha256._best_engine.cache_clear()
    yield request.param
    sha256._best_engine.cache_clear()


def through_json(running: ResumableSha256) -> ResumableSha256:
    """Return what another process would make of the state of `running`."""
    return ResumableSha256.from_state(json.loads(json.dumps(running.state())))


def stored(**changes: object) -> dict[str, object]:
    """Return the state after 70 bytes, with `changes`."""
    running = ResumableSha256()
    running.update(bytes(70))
    return {**running.state(), **changes}


@pytest.mark.parametrize(
    ("message", "digest"),
    [
        (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ),
        (b"a" * 10**6, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
    ],
)
def test_known_messages_have_their_known_digests(engine: str, message: bytes, digest: str) -> None:
    running = ResumableSha256()
    running.update(message)
    assert running.hexdigest() == digest
    assert through_json(running).hexdigest() == digest


def test_each_engine_is_the_one_that_the_test_means(engine: str) -> None:
    assert type(ResumableSha256()._engine).__name__ == ENGINES[engine]


@given(st.lists(st.tuples(st.binary(max_size=300), st.booleans()), max_size=20))
def test_any_pieces_with_round_trips_between_them_agree_with_hashlib(
    pieces: list[tuple[bytes, bool]],
) -> None:
    running, expected = ResumableSha256(), hashlib.sha256()
    for piece, stored_between in pieces:
        running.update(piece)
        expected.update(piece)
        if stored_between:
            running = through_json(running)
        assert running.digest() == expected.digest()


def test_a_round_trip_after_every_length_agrees_with_hashlib(engine: str) -> None:
    content = bytes(range(256))
    for cut in range(200):
        running = ResumableSha256()
        running.update(content[:cut])
        running = through_json(running)
        running.update(content[cut:])
        assert running.digest() == hashlib.sha256(content).digest()


def test_a_digest_does_not_end_the_hash(engine: str) -> None:
    running = ResumableSha256()
    running.update(b"one")
    assert running.digest() == running.digest()
    running.update(b"two")
    assert running.digest() == hashlib.sha256(b"onetwo").digest()


def test_every_kind_of_buffer_is_taken(engine: str) -> None:
    content = bytearray(range(100))
    running = ResumableSha256()
    for data in (bytes(content), content, memoryview(content)[3:50], memoryview(bytes(content))):
        running.update(data)
    running.update(memoryview(b""))
    whole = bytes(content) * 2 + bytes(content[3:50]) + bytes(content)
    assert running.digest() == hashlib.sha256(whole).digest()


def test_what_is_not_bytes_in_a_row_is_refused_and_changes_nothing() -> None:
    running = ResumableSha256()
    with pytest.raises(BufferError):
        running.update(memoryview(bytes(100))[::2])
    with pytest.raises(TypeError):
        running.update("text")  # type: ignore[arg-type]
    assert running.digest() == hashlib.sha256().digest()


def test_a_buffer_is_free_again_after_an_update() -> None:
    buffer = bytearray(1000)
    ResumableSha256().update(buffer)
    buffer.extend(b"it can grow, since nothing holds it")


def test_the_state_is_the_standards_own_and_not_a_struct() -> None:
    running = ResumableSha256()
    running.update(b"abc")
    initial = "6a09e667bb67ae853c6ef372a54ff53a510e527f9b05688c1f83d9ab5be0cd19"
    assert running.state() == {
        "version": 1,
        "bytes": 3,
        "state": base64.b64encode(bytes.fromhex(initial) + b"abc").decode(),
    }


def test_the_state_does_not_depend_on_the_engine(engine: str) -> None:
    running = ResumableSha256()
    running.update(bytes(range(256)) * 41 + b"tail")
    assert running.state() == {
        "version": 1,
        "bytes": 10500,
        "state": "eILMxmIdyRI9FRtcsLFoPMHczEmz6of8bdoL2wN0ojx0YWls",
    }


def test_more_bits_than_32_bits_count_are_counted() -> None:
    half = memoryview(bytes(1 << 20))
    running, expected = ResumableSha256(), hashlib.sha256()
    for place in range(513):
        running.update(half)
        expected.update(half)
        if place == 511:
            running = through_json(running)
    assert running.state()["bytes"] == 513 << 20
    assert through_json(running).digest() == expected.digest()


def test_a_state_goes_on_in_another_process() -> None:
    running = ResumableSha256()
    running.update(b"first half, ")
    program = (
        "import json, sys; from services.sha256 import ResumableSha256;"
        "running = ResumableSha256.from_state(json.load(sys.stdin));"
        "running.update(b'second half'); print(running.hexdigest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(running.state()),
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert done.stdout.strip() == hashlib.sha256(b"first half, second half").hexdigest()


def test_several_threads_hash_at_once_each_its_own() -> None:
    content = [bytes([number]) * (1 << 20) for number in range(4)]
    digests: dict[int, bytes] = {}

    def work(number: int) -> None:
        running = ResumableSha256()
        for _ in range(8):
            running.update(content[number])
        digests[number] = running.digest()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert digests == {number: hashlib.sha256(content[number] * 8).digest() for number in range(4)}


@pytest.mark.parametrize("version", [0, 2, "1", True, 1.0, None])
def test_a_state_of_another_version_is_refused(version: object) -> None:
    with pytest.raises(ValueError, match="version"):
        ResumableSha256.from_state(stored(version=version))


@pytest.mark.parametrize("count", [-1, 71, 5, 2**61, 70.0, "70", True, None])
def test_an_impossible_number_of_bytes_is_refused(count: object) -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        ResumableSha256.from_state(stored(bytes=count))


@pytest.mark.parametrize("state", ["", "AAAA", "not base64", "ä", None, 7, "A" * 10_000])
def test_a_state_that_is_no_state_is_refused(state: object) -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        ResumableSha256.from_state(stored(state=state))


def test_a_state_with_fields_missing_is_refused() -> None:
    for name in ("version", "bytes", "state"):
        damaged = {key: value for key, value in stored().items() if key != name}
        with pytest.raises(ValueError, match="SHA-256"):
            ResumableSha256.from_state(damaged)


def test_words_that_no_message_so_short_can_have_are_refused() -> None:
    with pytest.raises(ValueError, match="first block"):
        ResumableSha256.from_state(
            {"version": 1, "bytes": 0, "state": base64.b64encode(bytes(32)).decode()}
        )


def test_an_engine_that_continues_otherwise_is_not_believed() -> None:
    right = sha256._best_engine()()
    assert isinstance(right, sha256._Libcrypto)

    class Wrong(sha256._Libcrypto):
        def adopt(self, state: sha256._State, /) -> None:
            super().adopt(sha256._State(state.words, state.count, bytes(len(state.tail))))

    functions = right._functions
    assert sha256._agrees_with_hashlib(lambda: sha256._Libcrypto(functions))
    assert not sha256._agrees_with_hashlib(lambda: Wrong(functions))


def test_without_any_engine_it_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sha256, "_libraries", no_libraries)
    monkeypatch.setitem(sys.modules, "resumablesha256", None)
    sha256._best_engine.cache_clear()
    with pytest.raises(RuntimeError, match="libcrypto or `resumablesha256`"):
        ResumableSha256()
    sha256._best_engine.cache_clear()
