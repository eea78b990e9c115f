"""The shortest way for small forms: those that come at the same moment, in one thread, with one
commit for all (`worker.front`).

It takes the same steps as `views.upload_front`, by the same functions, and leaves out what a server
does around an application. None is said of a form that it is not made for: then nothing has
happened, and another way takes it. What goes wrong is an outcome as well, which is told in that
other way, so that nothing is tried twice.
"""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from typing import Any, Final, Protocol

from services.caller import EVERYONE, Caller
from services.digests import DIGESTS
from services.files import FileInfo
from services.form_upload import FormUpload
from services.forms import boundary_of, read_whole_form
from services.ingest import Ingest, Intake
from services.intake import Declaration
from storage.capabilities import Filed, Mirrored
from views import metrics
from views.at_once import Ready, address_of, written
from views.current import Services
from views.gate import Need, require_of
from views.observing import Ended, Observed, write
from views.proxies import Trust
from views.upload_front import FORM, PATH, Rules, as_json, fields_of
from views.uploads import document

SYNCED_AT_ONCE: Final = 64
"""Forms whose files a disk is waited for at the same time."""

QUICK: Final = 0.1
"""Seconds for which files of a group are stored; a form that is not begun by then is left alone."""

_OTHERWISE: Final = frozenset(
    {"cookie", "idempotency-key", "origin", "sec-fetch-site", "x-forwarded-host", *DIGESTS}
)

Outcome = Ready | Exception | None


class Form(Protocol):
    """A request whole: its `headers` have lowercase names."""

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def body(self) -> bytes: ...

    @property
    def client(self) -> Any: ...


class Elsewhere(Exception):
    """The form's files are for another way: a store across a network, or a quota."""


@dataclass(frozen=True, slots=True)
class _Taken:
    """A form whose files are stored; leaving `stack` discards those that no row promises."""

    stack: ExitStack
    files: list[Intake]


class UploadsTogether:
    """Answers for small forms of clients that are no browsers."""

    def __init__(self, services: Services, trust: Trust) -> None:
        self._services = services
        self._trust = trust
        self._rules = Rules.of(services.settings)
        self._near = _NearIngest(services)
        # Only where the disk is waited for does it help to have several threads.
        self._waits = services.settings.durability == "fsync"

    def answer(self, forms: Sequence[Form]) -> list[Outcome]:
        """Publish the files of `forms`; return an answer to each, what went wrong with it, or None.

        Nobody's answer is ready before its files' rows are committed.
        """
        begun = [Observed.begin(form.headers.get("x-request-id", "")) for form in forms]
        taken = self._all_taken(forms)
        try:
            there = [each for each in taken if isinstance(each, _Taken)]
            published = iter(self._services.publishing.publish_together([t.files for t in there]))
            outcomes = [next(published) if isinstance(each, _Taken) else each for each in taken]
        finally:
            for each in taken:
                if isinstance(each, _Taken):
                    each.stack.close()
        files = [outcome for outcome in outcomes if isinstance(outcome, list)]
        metrics.PUBLISHED.inc(sum(map(len, files)))
        metrics.RECEIVED.inc(sum(file.size for each in files for file in each))
        ended: list[Ended] = []
        answers = [
            self._answered(form, observed, outcome, ended) if isinstance(outcome, list) else outcome
            for form, observed, outcome in zip(forms, begun, outcomes, strict=True)
        ]
        write(ended)
        return answers

    def _all_taken(self, forms: Sequence[Form]) -> list["_Taken | Exception | None"]:
        take = partial(self._taken, until=time.monotonic() + QUICK)
        if self._waits and len(forms) > 1:
            return list(_threads().map(take, forms))
        return list(map(take, forms))

    def _taken(self, form: Form, until: float) -> "_Taken | Exception | None":
        """Store the files of a form."""
        try:
            if time.monotonic() > until or not self._is_plain(form.headers):
                return None
            who = self._caller(form)
            require_of(who, Need.UPLOAD)
            with ExitStack() as stack:
                upload = FormUpload(self._near, who, None, stack, most=len(form.body))
                boundary = _boundary_of(form.headers["content-type"])
                most = self._services.settings.max_upload_files
                upload.take(read_whole_form(form.body, boundary, most_files=most))
                return _Taken(stack.pop_all(), upload.files)
        except Elsewhere:
            return None
        except Exception as error:
            return error

    def _is_plain(self, headers: Mapping[str, str]) -> bool:
        return (
            headers.get("content-type", "").startswith(FORM)
            and headers.keys().isdisjoint(_OTHERWISE)
            and self._rules.take(headers.get("host", ""), headers.get("authorization"))
        )

    def _caller(self, form: Form) -> Caller:
        if self._rules.is_open:
            return EVERYONE
        peer, _ = self._trust.told(address_of(form.client), form.headers)
        return self._services.keys.authenticate(form.headers["authorization"], peer)

    def _answered(
        self, form: Form, observed: Observed, files: list[FileInfo], ended: list[Ended]
    ) -> Ready:
        shown = document(files, self._services.settings.public_url)
        content = as_json(shown)
        fields = written(fields_of(shown, content)) + observed.field
        peer, _ = self._trust.told(address_of(form.client), form.headers)
        told: Any = {"method": "POST", "path": PATH, "route": PATH, "status": 201}
        ended.append(observed.ended(**told, length=len(content), client=peer))
        return Ready("201 CREATED", fields, content)


class _NearIngest:
    """Admits files that are stored on this machine's disk, and need no room in a quota."""

    def __init__(self, services: Services) -> None:
        self._ingest: Ingest = services.ingest
        self._backends = {
            name
            for name, storage in services.storages.items()
            if isinstance(storage, Filed) and not isinstance(storage, Mirrored)
        }

    def admit(self, caller: Caller, declared: Declaration) -> Intake:
        """Begin a file. Raises Elsewhere, and what ingest raises."""
        policy = self._ingest.policy_for(caller, declared.collection)
        if policy.has_quota or policy.backend not in self._backends:
            raise Elsewhere
        return self._ingest.admit(caller, declared)


@lru_cache(64)
def _boundary_of(content_type: str) -> str:
    return boundary_of(content_type)


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(SYNCED_AT_ONCE, thread_name_prefix="together-sync")
