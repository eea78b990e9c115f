"""What the tests of gc share: a run over an application's stores, and things that were left there.

It knows the services and the stores behind them.
"""

import os
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

from app import Holdall
from services.gc import Collected
from services.gc_items import Item, Kind, Options
from storage.capabilities import Multipart, Resumable
from storage.keys import new_key, random_name
from tests.conftest import parts
from tests.http.test_uploads import PNG
from tests.services.checking import keep, row
from tests.services.uploading import storage_of

AT_ONCE: dict[str, Any] = {"grace": timedelta(seconds=-5), "patience": timedelta(0)}
"""Everything counts as old, by any clock, and the second look at orphans comes at once."""


def collect(app: Holdall, **options: Any) -> list[Item]:
    """Collect, and return what was found. There are no problems."""
    items, collected = collect_with_problems(app, **options)
    assert collected.problems == {}
    return items


def collect_with_problems(app: Holdall, **options: Any) -> tuple[list[Item], Collected]:
    collected = Collected()
    chosen = Options(**AT_ONCE | options)
    return list(parts(app).collector.collect(chosen, collected)), collected


def kinds(items: list[Item]) -> Counter[Kind]:
    return Counter(item.kind for item in items)


def uploads_folder(app: Holdall) -> Path:
    return parts(app).settings.data_dir / "uploads"


def age(path: Path, seconds: float) -> None:
    """Let a file or folder have been touched last so long ago."""
    moment = time.time() - seconds
    os.utime(path, (moment, moment))


def leave_multipart(app: Holdall) -> str:
    """Leave an upload in parts, and return its key."""
    storage, key = storage_of(app), new_key()
    assert isinstance(storage, Multipart)
    storage.put_part(key, storage.begin(key), 1, PNG)
    return key


def leave_staged(app: Holdall) -> str:
    """Leave bytes where clients send them, and return their key."""
    return keep(app, PNG, key="00/" + random_name())


def leave_unfinished(app: Holdall) -> str:
    """Leave the bytes of a resumable upload that has no row, and return their key."""
    storage, key = storage_of(app), new_key()
    assert isinstance(storage, Resumable)
    state = storage.start(key, content_type="image/png", largest=100_000)
    with storage.append(key, state, 0) as appender:
        appender.write(PNG)
        appender.keep()
    return key


def leave_temporary(app: Holdall) -> Path:
    """Leave a file that a killed process was writing on the local disk."""
    folder = uploads_folder(app) / ".tmp"
    folder.mkdir(exist_ok=True)
    path = folder / os.urandom(16).hex()
    path.write_bytes(PNG)
    return path


def leave_scratch(app: Holdall) -> Path:
    path = parts(app).settings.scratch / f"tmp{random_name()[:8]}"
    path.write_bytes(PNG)
    return path


def leave_pending(app: Holdall) -> str:
    """Leave the row of a file that was not published, with an object, and return its id."""
    return row(app, keep(app, PNG), state="pending")
