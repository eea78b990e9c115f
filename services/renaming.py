"""What a rename makes of a file's type: the one that it would have come with under the new name.

The bytes decide, and where they leave it open the name's extension says more (`services.mimetype`):
text that is called `.csv`, an old Office file that is called `.xls`. So a new extension is judged
like a new file, by the same bytes and by the policy of its collection as it is now.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from services.mimetype import EMPTY, SNIFFED, UNKNOWN, Sniffer
from services.policy import Policies
from storage.base import Storage


@dataclass(frozen=True, slots=True)
class Named:
    """What a file is called and what that has been taken to mean. `size` is in bytes."""

    filename: str
    content_type: str
    declared_type: str | None
    size: int
    collection: str
    backend: str
    key: str


class Renaming:
    """Judge new names of files that exist."""

    def __init__(
        self, policies: Policies, storages: Mapping[str, Storage], sniffer: Sniffer
    ) -> None:
        self._policies = policies
        self._storages = storages
        self._sniffer = sniffer

    def type_under(self, file: Named, filename: str) -> str:
        """Return the type of `file` once it is called `filename`.

        Raises TypeNotAllowed where its collection would not take it under that name, and
        StorageError where its bytes cannot be read.
        """
        if _extension(filename) == _extension(file.filename):
            return file.content_type
        content_type = self._sniffed(file, filename)
        self._policies.of(file.collection).check_type(content_type, file.declared_type)
        return content_type

    def _sniffed(self, file: Named, filename: str) -> str:
        if file.size == 0:
            return EMPTY
        with self._storages[file.backend].open(file.key, 0, min(file.size, SNIFFED)) as body:
            head = b"".join(bytes(chunk) for chunk in body)
        found = self._sniffer.content_type(head, filename)
        # That is also the answer of a libmagic that fails, and no reason to forget what it said.
        return file.content_type if found == UNKNOWN else found


def _extension(filename: str) -> str:
    _, dot, extension = filename.rpartition(".")
    return extension.lower() if dot else ""
