"""An upload by form: which part is a file, which says something about one, and which is metadata.

Every file part is called `file`. Fields whose names are attributes of a file are passed over, so
that nobody sets them from outside, but for three: `collection` chooses the policy and comes before
the files, `sha256` (one for each file, in order, anywhere) is checked, and the rest is metadata.
"""

from collections.abc import Iterable
from contextlib import ExitStack
from typing import Any, Final, Protocol

from services.caller import Caller
from services.digests import ExpectedDigest, from_hex
from services.errors import InvalidField, NoFileProvided, TooLarge
from services.forms import Event, Field, FileEnd, FileStart
from services.ingest import Intake
from services.intake import Declaration
from services.metadata import checked

FILE_FIELD: Final = "file"
RESERVED: Final = frozenset(
    {
        *("id", "filename", "url", "size", "content_type", "declared_type", "sha256", "etag"),
        *("collection", "visibility", "owner", "backend", "key", "state", "media", "metadata"),
        *("created_at", "updated_at", "expires_at", "deleted_at"),
    }
)


class Admitting(Protocol):
    """The start of every way in (`services.ingest`)."""

    def admit(self, caller: Caller, declared: Declaration) -> Intake: ...


class FormUpload:
    """Take in the events of one form; `files` are its intakes, inspected once it ended.

    The intakes belong to `stack`: unless they are published, leaving it discards them. `most` is
    the size of the whole form in bytes, where it is known.
    """

    def __init__(
        self,
        ingest: Admitting,
        caller: Caller,
        collection: str | None,
        stack: ExitStack,
        *,
        most: int | None = None,
    ) -> None:
        self.files: list[Intake] = []
        self._ingest = ingest
        self._caller = caller
        self._collection = collection
        self._stack = stack
        self._most = most
        self._metadata: dict[str, Any] = {}
        self._digests: list[ExpectedDigest] = []
        self._current: Intake | None = None

    def take(self, events: Iterable[Event]) -> None:
        """Take in the whole form. Raises NoFileProvided, and whatever ingest raises."""
        for event in events:
            if isinstance(event, memoryview):
                if self._current is not None:
                    self._current.feed(event)
            elif isinstance(event, Field):
                self._field(event)
            elif isinstance(event, FileStart):
                self._begin(event)
            elif isinstance(event, FileEnd):
                self._end()
        if not self.files:
            raise NoFileProvided
        self._describe()

    def _begin(self, part: FileStart) -> None:
        """Begin a file. A part that a browser sends for an empty choice is passed over."""
        if not part.filename:
            return
        if part.name != FILE_FIELD:
            raise NoFileProvided
        if self.files and self._caller.link is not None:
            raise TooLarge("This link takes one file")
        declared = Declaration(
            part.filename, part.content_type, collection=self._collection, most=self._left()
        )
        self._current = self._stack.enter_context(self._ingest.admit(self._caller, declared))

    def _left(self) -> int | None:
        """Return how many bytes the next file has at the most."""
        if self._most is None:
            return None
        return max(self._most - sum(file.state.received for file in self.files), 0)

    def _end(self) -> None:
        if self._current is not None:
            expected = self._digests[len(self.files) : len(self.files) + 1]
            self._current.inspect(tuple(expected))
            self.files.append(self._current)
            self._current = None

    def _field(self, field: Field) -> None:
        if field.name == "collection":
            if self.files:
                raise InvalidField("collection has to come before the files")
            self._collection = field.value
        elif field.name == "sha256":
            self.expect(from_hex(field.value))
        elif field.name not in RESERVED:
            earlier = self._metadata.get(field.name)
            values = earlier if isinstance(earlier, list) else [earlier]
            self._metadata[field.name] = field.value if earlier is None else [*values, field.value]

    def expect(self, digest: ExpectedDigest) -> None:
        """Keep a digest for the file that comes, or check it against the one that came."""
        self._digests.append(digest)
        position = len(self._digests) - 1
        if position < len(self.files):
            self.files[position].verify((digest,))

    def _describe(self) -> None:
        metadata = checked(self._metadata)
        for intake in self.files:
            intake.metadata = metadata
