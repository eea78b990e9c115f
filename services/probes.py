"""Whether everything the service stands on answers, asked all at once and each with a deadline."""

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Final

from sqlalchemy import text

from services.database import Database
from storage.aio import AsyncStorage
from storage.errors import ObjectNotFound

PROBE_KEY: Final = "00/0"
"""A key that no object has: that a store says so quickly shows that it answers."""


class Probes:
    """Ask the database and every backend whether they answer."""

    def __init__(
        self,
        database: Database,
        storages: Mapping[str, AsyncStorage],
        mirrored: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        """`mirrored` are backends that are put together of `storages`, and of which."""
        self._database = database
        self._storages = storages
        self._mirrored = mirrored or {}

    async def ask(self, deadline: float) -> dict[str, bool]:
        """Return, for each dependency by name, whether it answered within `deadline` seconds.

        A mirrored backend is up while one of its members is: its files can be read.
        """
        questions = {"database": asyncio.to_thread(self._database_answers)}
        for name, storage in self._storages.items():
            questions[f"storage:{name}"] = _store_answers(storage)
        answers = await asyncio.gather(
            *(asyncio.wait_for(question, deadline) for question in questions.values()),
            return_exceptions=True,
        )
        up = {
            name: not isinstance(answer, BaseException)
            for name, answer in zip(questions, answers, strict=True)
        }
        return up | {
            f"storage:{name}": any(up[f"storage:{member}"] for member in members)
            for name, members in self._mirrored.items()
        }

    def suffice(self, up: Mapping[str, bool]) -> bool:
        """Say whether the service works by what `ask` returned: also without some members."""
        spared = {f"storage:{each}" for members in self._mirrored.values() for each in members}
        return all(answered for name, answered in up.items() if name not in spared)

    def _database_answers(self) -> None:
        with self._database.engine.connect() as connection:
            connection.execute(text("SELECT 1"))


async def _store_answers(storage: AsyncStorage) -> None:
    with suppress(ObjectNotFound):
        await storage.stat(PROBE_KEY)
