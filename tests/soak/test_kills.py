"""A service is killed at random moments while clients use every door of it: nothing is lost.

Each round starts real gunicorn with two workers, holds what was acknowledged against what it
serves, lets clients work for a moment, and kills it: all of it, or its workers.
HOLDALL_TEST_ROUNDS=500 makes as many rounds on each storage; `make soak` does.
"""

import os
import random
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from sqlalchemy import func, select, update

from app import Holdall
from models import Counter, File, Upload, now
from tests.conftest import Deployment, MakeApp, parts
from tests.services.checking import check
from tests.services.collecting import collect
from tests.services.uploading import database_of, stored
from tests.soak.clients import LEASE, Client, at_work
from tests.soak.model import Model
from tests.support.preloaded import Nursery, Preloaded

ROUNDS = int(os.environ.get("HOLDALL_TEST_ROUNDS", "2"))
CLIENTS = 4
OLDER = 15
"""Files of earlier rounds that are read again in each."""
MOST_ACTS = 16
"""What clients do in a round before the kill, which comes a moment later, however fast it goes."""
LONGEST = 8.0
COLLECT_EVERY = 25
TELL_EVERY = 10


def test_what_was_acknowledged_outlives_kills_at_any_moment(
    deployment: Deployment, nursery: Nursery, tmp_path: Path, app_with: MakeApp
) -> None:
    rounds = max(2, ROUNDS // 2)  # there are two databases to each storage
    model, dice = Model(), random.Random(f"{deployment.name} {rounds}")
    variables = {"DURABILITY": "fsync"} | deployment.variables
    began, moments = time.monotonic(), list[float]()
    with ExitStack() as last, nursery.running(tmp_path, **variables) as service:
        app = app_with(DATA_DIR=str(service.data), **variables)
        clients = [Client(service, model, random.Random(dice.random())) for _ in range(CLIENTS)]
        last.callback(lambda: print(_summary(deployment, moments, model, began), flush=True))
        for number in range(1, rounds + 1):
            started = time.monotonic()
            one_round(service, clients, model, dice)
            moments.append(time.monotonic() - started)
            assert model.wrong == [], f"round {number}"
            if number % COLLECT_EVERY == 0:
                service.kill()
                require_sound(app, model)
                service.start()
            if number % TELL_EVERY == 0:
                print(_summary(deployment, moments, model, began), flush=True)
        time.sleep(LEASE)
        while clients[0].finish():
            pass
        settle(clients[0], model)
        for kept in model.files.values():
            clients[0].check(kept)
        for kept in model.gone.values():
            clients[0].check_gone(kept)
        assert model.wrong == []
        service.kill()
    require_sound(app, model, ended=True)


def one_round(
    service: Preloaded, clients: Sequence[Client], model: Model, dice: random.Random
) -> None:
    settle(clients[0], model)
    for kept in model.sample(dice, OLDER):
        clients[0].check(kept)
    enough, latest = model.acts() + dice.randint(0, MOST_ACTS), time.monotonic() + LONGEST
    with at_work(clients):
        while model.acts() < enough and time.monotonic() < latest:
            time.sleep(0.001)
        time.sleep(dice.uniform(0, 0.1))
        if dice.random() < 0.6:
            service.kill()
        else:
            service.kill_workers()
    if service.master is None:
        service.start()
    else:
        service.wait()


def settle(client: Client, model: Model) -> None:
    """Find out what became of deletes that were not answered."""
    for kept in [*model.doubtful.values()]:
        client.settle(kept)


def require_sound(app: Holdall, model: Model, *, ended: bool = False) -> None:
    """Collect what kills have left, and see that rows, objects, names and counters agree."""
    with database_of(app).write() as session:
        ends = {"lock_until": now()} | ({"expires_at": now()} if ended else {})
        session.execute(update(Upload).values(ends))
    collect(app, grace=timedelta(seconds=-5), force=True)
    checked = check(app, verify=True)
    assert checked.findings == []
    with database_of(app).read() as session:
        rows = {name: file_id for name, file_id in session.execute(select(File.filename, File.id))}
        files, size = session.execute(select(func.count(), func.sum(File.size))).one()
        counted = session.execute(select(func.sum(Counter.files), func.sum(Counter.bytes))).one()
    assert (files, size or 0) == tuple(counted)
    assert len(rows) == files, "a file is there twice"
    require_known(rows, model)
    if ended:
        assert len(stored(app)) == files or parts(app).settings.storage_backend == "s3"


def require_known(rows: dict[str, str], model: Model) -> None:
    """See that each row is of a file that a client sent, and of one request all or none."""
    for kept in model.files.values():
        assert rows.pop(kept.name) == kept.id
    for kept in model.gone.values():
        assert kept.name not in rows
    gone = {kept.name for kept in (*model.gone.values(), *model.doubtful.values())}
    known = {kept.name for kept in model.files.values()} | gone
    for names in model.attempts:
        there = [name in rows for name in names if name not in known]
        assert all(there) or not any(there), names
        for name in names:
            rows.pop(name, None)
    for kept in model.doubtful.values():
        rows.pop(kept.name, None)
    assert rows == {}


def _summary(deployment: Deployment, moments: Sequence[float], model: Model, began: float) -> str:
    did = ", ".join(f"{number} {what}" for what, number in sorted(model.counts.items()))
    mean = sum(moments) / max(1, len(moments))
    return (
        f"{deployment.name}: {len(moments)} rounds of {mean:.2f} s in "
        f"{time.monotonic() - began:.0f} s; {len(model.files)} files, {len(model.gone)} deleted, "
        f"{len(model.open)} open; {did}; wrong: {model.wrong}"
    )
