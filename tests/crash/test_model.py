"""Any sequence of uploads, reads, deletes and deaths leaves what a dict says, and no more.

The service dies inside the process of the test (`tests.support.dying`), at any effect of anything
it does. HOLDALL_TEST_EXAMPLES=500 tries as many sequences, HOLDALL_TEST_STEP=1 dies at each effect.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run

from tests.conftest import Deployment
from tests.crash.world import World
from tests.services.checking import keep

EXAMPLES = int(os.environ.get("HOLDALL_TEST_EXAMPLES", "5"))
STEP = int(os.environ.get("HOLDALL_TEST_STEP", "23"))
MOST_PLACES = 400

CONTENTS = st.one_of(
    st.binary(max_size=40), st.integers(1, 40_000).map(lambda size: bytes([size % 256]) * size)
)
DIES = st.one_of(st.none(), st.integers(1, 40))
PICK = st.integers(0, 1_000)


class Machine(RuleBasedStateMachine):
    """The service on local disk and SQLite, against a dict."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.world = World(Path(self._folder.name), {})

    @rule(content=CONTENTS, dies=DIES)
    def put(self, content: bytes, dies: int | None) -> None:
        self.world.put(content, dies)

    @rule(contents=st.lists(CONTENTS, min_size=1, max_size=3), dies=DIES)
    def form(self, contents: list[bytes], dies: int | None) -> None:
        self.world.form(contents, dies)

    @rule(content=CONTENTS, dies=DIES)
    def direct(self, content: bytes, dies: int | None) -> None:
        self.world.direct(content, dies)

    @rule(content=CONTENTS, dies=DIES)
    def begin(self, content: bytes, dies: int | None) -> None:
        self.world.begin(content, dies)

    @precondition(lambda self: self.world.uploads)
    @rule(pick=PICK, size=st.integers(0, 30_000), dies=DIES)
    def append(self, pick: int, size: int, dies: int | None) -> None:
        self.world.append(self.world.uploads[pick % len(self.world.uploads)], size, dies)

    @precondition(lambda self: self.world.files)
    @rule(pick=PICK, start=st.integers(0, 50), size=st.integers(0, 20_000))
    def read(self, pick: int, start: int, size: int) -> None:
        self.world.read(self._some(pick), start, start + size)

    @precondition(lambda self: self.world.files)
    @rule(pick=PICK, dies=DIES)
    def rename(self, pick: int, dies: int | None) -> None:
        self.world.rename(self._some(pick), dies)

    @precondition(lambda self: self.world.files)
    @rule(pick=PICK, dies=DIES)
    def delete(self, pick: int, dies: int | None) -> None:
        self.world.delete(self._some(pick), dies)

    @rule(dies=DIES)
    def collect(self, dies: int | None) -> None:
        self.world.collect(dies)

    @rule()
    def expire(self) -> None:
        self.world.expire()

    @invariant()
    def what_is_there_is_what_is_known(self) -> None:
        self.world.require_sound()

    def teardown(self) -> None:
        self.world.require_clean()
        self.world.close()
        self._folder.cleanup()

    def _some(self, pick: int) -> str:
        urls = sorted(self.world.files)
        return urls[pick % len(urls)]


def test_any_sequence_with_deaths_agrees_with_a_dict() -> None:
    few = EXAMPLES < 50
    run(
        Machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=12 if few else 40,
            derandomize=few,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.fixture
def world(deployment: Deployment, tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "world", deployment.variables)
    yield made
    made.close()


def appended(world: World, dies: int) -> None:
    """Append in the middle, and at the end."""
    world.begin(bytes(30_000))
    world.append(world.uploads[0], 20_000, dies)
    world.append(world.uploads[0], 10_000, dies)
    while world.uploads:
        world.append(world.uploads[0], 30_000)


def deleted(world: World, dies: int) -> None:
    world.put(b"to be deleted")
    world.delete(next(reversed(world.files)), dies)


def collected(world: World, dies: int) -> None:
    """Collect an expired upload and an orphan."""
    world.begin(bytes(30_000))
    world.append(world.uploads[0], 20_000)
    keep(world.app)
    world.expire()
    world.collect(dies)


ACTS: dict[str, Callable[[World, int], None]] = {
    "put": lambda world, dies: world.put(bytes(20_000), dies),
    "form": lambda world, dies: world.form([bytes(9_000), b"", b"text"], dies),
    "append": appended,
    "direct": lambda world, dies: world.direct(bytes(20_000), dies),
    "delete": deleted,
    "collect": collected,
}


@pytest.mark.parametrize("act", ACTS)
def test_a_death_at_any_effect_of_an_act_loses_nothing(world: World, act: str) -> None:
    deaths = -1
    for place in range(1, MOST_PLACES, STEP):
        if world.deaths == deaths:
            break
        deaths = world.deaths
        ACTS[act](world, place)
        world.require_clean()
    else:
        raise AssertionError(f"more than {MOST_PLACES} effects")
    assert world.deaths > 0
