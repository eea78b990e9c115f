"""Which thumbnail a request wants, what it is called, and where it is kept. Pure.

The sizes are a few steps, so that nobody can fill a store with thousands of thumbnails of one
image. A thumbnail's key begins with the key of its file and a `0`, which no key of a file has: by
its key alone it is known whose it is.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from services.errors import InvalidField, NotAnImage
from services.stored import StoredFile
from storage.keys import is_random_name, random_name

STEPS: Final = (64, 160, 320, 640, 960, 1280, 1920, 2560)
"""Pixels; what is asked for is rounded up to the next one, and down to the last."""
LARGEST_ASKED: Final = 100_000

FIT_CONTAIN: Final = "contain"
FIT_COVER: Final = "cover"
FORMATS: Final = {"webp": "image/webp", "jpeg": "image/jpeg", "avif": "image/avif"}
"""The forms of a thumbnail, and their types."""
AUTO: Final = "auto"
DEFAULT: Final = "webp"

TYPES: Final = frozenset(
    {
        "image/avif",
        "image/gif",
        "image/heic",
        "image/heif",
        "image/jpeg",
        "image/png",
        "image/webp",
    }
)
"""The types that thumbnails are made of: each has a decoder that is kept up, and no scripts."""

PARAMETERS: Final = frozenset({"w", "h", "fit", "format"})
_ENDINGS: Final = {"webp": ".webp", "jpeg": ".jpg", "avif": ".avif"}
_MADE_AS: Final = "1"
"""Change it when thumbnails are made differently: each then has another key and another ETag."""
_PLAIN: Final = re.compile(r"[0-9]{1,6}", re.ASCII)
_APPENDED: Final = re.compile(r"(?:&(?:w|h|fit|format)=[0-9a-z]{1,8}){1,4}\Z", re.ASCII)
_NAME: Final = len(random_name())


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks for: steps in pixels, and a format, AUTO among them."""

    width: int
    height: int
    fit: str
    format: str

    @property
    def is_negotiated(self) -> bool:
        """Whether the answer depends on what the client accepts."""
        return self.format == AUTO


@dataclass(frozen=True, slots=True)
class Variant:
    """One thumbnail of one file: `name` tells it from the file's others, `key` is where it is."""

    width: int
    height: int
    fit: str
    format: str
    name: str
    key: str

    @property
    def content_type(self) -> str:
        """The type of its bytes."""
        return FORMATS[self.format]

    def shown(self, file: StoredFile, size: int) -> StoredFile:
        """Return the file as delivery is to see it: the thumbnail, `size` bytes long."""
        return replace(
            file,
            filename=self.filename(file),
            content_type=self.content_type,
            size=size,
            etag=f"{file.etag}-{self.name}",
            sha256=None,
            key=self.key,
        )

    def filename(self, file: StoredFile) -> str:
        """Return the file's name with the ending of the thumbnail's type."""
        if file.content_type == self.content_type:
            return file.filename
        stem, dot, _ = file.filename.rpartition(".")
        return (stem if dot and stem else file.filename) + _ENDINGS[self.format]


def wanted(values: Mapping[str, Sequence[str]]) -> Wanted | None:
    """Read a query, by name; None where it asks for the file itself. Raises InvalidField."""
    if PARAMETERS.isdisjoint(values):
        return None
    given = {name: _single(name, values[name]) for name in PARAMETERS & values.keys()}
    width, height = _step("w", given), _step("h", given)
    if width is None and height is None:
        raise InvalidField("w: a thumbnail needs a width w or a height h, in pixels")
    fit = _one_of("fit", given.get("fit", FIT_CONTAIN), (FIT_CONTAIN, FIT_COVER))
    if fit == FIT_COVER and (width is None or height is None):
        raise InvalidField("fit: to cover a box needs both its width w and its height h")
    form = _one_of("format", given.get("format", DEFAULT), (*FORMATS, AUTO))
    return Wanted(width or STEPS[-1], height or STEPS[-1], fit, form)


def without(query: str) -> str:
    """Return a query as it came without the parameters of a thumbnail at its end."""
    return _APPENDED.sub("", query)


def variant_of(file: StoredFile, asked: Wanted, accept: str) -> Variant:
    """Return which thumbnail answers a client that sent `accept`. Raises NotAnImage."""
    if file.content_type not in TYPES:
        raise NotAnImage(file.content_type)
    form = _preferred(accept) if asked.is_negotiated else asked.format
    name = f"{_MADE_AS}w{asked.width}h{asked.height}{asked.fit[1]}{form[0]}"
    return Variant(asked.width, asked.height, asked.fit, form, name, f"{file.key}0{name}")


def prefix_of(key: str) -> str:
    """Return what the keys of all thumbnails of the file at `key` begin with, and no others."""
    return f"{key}0"


def original_of(key: str) -> str | None:
    """Return the key of the file whose thumbnail is at `key`, None where it can be none."""
    folder, _, name = key.partition("/")
    original, mark = name[:_NAME], name[_NAME : _NAME + 1]
    is_one = mark == "0" and folder == name[:2] and is_random_name(original)
    return f"{folder}/{original}" if is_one else None


def _single(name: str, values: Sequence[str]) -> str:
    if len(values) != 1:
        raise InvalidField(f"{name}: is given more than once")
    return values[0]


def _step(name: str, given: Mapping[str, str]) -> int | None:
    if name not in given:
        return None
    pixels = int(given[name]) if _PLAIN.fullmatch(given[name]) else 0
    if not 1 <= pixels <= LARGEST_ASKED:
        raise InvalidField(f"{name}: is not a number of pixels from 1 to {LARGEST_ASKED:,}")
    return next((step for step in STEPS if step >= pixels), STEPS[-1])


def _one_of(name: str, value: str, known: Sequence[str]) -> str:
    if value not in known:
        raise InvalidField(f"{name}: is not one of {', '.join(known)}")
    return value


def _preferred(accept: str) -> str:
    """Return the smallest form that a client says by name it takes; JPEG is taken by all."""
    taken = {kind for kind, weight in map(_item, accept.split(",")) if weight}
    return next((form for form in ("avif", "webp") if FORMATS[form] in taken), "jpeg")


def _item(text: str) -> tuple[str, bool]:
    """Return a type of an Accept header, and whether its weight is more than 0."""
    kind, *parameters = (part.strip().lower() for part in text.split(";"))
    weight = next((part[2:] for part in parameters if part.startswith("q=")), "1")
    return kind, weight.strip("0.") != ""
