"""A deployment of many hosts under load while its parts die: `python -m tests.soak.many_hosts`.

Clients upload, read, list and delete. In each round an instance of Holdall is killed and a fresh
one added, and a volume server of the store is killed and started again. In the end all that was
acknowledged is read through each instance, and `flask gc` and `flask fsck --verify` find nothing.
"""

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from deploy.scale.site import Site, site
from tests.clients.conftest import kill
from tests.soak.model import Model
from tests.soak.patrons import GaveUp, Patron, at_work
from tests.soak.tally import Tally

ROUND: Final = 100.0
"""Seconds that a round takes at the least, unless all of it is shorter."""
QUICK: Final = {"UPLOAD_EXPIRES_IN": "300", "SWEEP_INTERVAL": "5", "GC_INTERVAL": "10"}
"""Settings with which what is done by lease is done often."""

Say = Callable[[str], None]


class Soak:
    """One run on a site, by `clients`; `say` is told what happens."""

    def __init__(self, running: Site, *, clients: int, seed: object, rest: float, say: Say) -> None:
        self._site = running
        self._say = say
        self.model = Model()
        self.tally = Tally()
        dice = random.Random(str(seed))
        self._dice = dice
        self._patrons = [
            Patron(running, self.model, self.tally, random.Random(dice.random()), rest=rest)
            for _ in range(clients)
        ]

    def run(self, seconds: float) -> None:
        """Use the site for so long, and disturb it."""
        rounds = max(1, int(seconds // ROUND))
        with at_work(self._patrons):
            for number in range(rounds):
                self._disturb(seconds / rounds, number % self._site.store.volumes)

    def settle(self) -> None:
        """Look at all that was acknowledged, through each instance, and at what is listed."""
        patron = self._patrons[0]
        try:
            for instance in self._site.instances:
                for kept in self.model.files.values():
                    patron.check(kept, at=instance.url)
                for kept in self.model.gone.values():
                    patron.check_gone(kept, at=instance.url)
            self._compare(patron)
        except GaveUp as error:
            self.tally.give_up(str(error))

    def _compare(self, patron: Patron) -> None:
        known = {kept.name: kept.id for kept in self.model.files.values()}
        if (listed := patron.names()) != known:
            strange = sorted(listed.items() ^ known.items())[:5]
            self.model.complain(f"{len(listed)} files are listed, not {len(known)}: {strange}")

    def summary(self) -> str:
        kept, gone = len(self.model.files), len(self.model.gone)
        wrong = "\n".join(f"WRONG: {what}" for what in self.model.wrong) or "nothing was wrong"
        return f"{self.tally.table()}\n\n{kept} files kept, {gone} deleted; {wrong}"

    @property
    def is_good(self) -> bool:
        return not self.model.wrong and not self.tally.uncured

    def _disturb(self, seconds: float, volume: int) -> None:
        """Have an instance and a volume server die and come back, one after the other."""
        began = time.monotonic()
        volumes = self._site.store
        self._wait(began, seconds * 0.15)
        victim = self._dice.choice(self._site.instances)
        kill(victim)
        self._say(f"{victim.url} was killed")
        self._wait(began, seconds * 0.3)
        self._site.remove_instance(victim)
        self._say(f"{self._site.add_instance().url} was added")
        self._wait(began, seconds * 0.5)
        volumes.kill_volume(volume)
        self._say(f"volume server {volume + 1} was killed")
        self._wait(began, seconds * 0.7)
        volumes.start_volume(volume)
        self._say(f"volume server {volume + 1} was started")
        self._wait(began, seconds)

    def _wait(self, began: float, seconds: float) -> None:
        time.sleep(max(0.0, began + seconds - time.monotonic()))


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("python -m tests.soak.many_hosts", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--rest", type=float, default=0.2, help="longest pause of a client")
    parser.add_argument("--instances", type=int, default=2)
    parser.add_argument("--volumes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args(words)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {what}", flush=True)

    with tempfile.TemporaryDirectory(prefix="holdall-soak-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)
        with site(
            folder, instances=options.instances, volumes=options.volumes, settings=QUICK
        ) as running:
            say(f"up: {options}")
            soak = Soak(
                running, clients=options.clients, seed=options.seed, rest=options.rest, say=say
            )
            began = time.monotonic()
            soak.run(options.seconds)
            say("clients have ended; looking at all that they know")
            soak.settle()
            print(soak.summary(), flush=True)
            return 0 if is_clean(running, say) and soak.is_good else 1


def is_clean(running: Site, say: Say) -> bool:
    """Run gc and fsck as an operator does, and say whether they end well."""
    for words in (("gc", "--grace", "1", "--force"), ("fsck", "--verify", "--grace", "1")):
        try:
            last = running.flask(*words).strip().splitlines()[-4:]
            say("\n          ".join([f"flask {' '.join(words)}", *last]))
        except subprocess.CalledProcessError as error:
            say(f"flask {' '.join(words)}: exit status {error.returncode}\n{error.stdout}")
            return False
    return True


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("stopped before its end; nothing is left")
