"""The service is killed at each named point, comes back, and is held against what it promised.

On local disk with SQLite or on S3 with PostgreSQL in turn; `--every-deployment` takes all pairs.
"""

from collections.abc import Callable, Iterator

import pytest

from tests.conftest import DEPLOYMENTS, Deployment, deployment_of
from tests.crash import scenarios
from tests.crash.stage import Stage, staged
from tests.support.crashing import POINTS, found
from tests.support.preloaded import Nursery

Scenario = Callable[[Stage, str], None]

EVERYWHERE: dict[Scenario, tuple[str, ...]] = {
    scenarios.whole: ("ingest-inspected", "ingest-inserted", "ingest-committed", "answered"),
    scenarios.form: ("ingest-inspected:2", "ingest-inserted"),
    scenarios.beginning: ("upload-begun",),
    scenarios.appending: (
        "append-opened",
        "append-written",
        "append-kept",
        "append-noted",
        "answered",
        "append-completed",
        "upload-finished",
        "ingest-inserted",
        "upload-published",
    ),
    scenarios.joining: ("ingest-inserted", "upload-joined"),
    scenarios.terminating: ("upload-ended", "upload-freed"),
    scenarios.direct: (
        "direct-begun",
        "direct-named",
        "direct-copied",
        "ingest-inserted",
        "direct-published",
        "direct-confirmed",
    ),
    scenarios.direct_parts: ("direct-begun", "direct-agreed", "direct-copied", "direct-published"),
    scenarios.deleting: ("delete-row", "delete-object", "answered"),
}
ON_DISK: dict[Scenario, tuple[str, ...]] = {
    scenarios.whole: (
        "ingest-opened",
        "ingest-written",
        "ingest-synced",
        "ingest-renamed",
        "ingest-folder-synced",
    ),
}
ON_S3: dict[Scenario, tuple[str, ...]] = {
    scenarios.whole: ("ingest-put", *scenarios.IN_PARTS),
    scenarios.appending: ("part-put", "multipart-completed"),
    scenarios.direct_parts: ("multipart-begun", "multipart-completing", "multipart-completed"),
    scenarios.moving: (
        "move-sent:2",
        "move-verified:2",
        "move-switching",
        "move-switched",
        "move-source-deleted:2",
    ),
}

CASES = [
    (deployment, scenario, point, number)
    for deployment in DEPLOYMENTS
    for table in (EVERYWHERE, ON_DISK if deployment.startswith("local") else ON_S3)
    for number, (scenario, point) in enumerate(
        (scenario, point) for scenario, points in table.items() for point in points
    )
]


def is_spare(deployment: str, scenario: Scenario, point: str, number: int) -> bool:
    """Say whether a point that is everywhere has its turn on another pair."""
    turn = ("local-sqlite", "s3-postgresql")[number % 2]
    return deployment != turn and point in EVERYWHERE.get(scenario, ())


@pytest.fixture(scope="module")
def deployment(request: pytest.FixtureRequest) -> Deployment:
    return deployment_of(request)


@pytest.fixture(scope="module")
def stage(
    deployment: Deployment, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("stage"), nursery, deployment) as started:
        yield started


@pytest.mark.parametrize(
    ("deployment", "scenario", "point"),
    [
        pytest.param(
            *case[:3],
            id=f"{case[0]}-{case[1].__name__}-{case[2]}",
            marks=[pytest.mark.spare] if is_spare(*case) else [],
        )
        for case in CASES
    ],
    indirect=["deployment"],
    scope="module",
)
def test_nothing_acknowledged_is_lost_at(stage: Stage, scenario: Scenario, point: str) -> None:
    scenario(stage, point)
    stage.require_sound()


def test_every_point_is_there_and_belongs_to_a_scenario() -> None:
    for point in POINTS.values():
        assert all(callable(found(target)[2]) for target in point.targets)
    assert {point.partition(":")[0] for _, _, point, _ in CASES} == POINTS.keys()
