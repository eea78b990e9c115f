"""The conformance suite of the capability Sweepable over every backend."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import ClassVar, cast

import pytest

from storage.base import Storage
from storage.capabilities import Sweepable
from storage.local import LocalStorage
from storage.memory import MemoryStorage
from storage.mirror import mirror_of
from storage.s3 import S3Storage
from tests.storage.contract_sweeping import (
    Killed,
    OpenSweepable,
    SweepableStorage,
    SweepingContract,
)
from tests.support.service import ROOT

_KILLED = """
import os, signal, sys
from pathlib import Path
from storage.local import LocalStorage
writer = LocalStorage(Path(sys.argv[1])).create(sys.argv[2])
writer.write(bytes(int(sys.argv[3])))
os.kill(os.getpid(), signal.SIGKILL)
"""


class LocalSweeping(SweepingContract):
    durable: ClassVar[bool]

    @pytest.fixture(scope="class")
    @classmethod
    def root(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp("local")

    @pytest.fixture(scope="class")
    @classmethod
    def open_store(cls, root: Path) -> OpenSweepable:
        return lambda: LocalStorage(root, durable=cls.durable)

    @pytest.fixture
    def killed(self, root: Path) -> Killed:
        def kill(key: str, size: int) -> None:
            words = [sys.executable, "-c", _KILLED, str(root), key, str(size)]
            ended = subprocess.run(words, cwd=ROOT, env={"PATH": os.environ["PATH"]}, timeout=60)
            assert ended.returncode == -9

        return kill


class TestLocalDurable(LocalSweeping):
    durable = True


class TestLocal(LocalSweeping):
    durable = False


class TestMirror(LocalSweeping):
    """What lies beside the objects is the primary's: nothing else is written to."""

    durable = False

    @pytest.fixture(scope="class")
    @classmethod
    def open_store(
        cls, root: Path, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[OpenSweepable]:
        folder = tmp_path_factory.mktemp("mirror")
        with ExitStack() as opened:

            def open_both() -> SweepableStorage:
                members: dict[str, Storage] = {}
                for name, place in (("primary", root), ("mirror", folder)):
                    members[name] = opened.enter_context(
                        closing(LocalStorage(place, durable=False))
                    )
                return cast(SweepableStorage, mirror_of(members))

            yield open_both


@pytest.mark.parametrize(
    ("make", "can"),
    [
        (lambda folder: LocalStorage(folder), True),
        (lambda folder: MemoryStorage(), False),
        (lambda folder: S3Storage.from_url("s3://files", scratch=folder), False),
    ],
    ids=["local", "memory", "s3"],
)
def test_only_a_local_disk_has_something_beside_its_objects(
    make: Callable[[Path], object], can: bool, tmp_path: Path
) -> None:
    assert isinstance(make(tmp_path), Sweepable) is can
